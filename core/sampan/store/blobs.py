"""Content-addressed blobs in an OCI image layout (image-spec, image-layout.md).

The store's root is the layout: `oci-layout`, `index.json` and `blobs/sha256/HEX`, so skopeo and
others read it as it stands.  A blob is under its name only when its digest was computed over
every byte of it; until then it is in `ingest/` (see `sampan.store.ingest`).  Nothing here is held
in memory between calls.
"""

from __future__ import annotations

import os

from sampan import files
from sampan.errors import CorruptError, NotFoundError
from sampan.model.reference import is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.store.ingest import Ingest, Writer
    from sampan.store.leases import Lease
    from sampan.store.locks import Note

DIRECTORY = "blobs/sha256"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


class BlobStore:
    """The blobs under one root. `root_fd` stays the caller's."""

    __slots__ = ("root_fd",)

    def __init__(self, root_fd: int) -> None:
        self.root_fd = root_fd

    def open(self, digest: str) -> int:
        """A read-only descriptor. NotFoundError."""
        try:
            return os.open(
                path_of(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.root_fd
            )
        except FileNotFoundError:
            raise NotFoundError(f"no blob {digest}", "it is not in the store") from None

    def read(self, digest: str, limit: int = 4 << 20) -> bytes:
        """All bytes of a small blob. NotFoundError, LimitError."""
        fd = self.open(digest)
        try:
            return files.read_fd(fd, digest, limit)
        finally:
            os.close(fd)

    def has(self, digest: str) -> bool:
        return self.size(digest) is not None

    def size(self, digest: str) -> int | None:
        """Its size in bytes, None if it is not there."""
        try:
            return os.stat(path_of(digest), dir_fd=self.root_fd, follow_symlinks=False).st_size
        except FileNotFoundError:
            return None

    def remove(self, digest: str) -> bool:
        """Remove a blob; False if there was none. Works on a full disk."""
        return files.unlink(self.root_fd, path_of(digest))

    def put(self, data: bytes, lease: Lease | None = None) -> str:
        """Store bytes at hand; returns their digest, which `lease` keeps until it ends."""
        digest = digest_of(data)
        if lease is not None:
            lease.add(digest)
        if not self.has(digest):
            directory = self.directory()
            try:
                files.write_atomic(directory, digest.removeprefix("sha256:"), data)
            finally:
                os.close(directory)
        return digest

    def ingest(self, digest: str, size: int, note: Note | None = None) -> Ingest:
        """`with blobs.ingest(digest, size) as ingest:` receives a blob of known digest and size."""
        from sampan.store.ingest import Ingest

        return Ingest(self, digest, size, note)

    def writer(self, lease: Lease) -> Writer:
        """`with blobs.writer(lease) as writer:` receives a blob whose digest is not known yet."""
        from sampan.store.ingest import Writer

        return Writer(self, lease)

    def digests(self) -> Iterator[str]:
        """The digests of all blobs."""
        directory = self.directory()
        try:
            names = os.listdir(directory)
        finally:
            os.close(directory)
        return (f"sha256:{name}" for name in names if is_digest(f"sha256:{name}"))

    def directory(self) -> int:
        """A descriptor of `blobs/sha256`; the layout is completed where parts of it are missing."""
        try:
            return files.open_directory(DIRECTORY, dir_fd=self.root_fd)
        except FileNotFoundError:
            pass
        os.close(files.open_directory("blobs", dir_fd=self.root_fd, create=True))
        directory = files.open_directory(DIRECTORY, dir_fd=self.root_fd, create=True)
        files.write_atomic(self.root_fd, "oci-layout", LAYOUT)
        return directory


def path_of(digest: str) -> str:
    """Where a blob is in the layout. Nothing but a checked digest becomes a path."""
    if not is_digest(digest):
        raise CorruptError("a blob is refused", f"bad digest {digest[:80]!r}")
    return f"{DIRECTORY}/{digest[7:]}"


def digest_of(data: bytes) -> str:
    import hashlib

    return f"sha256:{hashlib.sha256(data).hexdigest()}"
