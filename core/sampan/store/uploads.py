"""Uploads to the registry: a file that only grows, so whichever process gets a request can go on with it.

What was received stays, also when the client or this process ends amid it, and is what the client is told to go on
from.  Each request holds the file's lock.  The digest is computed over every byte before the file becomes a blob;
a process that received the earlier bytes itself remembers their hash, and another one reads them again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import uuid

from sampan import files
from sampan.errors import CorruptError, NotFoundError
from sampan.store import leases, locks
from sampan.store.links import BLOBS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from sampan.store.blobs import BlobStore
    from sampan.store.links import Links

UPLOADS = "uploads"
_WAIT = 5.0  # seconds for an earlier request to the same upload
_CHUNK = 1 << 20
_KNOWN = 256  # hashes that are remembered


class _Hashes:
    """Hashes of the first bytes of uploads. Files only grow, so what is known of their beginning stays true."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Any, int]] = {}

    def take(self, name: str) -> tuple[Any, int]:
        with self._lock:
            return self._known.pop(name, None) or (hashlib.sha256(), 0)

    def give(self, name: str, hashed: Any, count: int) -> None:
        with self._lock:
            while len(self._known) >= _KNOWN:
                del self._known[next(iter(self._known))]
            self._known[name] = (hashed, count)


_hashes = _Hashes()


def begin(links: Links) -> str:
    """Make a new upload; returns its id."""
    name = str(uuid.uuid4())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    links.within(UPLOADS, lambda fd: os.close(os.open(name, flags, 0o600, dir_fd=fd)))
    return name


class Upload:
    """`with Upload(...) as upload:` goes on with one. NotFoundError; InUseError: another request is at it.

    offset: the bytes received so far.
    """

    def __init__(self, blobs: BlobStore, links: Links, name: str) -> None:
        self.offset = 0
        self._blobs, self._links, self._name = blobs, links, name
        self._directory = self._fd = -1
        self._hash: Any = None
        self._hashed = 0
        self._ended = False

    def __enter__(self) -> Self:
        if not is_id(self._name):
            raise self._unknown()
        try:
            self._directory = self._links.within(UPLOADS, os.dup, create=False)
            flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._name, flags, dir_fd=self._directory)
            locks.lock(self._fd, f"the upload {self._name}", timeout=_WAIT)
            named = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
            mine = os.fstat(self._fd)
            if named.st_ino != mine.st_ino:
                raise self._unknown()
        except FileNotFoundError:
            self._close()
            raise self._unknown() from None
        except BaseException:
            self._close()
            raise
        self.offset = mine.st_size
        self._hash, self._hashed = _hashes.take(self._name)
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._ended:
            _hashes.give(self._name, self._hash, self._hashed)
        self._close()

    def write(self, data: bytes | bytearray) -> None:
        try:
            files.write_all(self._fd, memoryview(data))
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.cancel()  # kept for resuming, it would keep the disk full
            raise
        if self._hashed == self.offset:
            self._hash.update(data)
            self._hashed += len(data)
        self.offset += len(data)

    def commit(self, digest: str) -> None:
        """Make it a blob of the repository, durably. CorruptError: the digest is another one; it is gone then."""
        while chunk := os.pread(self._fd, _CHUNK, self._hashed):
            self._hash.update(chunk)
            self._hashed += len(chunk)
        found = f"sha256:{self._hash.hexdigest()}"
        if found != digest:
            self.cancel()
            raise CorruptError(
                f"blob {digest} is refused", f"its {self._hashed} bytes have the digest {found}"
            )
        with leases.Lease(self._blobs.root_fd) as lease:
            lease.add(digest)
            self._place(digest)
            self._ended = True
            self._links.put(BLOBS, digest.removeprefix("sha256:"), {})

    def cancel(self) -> None:
        """Forget what was received."""
        files.unlink(self._directory, self._name)
        self._ended = True

    def _place(self, digest: str) -> None:
        blobs = self._blobs.directory()
        try:
            if self._blobs.has(digest):
                files.unlink(self._directory, self._name)
            else:
                os.fsync(self._fd)
                name = digest.removeprefix("sha256:")
                os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=blobs)
            os.fsync(blobs)  # also of what another process has just put there
        finally:
            os.close(blobs)

    def _unknown(self) -> NotFoundError:
        return NotFoundError(
            f"no upload {self._name[:80]}", "it was never begun here, or has ended", "begin another"
        )

    def _close(self) -> None:
        for fd in (self._fd, self._directory):
            if fd >= 0:
                os.close(fd)
        self._fd = self._directory = -1


def is_id(name: str) -> bool:
    """Whether it is an upload's id: then it may be part of a path."""
    return len(name) == 36 and frozenset("0123456789abcdef-").issuperset(name)


def sweep(links: Links, seconds: float) -> None:
    """Remove uploads to which nothing was added in that time and which no request holds."""
    for name in links.names(UPLOADS):
        age = links.age(UPLOADS, name)
        if age is None or age < seconds:
            continue
        try:
            directory = links.within(UPLOADS, os.dup, create=False)
        except FileNotFoundError:
            return
        try:
            _sweep(directory, name)
        finally:
            os.close(directory)


def _sweep(directory: int, name: str) -> None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return  # it has just ended
    try:
        if locks.try_lock(fd):
            files.unlink(directory, name)
    finally:
        os.close(fd)
