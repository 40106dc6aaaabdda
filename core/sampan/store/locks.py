"""Locks that the kernel takes back when their holder dies (flock(2)).

A wait has an end, and after two seconds it says who holds the lock.  Holders keep a lock for as
long as a few files take to write, never over an unpack; the one exception is a blob's own ingest
file, which is held by the process that downloads it so that nobody else does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from sampan import files
from sampan.errors import InUseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Self

    Note = Callable[[str], object]

TIMEOUT = 60.0  # seconds
_NAME_AFTER = 2.0


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the lock if nobody has it."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def tell(text: str) -> None:
    os.write(2, f"sampan: {text}\n".encode())


def lock(
    fd: int,
    what: str,
    *,
    shared: bool = False,
    timeout: float = TIMEOUT,
    note: Note | None = tell,
) -> None:
    """Take the lock, waiting at most `timeout` seconds. InUseError names the holder.

    note: is told once of a wait that takes longer.
    """
    if try_lock(fd, shared=shared):
        return
    begun = time.monotonic()
    pause, named = 0.001, False
    while not try_lock(fd, shared=shared):
        waited = time.monotonic() - begun
        if waited > timeout:
            raise InUseError(
                f"cannot lock {what}",
                f"{holder(fd)} has held it for {waited:.0f} s",
                "end that process, or try again later",
            )
        if waited > _NAME_AFTER and not named:
            named = True
            if note:
                note(f"waiting for {what}, which {holder(fd)} holds")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def holder(fd: int) -> str:
    """Who holds the file's lock, as far as the kernel tells (proc_locks(5))."""
    status = os.fstat(fd)
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii", errors="replace") as table:
            rows = [line.split() for line in table]
    except OSError:  # hidden by the administrator: the wait goes on without a name
        rows = []
    for row in rows:
        if "->" not in row and len(row) > 5 and row[1] == "FLOCK" and row[5] == device:
            return f"process {row[4]}"
    return "another process"


class FileLock:
    """`with FileLock(dir_fd, name, what)`: the named file is locked (made if it is missing)."""

    __slots__ = ("_dir_fd", "_fd", "_name", "_shared", "_what")

    def __init__(self, dir_fd: int, name: str, what: str, *, shared: bool = False) -> None:
        self._dir_fd, self._name, self._what, self._shared = dir_fd, name, what, shared
        self._fd = -1

    def __enter__(self) -> Self:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._fd = os.open(self._name, flags, 0o600, dir_fd=self._dir_fd)
        try:
            lock(self._fd, self._what, shared=self._shared)
        except BaseException:
            os.close(self._fd)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)


@contextlib.contextmanager
def named(dir_fd: int, name: str, what: str, *, note: Note) -> Generator[None]:
    """The file of that name is locked, however long its holder takes; it goes with its holder.

    For what may take hours while another process waits.
    """
    fd = _named(dir_fd, name, what, note)
    try:
        yield
    finally:
        files.unlink(dir_fd, name)  # who waits finds that the file has no name any more
        fcntl.flock(fd, fcntl.LOCK_UN)  # a child of the holder may have it open, too
        os.close(fd)


def _named(dir_fd: int, name: str, what: str, note: Note) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
        try:
            lock(fd, what, timeout=float("inf"), note=note)
            if _has_name(dir_fd, name, fd):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _has_name(dir_fd: int, name: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(name, dir_fd=dir_fd), os.fstat(fd))
    except FileNotFoundError:
        return False


def sweep(dir_fd: int) -> None:
    """Remove the files of `named` whose holders were killed, from a directory of nothing else."""
    for name in os.listdir(dir_fd):
        try:
            fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        except FileNotFoundError:
            continue
        try:
            if try_lock(fd) and _has_name(dir_fd, name, fd):
                files.unlink(dir_fd, name)
        finally:
            os.close(fd)
