"""Manifests and what is found by them: tags, referrers, the catalog."""

from __future__ import annotations

import json
from urllib.parse import quote, urlencode

from sampan.errors import CorruptError, LimitError, NotFoundError, UnsupportedError
from sampan.http.connection import Response
from sampan.model.image import MANIFEST_LIMIT, OCI_INDEX
from sampan.model.reference import is_digest, is_tag
from sampan_registry.answers import RefusedError, checked_digest, count, document, stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sampan.http.connection import Request
    from sampan_registry.answers import Call

TAGS_LIMIT = 10  # in one request
ROWS_LIMIT = 1000  # of a list where the client names no number
REFERRERS_LIMIT = 3 << 20  # bytes of one answer; clients read 4 MiB


def get(call: Call) -> Response:
    """GET and HEAD by tag or digest: the bytes that were pushed."""
    selector = _selector(call, "MANIFEST_UNKNOWN")
    found = call.repository.manifest(selector)
    if found is None:
        raise _unknown(call, selector)
    digest, media_type, data = found
    headers = {
        "Content-Type": media_type,
        "Docker-Content-Digest": digest,
        "ETag": f'"{digest}"',
    }
    return Response(200, headers, data)


def put(call: Call) -> Response:
    selector = _selector(call)
    tags = [value for key, value in call.request.query if key == "tag"]
    if is_tag(selector):
        tags.insert(0, selector)
    if len(tags) > TAGS_LIMIT:
        raise RefusedError(414, "UNSUPPORTED", f"at most {TAGS_LIMIT} tags are set in one request")
    for tag in tags:
        if not is_tag(tag):
            raise RefusedError(400, "MANIFEST_INVALID", f"{tag[:140]!r} is not a tag")
    data = _body(call)
    if is_digest(selector):
        from hashlib import sha256

        found = f"sha256:{sha256(data).hexdigest()}"
        if found != selector:
            raise RefusedError(
                400, "DIGEST_INVALID", f"the manifest's digest is {found}, not {selector}"
            )
    media_type = call.request.headers.get("content-type", "")
    try:
        digest, subject = call.repository.put_manifest(data, media_type, tags)
    except NotFoundError as error:
        raise RefusedError(400, "MANIFEST_BLOB_UNKNOWN", str(error)) from None
    except LimitError as error:
        raise RefusedError(413, "MANIFEST_INVALID", str(error)) from None
    except (CorruptError, UnsupportedError) as error:
        raise RefusedError(400, "MANIFEST_INVALID", str(error)) from None
    headers = {"OCI-Subject": subject} if subject else {}
    if tags:
        headers["OCI-Tag"] = ", ".join(tags)
    return stored(call, "manifests", digest, headers)


def delete(call: Call) -> Response:
    """Of a tag: the tag alone. Of a digest: the manifest with its tags."""
    selector = _selector(call, "MANIFEST_UNKNOWN")
    drop = call.repository.drop_tag if is_tag(selector) else call.repository.drop_manifest
    if not drop(selector):
        raise _unknown(call, selector)
    call.changed = True
    return Response(202)


def tags(call: Call) -> Response:
    repository = call.repository
    if not repository.exists():
        raise RefusedError(404, "NAME_UNKNOWN", f"there is no repository {repository.name}")
    found, headers = page(call.request, repository.tags(), f"/v2/{repository.name}/tags/list")
    return document({"name": repository.name, "tags": found}, headers=headers)


def page(request: Request, rows: list[str], path: str) -> tuple[Sequence[str], dict[str, str]]:
    """The sorted rows after `last`, at most `n`, and a Link header where there are more."""
    last, wanted = request.parameter("last"), count(request, "n")
    if last is not None:
        rows = [row for row in rows if row > last]
    limit = ROWS_LIMIT if wanted is None else min(wanted, ROWS_LIMIT)
    found = rows[:limit]
    if not found or len(rows) <= limit:
        return found, {}
    query = urlencode({"n": limit, "last": found[-1]})
    return found, {"Link": f'<{path}?{query}>; rel="next"'}


def referrers(call: Call) -> Response:
    """What says something about a manifest, filtered by type, in as many answers as it takes."""
    subject = checked_digest(call.words[0])
    wanted = call.request.parameter("artifactType")
    found: list[dict[str, Any]] = []
    headers: dict[str, str] = {}
    taken = 0
    for one in call.repository.referrers(subject, call.request.parameter("last") or ""):
        if wanted is not None and one.get("artifactType") != wanted:
            continue
        taken += len(json.dumps(one))
        if found and taken > REFERRERS_LIMIT:
            query = f"last={quote(str(found[-1]['digest']), safe='')}"
            if wanted is not None:
                query += f"&artifactType={quote(wanted, safe='')}"
            path = f"/v2/{call.repository.name}/referrers/{subject}"
            headers["Link"] = f'<{path}?{query}>; rel="next"'
            break
        found.append(one)
    if wanted is not None:
        headers["OCI-Filters-Applied"] = "artifactType"
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
    return document(index, media_type=OCI_INDEX, headers=headers)


def _selector(call: Call, unknown: str = "") -> str:
    """A tag, or a digest that the store has a place for."""
    selector = call.words[0]
    return selector if is_tag(selector) else checked_digest(selector, unknown)


def _body(call: Call) -> bytes:
    if (call.request.length or 0) > MANIFEST_LIMIT:
        raise _too_large()
    chunks: list[bytes | bytearray] = []
    left = MANIFEST_LIMIT
    for chunk in call.request.body():
        left -= len(chunk)
        if left < 0:
            raise _too_large()
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large() -> RefusedError:
    return RefusedError(413, "SIZE_INVALID", f"a manifest may have {MANIFEST_LIMIT} bytes")


def _unknown(call: Call, selector: str) -> RefusedError:
    return RefusedError(
        404, "MANIFEST_UNKNOWN", f"{call.repository.name} has no manifest {selector}"
    )
