"""Pushing: blobs and manifests to one registry (distribution-spec, "Pushing blobs").

A blob goes where it already is only as a question: HEAD first, then a mount from a repository of the
same registry that is known to have it, then an upload.  A small one is sent in one PUT, a larger one by
PATCH; when that breaks, the registry is asked how much it has (or said so itself, by a Range) and the
rest is sent to the Location of its last answer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from urllib.parse import urlencode, urlsplit

from sampan.errors import CorruptError
from sampan.model.image import Descriptor
from sampan.model.reference import Reference
from sampan.registry import waiting
from sampan.registry.access import Access
from sampan.registry.client import Note, Registry
from sampan.registry.config import RegistriesConf
from sampan.registry.errors import RegistryError, UnreachableError
from sampan.registry.transport import Answer
from sampan.store.blobs import digest_of

MONOLITHIC = 8 << 20  # bytes up to which a blob is sent in one PUT
WRITE_SECONDS = 120.0  # without an answer: some store a large blob only after its last byte
TRIES = 5  # in a row without progress
_PROGRESS = 1 << 20
_CHUNK = 1 << 18
_ASK_AGAIN = frozenset(
    (404, 408, 416, 429, 500, 502, 503, 504)
)  # how much there is may have changed
_OCTETS = "application/octet-stream"

Advance = Callable[[int], None]


class Upload:
    """Where images of one name are pushed to. Safe for threads."""

    def __init__(
        self,
        name: Reference,
        conf: RegistriesConf,
        *,
        access: Access = Access(),
        note: Note | None = None,
        sleep: Callable[[float], None] = time.sleep,
        read_seconds: float = WRITE_SECONDS,
        monolithic: int = MONOLITHIC,
    ) -> None:
        self.name = name
        self._sleep, self._monolithic = sleep, monolithic
        self._note: Note = note or (lambda text: None)
        endpoint = conf.endpoints(name)[-1]  # never a mirror
        self.registry = Registry(
            endpoint,
            access=access,
            actions="pull,push",
            note=note,
            sleep=sleep,
            read_seconds=read_seconds,
        )

    def has(self, digest: str) -> bool:
        """Whether the repository has the blob; a registry that does not say is not believed to."""
        return self._head(f"blobs/{digest}")

    def blob(
        self, descriptor: Descriptor, fd: int, origins: Sequence[str], advance: Advance
    ) -> str:
        """Bring the bytes of `fd`, which have that digest and size; returns "exists", "mounted" or "done".

        origins: repositories of this registry that may have the blob.
        """
        if self.has(descriptor.digest):
            return "exists"
        location = ""
        for origin in origins:
            location = self._mount(descriptor.digest, origin)
            if not location:
                return "mounted"
        if descriptor.size <= self._monolithic:
            self._at_once(descriptor, fd, location)
        else:
            self._in_parts(descriptor, fd, location, advance)
        advance(descriptor.size)
        return "done"

    def manifest(self, data: bytes, media_type: str, selector: str) -> str:
        """PUT a manifest under a tag or its digest; returns its digest."""
        digest = digest_of(data)
        answer = self._retried(
            lambda: self.registry.request(
                "PUT",
                f"manifests/{selector}",
                {"Content-Type": media_type},
                (200, 201),
                lambda: data,
            )
        )
        answer.response.drain_conn()
        told = answer.response.headers.get("Docker-Content-Digest") or digest
        if told != digest:
            raise CorruptError(
                f"the push of {self.name} is refused", f"the registry made {told[:80]} of {digest}"
            )
        return digest

    def _head(self, path: str) -> bool:
        try:
            answer = self.registry.request("HEAD", path, {"Accept": "*/*"}, (200, 404))
        except RegistryError as error:
            if isinstance(error, UnreachableError):
                raise
            return False  # some refuse HEAD; the next request tells what is wrong if something is
        answer.response.release_conn()
        return answer.response.status == 200

    def _mount(self, digest: str, origin: str) -> str:
        """Ask for the blob of another repository; "" if it is mounted, else the Location of an upload."""
        query = urlencode({"mount": digest, "from": origin})
        try:
            answer = self.registry.request("POST", f"blobs/uploads/?{query}", _EMPTY, (201, 202))
        except UnreachableError:
            raise
        except RegistryError:
            return self._begin()
        answer.response.drain_conn()
        return "" if answer.response.status == 201 else self._location(answer)

    def _begin(self) -> str:
        answer = self.registry.request("POST", "blobs/uploads/", _EMPTY, (202,))
        answer.response.drain_conn()
        return self._location(answer)

    def _at_once(self, descriptor: Descriptor, fd: int, location: str) -> None:
        def send() -> Answer:
            nonlocal location
            at, location = location or self._begin(), ""  # of each Location one use
            return self._finish(descriptor, at, lambda: os.pread(fd, descriptor.size, 0))

        self._retried(send).response.drain_conn()

    def _in_parts(self, descriptor: Descriptor, fd: int, location: str, advance: Advance) -> None:
        """As docker does it: all bytes in one PATCH, and what a broken one has left in another."""
        location = location or self._begin()
        offset = tries = 0
        while offset < descriptor.size:
            try:
                answer = self._patch(descriptor, fd, location, offset, advance)
                location, offset = self._location(answer), descriptor.size
            except (UnreachableError, RegistryError) as error:
                before, tries = offset, tries + 1
                if tries >= TRIES or (error.status and error.status not in _ASK_AGAIN):
                    raise
                self._note(f"{error.what}: asking how much {self.registry.host} has")
                self._sleep(waiting.pause(tries - 1, None) / 2)
                location, offset = self._status(location)
                if offset - before >= _PROGRESS:
                    tries = 0
        self._retried(lambda: self._finish(descriptor, location, None)).response.drain_conn()

    def _patch(
        self, descriptor: Descriptor, fd: int, location: str, offset: int, advance: Advance
    ) -> Answer:
        left = descriptor.size - offset
        headers = {"Content-Type": _OCTETS, "Content-Length": str(left)}
        if offset:
            headers["Content-Range"] = f"{offset}-{descriptor.size - 1}"
        answer = self.registry.request(
            "PATCH",
            location,
            headers,
            (202,),
            lambda: _chunks(fd, offset, descriptor.size, advance),
            patient=False,
        )
        answer.response.drain_conn()
        return answer

    def _status(self, location: str) -> tuple[str, int]:
        """Where to go on and from which byte on; a registry that does not know begins anew."""
        try:
            answer = self.registry.request("GET", location, {}, (204, 200))
        except UnreachableError:
            raise
        except RegistryError:
            return self._begin(), 0
        answer.response.drain_conn()
        _, dash, last = (answer.response.headers.get("Range") or "").rpartition("-")
        if not dash or not last.strip().isdigit():
            return self._begin(), 0
        # An upload without a byte cannot be told from one with a single byte: 0-0.
        received = int(last) + 1 if int(last) else 0
        if not received:
            return self._begin(), 0
        again = answer.response.headers.get("Location")
        return (self._location(answer) if again else location), received

    def _finish(
        self, descriptor: Descriptor, location: str, body: Callable[[], bytes] | None
    ) -> Answer:
        separator = "&" if urlsplit(location).query else "?"
        url = f"{location}{separator}{urlencode({'digest': descriptor.digest})}"
        headers = {"Content-Type": _OCTETS} if body else _EMPTY
        return self.registry.request("PUT", url, headers, (201, 204), body)

    def _location(self, answer: Answer) -> str:
        location = answer.response.headers.get("Location")
        if not location:
            raise RegistryError(f"cannot push to {self.name}", "the registry names no Location")
        return self.registry.transport.target(answer.url, location)

    def _retried(self, ask: Callable[[], Answer]) -> Answer:
        """Once more after a connection that broke: these requests may be made twice."""
        for attempt in range(TRIES):
            try:
                return ask()
            except UnreachableError as error:
                if not error.again or attempt == TRIES - 1:
                    raise
                self._note(f"{error}: trying again")
                self._sleep(waiting.pause(attempt, None))
        raise AssertionError("the last attempt returns or raises")


_EMPTY: Mapping[str, str] = {"Content-Length": "0"}


def _chunks(fd: int, offset: int, end: int, advance: Advance) -> Iterator[bytes]:
    """A part of a descriptor; the user is told of what was handed to the connection."""
    while offset < end and (data := os.pread(fd, min(_CHUNK, end - offset), offset)):
        yield data
        offset += len(data)
        advance(offset)
