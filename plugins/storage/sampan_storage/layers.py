"""Layers as directories in the form that the kernel's overlay reads: written, compared, measured,
removed.

A layer is written under a temporary name and renamed into place.  Its writer holds a lock (flock)
on the directory, so that what a killed process left is told from what another one is writing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from sampan import files
from sampan.drivers import Change
from sampan.linux import compare, overlay
from sampan.linux.paths import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

MARKS = (
    b".wh..wh..opq",
    b".wh..opq",
)  # of an opaque directory, beside its attribute, by fuse-overlayfs


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


def adopt(root: int, diff: str, key: str, without: Sequence[bytes], mode: int | None) -> None:
    """An upper directory becomes the layer `key`, unless there is one. mode: its own from now on."""
    top = files.open_directory(diff, dir_fd=root)
    try:
        for path in without:
            head, _, name = path.rpartition(b"/")
            resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
            directory = openat2(top, head or b".", os.O_RDONLY | os.O_DIRECTORY, resolve)
            try:
                files.remove_tree(directory, name)
            finally:
                os.close(directory)
        if mode is not None:
            os.fchmod(top, mode)
    finally:
        os.close(top)
    try:
        os.rename(diff, key, src_dir_fd=root, dst_dir_fd=root)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


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


def changes(root: int, diff: str, lower: Sequence[int], mode: int) -> list[Change]:
    """What an upper directory changes of the layers below (topmost first), sorted by path.

    mode: what the root had at first; its owner was root and it had no attributes.
    """
    try:
        top = files.open_directory(diff, dir_fd=root)
    except FileNotFoundError:
        return []
    found: list[Change] = []
    try:
        status = os.fstat(top)
        first = stat.S_IFDIR | mode, 0, 0
        if (status.st_mode, status.st_uid, status.st_gid) != first or compare.attributes(top):
            found.append(Change("C", b""))
        _directory(top, b"", lower, False, found)
    finally:
        os.close(top)
    return sorted(found, key=lambda change: change.path)


def _directory(
    fd: int, path: bytes, lower: Sequence[int], alone: bool, found: list[Change]
) -> None:
    """Compare a directory that is above and below. alone: nothing of the lower one shows through."""
    names = sorted(name for name in map(os.fsencode, os.listdir(fd)) if name not in MARKS)
    if alone:
        found += [
            Change("D", below_path(path, name)) for name in overlay.names(lower, path) - set(names)
        ]
    for name in names:
        entry = compare.entry(fd, name)
        if entry is None:
            continue
        try:
            _entry(entry, fd, below_path(path, name), lower, alone, found)
        finally:
            os.close(entry)


def _entry(
    entry: int,
    parent: int,
    path: bytes,
    lower: Sequence[int],
    alone: bool,
    found: list[Change],
) -> None:
    status = os.fstat(entry)
    below = overlay.lookup(lower, path)
    try:
        if overlay.is_whiteout(status):
            if below is not None:
                found.append(Change("D", path))
            return
        if below is None:
            found.append(Change("A", path))
        elif not compare.same(entry, below):
            found.append(Change("C", path))
        if not stat.S_ISDIR(status.st_mode):
            return
        if below is None or not stat.S_ISDIR(os.fstat(below).st_mode):
            _new(entry, path, found)
            return
    finally:
        if below is not None:
            os.close(below)
    fd = files.open_directory(path.rpartition(b"/")[2], dir_fd=parent)
    try:
        _directory(fd, path, lower, alone or overlay.is_opaque(fd), found)
    finally:
        os.close(fd)


def _new(entry: int, path: bytes, found: list[Change]) -> None:
    """All that is in a directory which is not below; whiteouts in it hide nothing."""
    fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=entry)
    try:
        for below, _, status in walk(fd):
            if not overlay.is_whiteout(status) and below.rpartition(b"/")[2] not in MARKS:
                found.append(Change("A", below_path(path, below)))
    finally:
        os.close(fd)


def below_path(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name
