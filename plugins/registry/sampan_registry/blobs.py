"""Blobs: pulled whole or in part, pushed in one request or in chunks, mounted, deleted."""

from __future__ import annotations

import os
import re

from sampan.errors import CorruptError, InUseError, NotFoundError, UsageError
from sampan.http.connection import FilePart, Response
from sampan_registry.answers import RefusedError, checked_digest, stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.drivers import RegistryUpload
    from sampan_registry.answers import Call

BINARY = "application/octet-stream"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_CONTENT_RANGE = re.compile(r"(?:bytes )?(\d{1,18})-(\d{1,18})")


def get(call: Call) -> Response:
    """GET and HEAD of a blob; a single range is answered with that part."""
    digest = checked_digest(call.words[0], "BLOB_UNKNOWN")
    fd = call.repository.blob(digest, wanted=call.request.method == "HEAD")
    if fd is None:
        raise _unknown(call, digest)
    size = os.fstat(fd).st_size
    headers = {
        "Content-Type": BINARY,
        "Docker-Content-Digest": digest,
        "Accept-Ranges": "bytes",
        "ETag": f'"{digest}"',
    }
    asked = _range(call.request.headers.get("range", ""), size)
    if asked is None or call.request.method == "HEAD":
        return Response(200, headers, FilePart(fd, 0, size))
    if not asked:
        os.close(fd)
        why = f"the blob has {size} bytes"
        raise RefusedError(416, "SIZE_INVALID", why, {"Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {asked.start}-{asked.stop - 1}/{size}"
    return Response(206, headers, FilePart(fd, asked.start, len(asked)))


def _range(text: str, size: int) -> range | None:
    """The bytes that a Range header asks for, none if there are no such; None: send all (RFC 9110, 14.2)."""
    asked = _RANGE.fullmatch(text)
    if not asked:
        return None
    first, last = asked.groups()
    if not first:
        return range(max(size - int(last), 0), size) if last else None
    if last and int(last) < int(first):
        return None  # such a header is to be ignored
    return range(int(first), min(int(last) + 1 if last else size, size))


def delete(call: Call) -> Response:
    digest = checked_digest(call.words[0], "BLOB_UNKNOWN")
    if not call.repository.drop_blob(digest):
        raise _unknown(call, digest)
    call.changed = True
    return Response(202)


def begin(call: Call) -> Response:
    """POST: a mount, a whole blob, or an upload that further requests go on with."""
    algorithm = call.request.parameter("digest-algorithm")
    if algorithm not in (None, "sha256"):
        raise RefusedError(
            400, "DIGEST_INVALID", f"{str(algorithm)[:80]!r}: only sha256 digests are kept here"
        )
    mount = call.request.parameter("mount")
    if mount is not None and _mounted(call, checked_digest(mount)):
        return stored(call, "blobs", mount)
    digest = call.request.parameter("digest")
    if digest is not None:
        checked_digest(digest)
    upload = call.repository.begin_upload()
    if digest is None:
        return _going_on(call, upload, 0)
    with _entered(call, upload) as received:
        try:
            return _finish(call, received, digest)
        except BaseException:  # nobody else knows of this upload
            received.cancel()
            raise


def status(call: Call) -> Response:
    """GET of an upload: how far it is."""
    with _entered(call, call.words[0]) as upload:
        return _going_on(call, call.words[0], upload.offset, 204)


def chunk(call: Call) -> Response:
    """PATCH: the next bytes."""
    with _entered(call, call.words[0]) as upload:
        _receive(call, upload)
        return _going_on(call, call.words[0], upload.offset)


def finish(call: Call) -> Response:
    """PUT: the last bytes, if there are any, and the digest of all."""
    digest = checked_digest(call.request.parameter("digest") or "")
    with _entered(call, call.words[0]) as upload:
        return _finish(call, upload, digest)


def cancel(call: Call) -> Response:
    with _entered(call, call.words[0]) as upload:
        upload.cancel()
    return Response(204)


def _mounted(call: Call, digest: str) -> bool:
    try:
        return call.repository.mount(digest, call.request.parameter("from"))
    except UsageError:
        return False  # no repository has such a name; the client may upload the blob


def _entered(call: Call, name: str) -> _Entered:
    return _Entered(call.repository.upload(name))


class _Entered:
    """`with` of an upload, whose absence and contention become answers."""

    def __init__(self, upload: RegistryUpload) -> None:
        self._upload = upload

    def __enter__(self) -> RegistryUpload:
        try:
            return self._upload.__enter__()
        except NotFoundError as error:
            raise RefusedError(404, "BLOB_UPLOAD_UNKNOWN", str(error)) from None
        except InUseError as error:
            raise RefusedError(429, "TOOMANYREQUESTS", str(error), {"Retry-After": "1"}) from None

    def __exit__(self, *exception: object) -> None:
        self._upload.__exit__(*exception)


def _receive(call: Call, upload: RegistryUpload) -> None:
    """The body's bytes, where the client says that they belong."""
    request = call.request
    if "content-range" in request.headers:
        asked = _CONTENT_RANGE.fullmatch(request.headers["content-range"])
        if not asked:
            raise RefusedError(400, "BLOB_UPLOAD_INVALID", "Content-Range is not FIRST-LAST")
        first, last = map(int, asked.groups())
        if first != upload.offset:
            raise RefusedError(
                416,
                "BLOB_UPLOAD_INVALID",
                f"the chunk begins at {first}, and {upload.offset} bytes are here",
                _place(call, call.words[0], upload.offset),
            )
        if request.length is not None and last - first + 1 != request.length:
            raise RefusedError(
                400,
                "SIZE_INVALID",
                f"Content-Range has {last - first + 1} bytes, the body {request.length}",
            )
    limit = call.options.blob_limit
    if limit and upload.offset + (request.length or 0) > limit:
        raise _too_large(limit)
    for data in request.body():
        if limit and upload.offset + len(data) > limit:
            upload.cancel()
            raise _too_large(limit)
        upload.write(data)


def _finish(call: Call, upload: RegistryUpload, digest: str) -> Response:
    _receive(call, upload)
    try:
        upload.commit(digest)
    except CorruptError as error:
        raise RefusedError(400, "DIGEST_INVALID", str(error)) from None
    return stored(call, "blobs", digest)


def _going_on(call: Call, upload: str, offset: int, status: int = 202) -> Response:
    return Response(status, _place(call, upload, offset))


def _place(call: Call, upload: str, offset: int) -> dict[str, str]:
    """Where an upload goes on. An empty one has the range 0-0 too, as every registry tells it."""
    return {
        "Location": f"/v2/{call.repository.name}/blobs/uploads/{upload}",
        "Range": f"0-{max(offset - 1, 0)}",
        "Docker-Upload-UUID": upload,
    }


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, "SIZE_INVALID", f"a blob may have {limit} bytes")


def _unknown(call: Call, digest: str) -> RefusedError:
    return RefusedError(404, "BLOB_UNKNOWN", f"{call.repository.name} has no blob {digest}")
