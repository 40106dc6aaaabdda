"""What a registry answers when it does not give what was asked, in words for the user."""

from __future__ import annotations

import json
from typing import Any

from sampan.errors import SampanError
from sampan.model.image import is_list, is_object

BODY_LIMIT = 64 << 10
_SHOWN = 300


class RegistryError(SampanError):
    """A registry refused. `status` is HTTP's."""

    def __init__(self, what: str, why: str = "", hint: str = "", *, status: int = 0) -> None:
        super().__init__(what, why, hint)
        self.status = status


class UnreachableError(RegistryError):
    """No answer at all: no connection, no name, no bytes in time. `again`: trying again may
    help.
    """

    def __init__(self, what: str, why: str = "", hint: str = "", *, again: bool = False) -> None:
        super().__init__(what, why, hint)
        self.again = again


def explain(body: bytes) -> str:
    """The reason in an error's body: the distribution-spec's error list, or its text."""
    text = body[:BODY_LIMIT].decode(errors="replace")
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError):
        return printable(text)
    errors: Any = document.get("errors") if is_object(document) else None
    reasons: list[str] = []
    for error in errors if is_list(errors) else []:
        if is_object(error):
            words = (str(error.get("code") or "").lower(), str(error.get("message") or ""))
            reasons.append(": ".join(word for word in words if word))
    if not reasons and is_object(document):
        told = document.get("details") or document.get("message") or document.get("error")
        reasons = [str(told)] if told else []
    return printable("; ".join(reasons) or text)


def printable(text: str) -> str:
    """One short line of a stranger's text."""
    line = "".join(character if character.isprintable() else " " for character in text[:4096])
    line = " ".join(line.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
