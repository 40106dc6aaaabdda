"""Leases: what an operation in progress needs, so that a garbage collection leaves it alone.

A lease is a file of its own in `leases/` that names digests.  It is live while its maker holds
the flock on it, which the kernel releases when the process dies, so nothing has to be cleaned
after a kill.  `add` takes the store's short lock: a collection is either over before a digest is
named, or sees it.  Hence the rule: first name the digest, then look whether the blob is there.
"""

from __future__ import annotations

import os

from sampan import files
from sampan.store import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

DIRECTORY = "leases"
LOCK = "store.lock"


def store_lock(root_fd: int) -> locks.FileLock:
    """The short lock of the image store: tags, leases and collection."""
    return locks.FileLock(root_fd, LOCK, "the image store")


class Lease:
    """`with Lease(root_fd) as lease: lease.add(digest)`."""

    __slots__ = ("_directory", "_fd", "_name", "_root_fd")

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._directory = self._fd = -1
        self._name = ""

    def __enter__(self) -> Self:
        self._directory = files.open_directory(DIRECTORY, dir_fd=self._root_fd, create=True)
        self._name = files.temporary_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        # Made under the lock, so that no collection sees it before it is locked.
        with store_lock(self._root_fd):
            self._fd = os.open(self._name, flags, 0o600, dir_fd=self._directory)
            locks.lock(self._fd, "a new lease")
        return self

    def __exit__(self, *exception: object) -> None:
        files.unlink(self._directory, self._name)
        os.close(self._fd)
        os.close(self._directory)

    def add(self, *digests: str) -> None:
        """Keep these blobs for as long as the lease lives."""
        with store_lock(self._root_fd):
            files.write_all(self._fd, "".join(f"{digest}\n" for digest in digests).encode())


def leased(root_fd: int) -> set[str]:
    """The digests of all live leases; dead ones are swept. The caller holds the store's lock."""
    found: set[str] = set()
    directory = files.open_directory(DIRECTORY, dir_fd=root_fd, create=True)
    try:
        for name in os.listdir(directory):
            try:
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            except FileNotFoundError:
                continue  # Its maker has just ended, which takes no lock.
            try:
                if locks.try_lock(fd, shared=True):
                    files.unlink(directory, name)
                else:
                    found.update(files.read_fd(fd, name).decode().split())
            finally:
                os.close(fd)
    finally:
        os.close(directory)
    return found
