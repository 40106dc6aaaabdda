"""Pulling: manifests and blobs, from the mirrors and then the registry.

A blob is received in a resumable way.  Whatever the server does (206 that fits, 206 that does
not, 200 in spite of a Range, 416, a cut, silence), the received bytes are either its beginning or
dropped, and the digest over all of them decides.  A new try asks the registry itself again, since
a redirect's signature may have expired.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from urllib3.exceptions import HTTPError

from sampan.errors import CorruptError, LimitError, NotFoundError, SampanError
from sampan.model.image import ACCEPT, MANIFEST_LIMIT, Descriptor, normalise_type
from sampan.model.reference import Reference
from sampan.registry import listing, waiting
from sampan.registry.access import Access
from sampan.registry.client import Note, Registry, read_body
from sampan.registry.config import Endpoint, RegistriesConf
from sampan.registry.errors import RegistryError, UnreachableError
from sampan.registry.transport import READ_SECONDS, Response, Transport, shown, unreachable
from sampan.store.blobs import digest_of
from sampan.store.ingest import Ingest

TRIES = 5  # in a row without progress
PATIENCE = 54.0  # seconds without progress, however many tries
FLOOR = 1 << 10  # bytes a second that are too few, if a whole minute has no more
_PROGRESS = 1 << 20  # bytes that count as progress
_CHUNK = 1 << 18
_MIRROR_SECONDS = 15.0  # the patience with a silent mirror

Advance = Callable[[int], None]


class Fetched(NamedTuple):
    """A manifest's or index' raw bytes, with the header's media type and the digest computed
    here.
    """

    data: bytes
    media_type: str
    digest: str


class Remote:
    """One repository, at its mirrors and its registry. Safe for threads once a manifest was
    fetched.
    """

    def __init__(
        self,
        name: Reference,
        conf: RegistriesConf,
        *,
        access: Access = Access(),
        note: Note | None = None,
        sleep: Callable[[float], None] = time.sleep,
        read_seconds: float = READ_SECONDS,
        mirror_seconds: float = _MIRROR_SECONDS,
        patience: float = PATIENCE,
    ) -> None:
        self.name = name
        self._note: Note = note or _silent
        self._sleep, self._patience = sleep, patience
        self._access = access

        def registry(endpoint: Endpoint) -> Registry:
            seconds = mirror_seconds if endpoint.mirror else read_seconds
            return Registry(endpoint, access=access, note=note, sleep=sleep, read_seconds=seconds)

        self._registries = [registry(endpoint) for endpoint in conf.endpoints(name)]
        self.served_by = self._registries[-1].host

    def manifest(self, selector: str) -> Fetched:
        """A manifest by tag or digest; the next place is asked when one does not have it."""
        for registry in self._registries[:-1]:
            try:
                fetched = _manifest(registry, self.name, selector)
            except (RegistryError, NotFoundError, CorruptError) as error:
                self._note(f"mirror {registry.host} is passed over: {error}")
                continue
            self._prefer(registry)
            return fetched
        return _manifest(self._registries[-1], self.name, selector)

    def blob(
        self, descriptor: Descriptor, ingest: Ingest, advance: Advance, *, mirrors: bool = True
    ) -> None:
        """Receive all bytes of a blob; the caller verifies them."""
        places = self._registries if mirrors else self._registries[-1:]
        for registry in places[:-1]:
            try:
                return self._receive(_at(registry, descriptor), ingest, advance)
            except (RegistryError, NotFoundError) as error:
                self._note(f"mirror {registry.host} is passed over: {error}")
        try:
            self._receive(_at(places[-1], descriptor), ingest, advance)
        except (RegistryError, NotFoundError):
            if not self._elsewhere(descriptor, ingest, advance):
                raise

    def tags(self) -> list[str]:
        """All tags of the repository, from the registry itself. NotFoundError."""
        return listing.tags(self._registries[-1], self.name)

    def _prefer(self, registry: Registry) -> None:
        """Blobs come from where the manifest came from, if that has them."""
        self.served_by = registry.host
        origin = self._registries[-1]
        self._registries = [registry] if registry is origin else [registry, origin]

    def _elsewhere(self, descriptor: Descriptor, ingest: Ingest, advance: Advance) -> bool:
        """The descriptor's `urls`, without any credential. Whether one of them had the blob."""
        insecure = self._access.tls_verify is False
        transport = Transport(
            verify=not insecure, plain=insecure, loopback=self._access.tls_verify is not True
        )
        for url in descriptor.urls:
            parts = urlsplit(url)
            secure = parts.scheme == "https"
            plain = parts.scheme == "http" and transport.may_be_plain(parts.hostname or "")
            if not parts.hostname or not (secure or plain):
                continue
            try:
                self._receive(_at_url(transport, url), ingest, advance)
                return True
            except SampanError as error:
                self._note(f"{shown(url)} is passed over: {error}")
        return False

    def _receive(self, ask: Ask, ingest: Ingest, advance: Advance) -> None:
        """All bytes into the ingest file, in as many tries as make progress."""
        tries, since = 0, time.monotonic()
        while ingest.offset < ingest.size or (ingest.size == 0 and tries == 0):
            before = ingest.offset
            try:
                _stream(ask(ingest.offset), ask, ingest, advance)
            except UnreachableError as error:
                if ingest.offset - before >= _PROGRESS:
                    tries, since = 0, time.monotonic()
                tries += 1
                if tries >= TRIES or time.monotonic() - since >= self._patience:
                    raise
                self._note(f"{error.what}: going on at byte {ingest.offset}")
                self._sleep(waiting.pause(tries - 1, None) / 2)
            else:
                return


