"""The contract of the concern `registry`: who serves one, and what the engine hands to him."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol


class ServeRequest(NamedTuple):
    """How a registry is to be served.

    listen: HOST:PORT or unix:PATH.  tls: files with the certificate and its key.  htpasswd: a file with names and
    bcrypt hashes, "" for none.  connections: at most so many in each worker.  blob_limit: bytes, 0 for any number.
    insecure: whoever can connect may do everything, and the user said that this is meant.
    """

    listen: str
    tls: tuple[str, str] | None = None
    htpasswd: str = ""
    read_only: bool = False
    workers: int = 4
    connections: int = 256
    blob_limit: int = 0
    insecure: bool = False


class RegistryUpload(Protocol):
    """A blob on its way in: a file that only grows, which any process can go on with.

    offset: the bytes received so far; they stay when the block is left.  One request at a time is in it.
    """

    offset: int

    def __enter__(self) -> RegistryUpload: ...

    def __exit__(self, *exception: object) -> None: ...

    def write(self, data: bytes | bytearray) -> None: ...

    def commit(self, digest: str) -> None:
        """Make it a blob of the repository, durably. CorruptError: its bytes have another digest."""
        ...

    def cancel(self) -> None: ...


class RegistryRepository(Protocol):
    """Names for content of the blob store. What a call returned is on disk, and seen by every process.

    digests are `sha256:HEX`; a tag follows the distribution specification's grammar.
    """

    name: str

    def exists(self) -> bool: ...

    def has(self, digest: str) -> bool: ...

    def blob(self, digest: str, *, wanted: bool = False) -> int | None:
        """A descriptor of a blob or manifest, None if it is not in this repository.

        wanted: the client asks because it is about to push what refers to it.
        """
        ...

    def mount(self, digest: str, source: str | None) -> bool:
        """Take a blob over from another repository (None: from any); False if it is not there."""
        ...

    def drop_blob(self, digest: str) -> bool: ...

    def begin_upload(self) -> str:
        """Returns the upload's id."""
        ...

    def upload(self, name: str) -> RegistryUpload:
        """Entered, it is NotFoundError where there is none, InUseError where another request is at it."""
        ...

    def manifest(self, selector: str) -> tuple[str, str, bytes] | None:
        """(digest, media type, the bytes that were pushed) of a tag or digest."""
        ...

    def put_manifest(self, data: bytes, media_type: str, tags: Iterable[str]) -> tuple[str, str]:
        """(digest, digest of its subject or ""). CorruptError, UnsupportedError: it is refused.
        NotFoundError: it refers to what is not in this repository.
        """
        ...

    def drop_manifest(self, digest: str) -> bool:
        """Remove it with its tags."""
        ...

    def tags(self) -> list[str]: ...

    def drop_tag(self, tag: str) -> bool: ...

    def referrers(self, subject: str, after: str = "") -> Iterable[dict[str, Any]]:
        """Descriptors of the manifests about `subject`, ordered by digest; those after the digest `after`."""
        ...


class RegistryHost(Protocol):
    """What the engine offers a registry: repositories over the store. It may be used by several processes."""

    def names(self) -> list[str]:
        """The repositories that have a manifest, sorted."""
        ...

    def repository(self, name: str) -> RegistryRepository:
        """UsageError: that is no name."""
        ...

    def tidy(self) -> None:
        """Give back the space of what no repository and no image needs. If another process does so, do nothing."""
        ...

    def log(self, level: str, text: str) -> None:
        """A line on standard error, if the user wants lines of that level (error, debug)."""
        ...


class RegistryServer(Protocol):
    """Speaks the distribution specification over HTTP."""

    name: str

    def serve(
        self, request: ServeRequest, host: RegistryHost, ready: Callable[[str], object]
    ) -> None:
        """Serve until SIGTERM or SIGINT; `ready` is told the address when clients can connect."""
        ...
