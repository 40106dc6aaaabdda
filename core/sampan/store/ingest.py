"""How bytes of strangers become blobs: hashed while written, verified, synced, renamed.

A download has the name of its digest in `ingest/`, so a later try goes on where an earlier one
was cut, even by a kill.  Its flock makes other processes wait for it and then find the blob.
Bytes beyond the announced size are refused when they arrive; a wrong digest unlinks what was
received.
"""

from __future__ import annotations

import errno
import hashlib
import os

from sampan import files
from sampan.errors import CorruptError, InUseError, LimitError
from sampan.store import locks
from sampan.store.leases import store_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from sampan.store.blobs import BlobStore
    from sampan.store.leases import Lease

DIRECTORY = "ingest"
_PARTIAL = ".partial"


class Ingest:
    """One blob on its way in.

    complete: the blob is in the store, there is nothing to do.  offset: the bytes received so far.
    Leaving the block without `commit` keeps a partial file for a later try.
    """

    def __init__(
        self, blobs: BlobStore, digest: str, size: int, note: locks.Note | None = None
    ) -> None:
        self.digest, self.size = digest, size
        self.complete = False
        self.offset = 0
        self._blobs, self._note = blobs, note
        self._name = digest.removeprefix("sha256:") + _PARTIAL
        self._directory = self._fd = -1
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        if self._blobs.has(self.digest):
            self.complete = True
            return self
        self._directory = files.open_directory(DIRECTORY, dir_fd=self._blobs.root_fd, create=True)
        try:
            self._open()
            if not self.complete:
                self._take_up()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._fd >= 0 and not self.complete and self.offset == 0:
            self.discard()
        self._close()

    def write(self, data: bytes) -> None:
        """Take the next bytes. LimitError when they are more than announced."""
        if self.offset + len(data) > self.size:
            self.discard()
            raise LimitError(
                f"blob {self.digest} is refused", f"it is longer than its {self.size} bytes"
            )
        try:
            files.write_all(self._fd, data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.discard()  # kept for resuming, it would keep the disk full
            raise
        self._hash.update(data)
        self.offset += len(data)

    def restart(self) -> None:
        """Forget what was received."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.offset = 0

    def verify(self) -> int:
        """A read-only descriptor of the whole and right bytes; else they are unlinked,
        CorruptError.
        """
        found = f"sha256:{self._hash.hexdigest()}"
        if self.offset != self.size or found != self.digest:
            got = f"received {self.offset} of {self.size} bytes"
            if self.offset == self.size:
                got = f"its bytes have the digest {found}"
            self.discard()
            raise CorruptError(f"blob {self.digest} is refused", got)
        return os.open(
            self._name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory
        )

    def commit(self) -> None:
        """Put the verified bytes under their name, durably."""
        os.fsync(self._fd)
        blobs = self._blobs.directory()
        try:
            name = self.digest.removeprefix("sha256:")
            os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=blobs)
            os.fsync(blobs)
        finally:
            os.close(blobs)
        self.complete = True

    def discard(self) -> None:
        """Unlink what was received; a new try begins with nothing."""
        files.unlink(self._directory, self._name)
        self.restart()

    def _open(self) -> None:
        """Open and lock the partial file; another process may rename or unlink it meanwhile."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            self._fd = os.open(self._name, flags, 0o600, dir_fd=self._directory)
            self._wait()
            if self._blobs.has(self.digest):
                self.complete = True
                if self._is_named():
                    files.unlink(self._directory, self._name)
                return
            if self._is_named():
                return
            os.close(self._fd)
            self._fd = -1

    def _wait(self) -> None:
        """Wait for the process that downloads this blob, for as long as its file grows."""
        seen = -1
        while True:
            try:
                return locks.lock(self._fd, f"the download of {self.digest}", note=self._note)
            except InUseError:
                size = os.fstat(self._fd).st_size
                if size == seen:
                    raise
                seen = size

    def _is_named(self) -> bool:
        try:
            named = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        mine = os.fstat(self._fd)
        return (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino)

    def _take_up(self) -> None:
        """Hash what an earlier try left."""
        if os.fstat(self._fd).st_size > self.size:
            self.restart()
        while chunk := os.read(self._fd, 1 << 20):
            self._hash.update(chunk)
            self.offset += len(chunk)

    def _close(self) -> None:
        for fd in (self._fd, self._directory):
            if fd >= 0:
                os.close(fd)
        self._fd = self._directory = -1


class Writer:
    """A blob of our own making (a commit, a build, a load): its digest is known when it ends."""

    def __init__(self, blobs: BlobStore, lease: Lease) -> None:
        self.size = 0
        self._blobs, self._lease = blobs, lease
        self._directory = self._fd = -1
        self._name = ""
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        self._directory = files.open_directory(DIRECTORY, dir_fd=self._blobs.root_fd, create=True)
        self._name = files.temporary_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        # Made under the store's lock, as a lease is: no collection sees it before it is locked.
        with store_lock(self._blobs.root_fd):
            self._fd = os.open(self._name, flags, 0o600, dir_fd=self._directory)
            locks.lock(self._fd, "a new blob")
        return self

    def __exit__(self, *exception: object) -> None:
        files.unlink(self._directory, self._name)
        os.close(self._fd)
        os.close(self._directory)

    def write(self, data: bytes) -> None:
        files.write_all(self._fd, data)
        self._hash.update(data)
        self.size += len(data)

    def commit(self) -> str:
        """Put the bytes under their digest, durably, kept by the lease; returns the digest."""
        digest = f"sha256:{self._hash.hexdigest()}"
        self._lease.add(digest)
        if not self._blobs.has(digest):
            os.fsync(self._fd)
            blobs = self._blobs.directory()
            try:
                name = digest.removeprefix("sha256:")
                os.rename(self._name, name, src_dir_fd=self._directory, dst_dir_fd=blobs)
                os.fsync(blobs)
            finally:
                os.close(blobs)
        return digest


def sweep(root_fd: int, keep_seconds: float) -> None:
    """Remove what nobody writes and nobody resumed for that long."""
    import time

    directory = files.open_directory(DIRECTORY, dir_fd=root_fd, create=True)
    try:
        for name in os.listdir(directory):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            except FileNotFoundError:
                continue  # received whole, or given up, just now
            try:
                old = time.time() - os.fstat(fd).st_mtime > keep_seconds
                if (old or not name.endswith(_PARTIAL)) and locks.try_lock(fd):
                    files.unlink(directory, name)
            finally:
                os.close(fd)
    finally:
        os.close(directory)
