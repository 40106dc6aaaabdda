"""Layers as directories in the form that the kernel's overlay reads: written, compared, measured,
removed.

A layer is written under a temporary name and renamed into place.  Its writer holds a lock (flock)
on the directory, so that what a killed process left is told from what another one is writing.
"""

from __future__ import annotations

import fcntl
import os
import stat

from sampan import files
from sampan.drivers import Change
from sampan.linux import overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType


class Layer:
    """A layer that is being written: `fd` is its directory until the block ends."""

    complete = False

    def __init__(self, root: int, key: str, mode: int) -> None:
        self._root, self._key, self._mode = root, key, mode
        self._name = files.temporary_name()
        self.fd = -1

    def __enter__(self) -> Layer:
        sweep(self._root)
        os.mkdir(self._name, 0o700, dir_fd=self._root)
        self.fd = files.open_directory(self._name, dir_fd=self._root)
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        os.fchmod(self.fd, self._mode)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._commit()
            else:
                files.remove_tree(self._root, self._name)
        finally:
            os.close(self.fd)

    def _commit(self) -> None:
        try:
            os.rename(self._name, self._key, src_dir_fd=self._root, dst_dir_fd=self._root)
        except OSError:  # ENOTEMPTY: a layer whose record was lost
            old = files.temporary_name()
            os.rename(self._key, old, src_dir_fd=self._root, dst_dir_fd=self._root)
            os.rename(self._name, self._key, src_dir_fd=self._root, dst_dir_fd=self._root)
            files.remove_tree(self._root, old)

    def whiteout(self, dir_fd: int, name: bytes) -> None:
        overlay.make_whiteout(dir_fd, name)

    def opaque(self, dir_fd: int) -> None:
        overlay.make_opaque(dir_fd)


def sweep(root: int) -> None:
    """Remove what writers that are gone have left."""
    for name in os.listdir(root):
        if files.is_abandoned(name) and _unlocked(root, name):
            files.remove_tree(root, name)


def _unlocked(root: int, name: str) -> bool:
    try:
        fd = files.open_directory(name, dir_fd=root)
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def usage(root: int, key: str) -> int:
    """Bytes on disk; what several names share is counted once."""
    try:
        top = files.open_directory(key, dir_fd=root)
    except FileNotFoundError:
        return 0
    seen: set[int] = set()
    total = os.fstat(top).st_blocks * 512
    for _, _, status in walk(top):
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1 or status.st_ino not in seen:
            total += status.st_blocks * 512
            seen.add(status.st_ino)
    os.close(top)
    return total


def walk(top: int) -> Iterator[tuple[bytes, int, os.stat_result]]:
    """(path, descriptor of its directory, status) of everything below, a directory before what is
    in it.
    """
    todo = [b""]
    while todo:
        path = todo.pop()
        fd = os.open(
            path or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top
        )
        try:
            for name in sorted(map(os.fsencode, os.listdir(fd))):
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                below = path + b"/" + name if path else name
                yield below, fd, status
                if stat.S_ISDIR(status.st_mode):
                    todo.append(below)
        finally:
            os.close(fd)


def changes(root: int, diff: str, lower: Sequence[int]) -> list[Change]:
    """What an upper directory changes of the layers below (topmost first), sorted by path."""
    try:
        top = files.open_directory(diff, dir_fd=root)
    except FileNotFoundError:
        return []
    found: list[Change] = []
    try:
        for path, dir_fd, status in walk(top):
            there = _exists(lower, path)
            if overlay.is_whiteout(status):
                if there:
                    found.append(Change("D", path))
                continue
            found.append(Change("C" if there else "A", path))
            if there and stat.S_ISDIR(status.st_mode):
                found += _hidden(dir_fd, path, lower)
    finally:
        os.close(top)
    return sorted(found, key=lambda change: change.path)


def _hidden(parent: int, path: bytes, lower: Sequence[int]) -> list[Change]:
    """What an opaque directory hides and does not have itself."""
    fd = files.open_directory(path.rpartition(b"/")[2], dir_fd=parent)
    try:
        if not overlay.is_opaque(fd):
            return []
        own = set(map(os.fsencode, os.listdir(fd)))
    finally:
        os.close(fd)
    return [
        Change("D", path + b"/" + name) for name in overlay.names(lower, path) if name not in own
    ]


def _exists(lower: Sequence[int], path: bytes) -> bool:
    fd = overlay.lookup(lower, path)
    if fd is None:
        return False
    os.close(fd)
    return True
