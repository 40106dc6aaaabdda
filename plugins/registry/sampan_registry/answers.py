"""Answers of the distribution specification: errors with its codes, JSON, and where content was put."""

from __future__ import annotations

import json
import re

from sampan.http.connection import Response
from sampan.model.reference import is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import RegistryRepository, ServeRequest
    from sampan.http.connection import Request

JSON = "application/json"
_SHA512 = re.compile("sha512:[0-9a-f]{128}")


class RefusedError(Exception):
    """An answer that is an error: HTTP status, the specification's code, and a sentence."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers or {}

    def response(self) -> Response:
        rows = [{"code": self.code, "message": str(self), "detail": None}]
        return document({"errors": rows}, status=self.status, headers=self.headers)


class Call:
    """A request for one repository. words: what the path had beside the repository's name."""

    __slots__ = ("changed", "options", "repository", "request", "words")

    def __init__(
        self,
        request: Request,
        repository: RegistryRepository,
        options: ServeRequest,
        words: tuple[str, ...],
    ) -> None:
        self.request, self.repository = request, repository
        self.options, self.words = options, words
        self.changed = False  # whether there may be space to be given back


def document(
    value: Any, *, status: int = 200, media_type: str = JSON, headers: dict[str, str] | None = None
) -> Response:
    data = json.dumps(value, separators=(",", ":")).encode()
    return Response(status, {"Content-Type": media_type, **(headers or {})}, data)


def stored(call: Call, kind: str, digest: str, headers: dict[str, str] | None = None) -> Response:
    """201: the content can be had under its digest."""
    place = f"/v2/{call.repository.name}/{kind}/{digest}"
    return Response(201, {"Location": place, "Docker-Content-Digest": digest, **(headers or {})})


def checked_digest(text: str, unknown: str = "") -> str:
    """A digest that the store has a place for.

    unknown: the code with which content of another algorithm is said not to be there, where somebody asks for it.
    """
    if is_digest(text):
        return text
    if not _SHA512.fullmatch(text):
        raise RefusedError(400, "DIGEST_INVALID", f"{text[:80]!r} is no digest")
    why = f"{text[:20]}... is refused: only sha256 digests are kept here"
    raise RefusedError(404 if unknown else 400, unknown or "DIGEST_INVALID", why)


def count(request: Request, name: str) -> int | None:
    """A query parameter that is a number of rows."""
    text = request.parameter(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise RefusedError(400, "UNSUPPORTED", f"{name}={text[:80]} is not a number of rows")
    return int(text)