def _silent(text: str) -> None:
    """Nobody listens."""


Ask = Callable[[int], Response]  # a response whose body begins at the offset, if it is a 206


def _manifest(registry: Registry, name: Reference, selector: str) -> Fetched:
    since = time.monotonic()
    for attempt in range(TRIES):
        try:
            return _manifest_once(registry, name, selector)
        except UnreachableError as error:
            late = attempt == TRIES - 1 or time.monotonic() - since >= PATIENCE
            if not error.again or registry.endpoint.mirror or late:
                raise
            registry.sleep(waiting.pause(attempt, None))
        except RegistryError as error:
            if error.status == 404:
                raise NotFoundError(
                    f"{name} does not exist", f"{registry.host} says {error.why or error.status}"
                ) from error
            raise
    raise AssertionError("the last attempt returns or raises")


def _manifest_once(registry: Registry, name: Reference, selector: str) -> Fetched:
    response = registry.get(f"manifests/{selector}", {"Accept": ", ".join(ACCEPT)}, {200})
    announced = response.headers.get("Content-Length") or ""
    if announced.isdigit() and int(announced) > MANIFEST_LIMIT:
        response.close()
        raise LimitError(
            "the manifest is refused", f"{announced} bytes, at most {MANIFEST_LIMIT} are read"
        )
    data = read_body(response, MANIFEST_LIMIT)
    digest = digest_of(data)
    told = response.headers.get("Docker-Content-Digest") or digest
    wanted = selector if selector.startswith("sha256:") else told
    if digest != wanted and wanted.startswith("sha256:"):
        raise CorruptError(
            f"the manifest of {name} is refused", f"it should be {wanted[:80]} and is {digest}"
        )
    return Fetched(data, normalise_type(response.headers.get("Content-Type") or ""), digest)


def _headers(offset: int) -> dict[str, str]:
    return {"Range": f"bytes={offset}-"} if offset else {}


def _at(registry: Registry, descriptor: Descriptor) -> Ask:
    def ask(offset: int) -> Response:
        return registry.get(
            f"blobs/{descriptor.digest}", _headers(offset), {200, 206, 416} if offset else {200}
        )

    return ask


def _at_url(transport: Transport, url: str) -> Ask:
    def ask(offset: int) -> Response:
        response = transport.get(url, _headers(offset)).response
        if response.status not in ((200, 206, 416) if offset else (200,)):
            response.close()
            raise RegistryError(f"{shown(url)} answers {response.status}", status=response.status)
        return response

    return ask


def _stream(response: Response, ask: Ask, ingest: Ingest, advance: Advance) -> None:
    """One response's body into the ingest file. UnreachableError when it ends early."""
    if ingest.offset and not _continues(response, ingest):
        if response.status != 200:
            response.close()
            response = ask(0)
        ingest.restart()
        advance(0)
    _check_length(response, ingest)
    pace = _Pace(ingest)
    try:
        while chunk := response.read1(_CHUNK, decode_content=False):
            ingest.write(chunk)
            advance(ingest.offset)
            pace.check()
    except HTTPError as error:
        raise unreachable(f"the download of {ingest.digest} was cut", error) from error
    finally:
        if ingest.offset == ingest.size:
            response.release_conn()
        else:
            response.close()
    if ingest.offset < ingest.size:
        raise UnreachableError(
            f"the download of {ingest.digest} was cut", f"at byte {ingest.offset} of {ingest.size}"
        )


class _Pace:
    """A connection that drips is as good as none, and would keep a pull alive for days."""

    def __init__(self, ingest: Ingest, seconds: float = PATIENCE) -> None:
        self._ingest, self._seconds = ingest, seconds
        self._since, self._from = time.monotonic(), ingest.offset

    def check(self) -> None:
        now = time.monotonic()
        if now - self._since < self._seconds:
            return
        if self._ingest.offset - self._from < FLOOR * self._seconds:
            raise RegistryError(
                f"the download of {self._ingest.digest} is given up",
                f"less than {FLOOR} bytes a second came for {self._seconds:.0f} s",
                "try again: what was received is kept",
            )
        self._since, self._from = now, self._ingest.offset


def _continues(response: Response, ingest: Ingest) -> bool:
    """Whether a 206 goes on exactly where we are."""
    if response.status != 206:
        return False
    text = (response.headers.get("Content-Range") or "").strip().lower()
    span, _, total = text.removeprefix("bytes").strip().partition("/")
    begin, _, end = span.partition("-")
    return (
        begin.strip() == str(ingest.offset)
        and end.strip() == str(ingest.size - 1)
        and total.strip() in (str(ingest.size), "*")
    )


def _check_length(response: Response, ingest: Ingest) -> None:
    """An answer that announces another length than the descriptor's is not worth a byte."""
    announced = (response.headers.get("Content-Length") or "").strip()
    left = ingest.size - ingest.offset
    if announced.isdigit() and int(announced) != left:
        response.close()
        kind: type[CorruptError] = LimitError if int(announced) > left else CorruptError
        raise kind(
            f"blob {ingest.digest} is refused",
            f"its descriptor says {ingest.size} bytes and the registry sends {announced}",
        )
