"""Whether two entries of file systems are the same, and where two trees differ.

Entries are given by O_PATH descriptors, so that nothing is followed and nothing is opened that only
looks like a file.  Metadata comes first: type, mode, owner, time, size, link target, device,
attributes; content is read only where all of that is equal.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Owner = Callable[[int, int], tuple[int, int]]
    Known = Callable[[os.stat_result], bool]

CHUNK = 1 << 18
# What the storage drivers note for themselves is no part of a file.
PRIVATE = "user.overlay.", "user.fuseoverlayfs.", "user.containers."
_ENTRY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def entry(dir_fd: int, name: bytes) -> int | None:
    """An O_PATH descriptor of the entry itself; None if there is none."""
    try:
        return os.open(name, _ENTRY, dir_fd=dir_fd)
    except (FileNotFoundError, NotADirectoryError):
        return None


def same(one: int, other: int, *, times: bool = True, owner: Owner | None = None) -> bool:
    """Whether two entries (O_PATH descriptors) are equal; of directories without what is in them.

    owner: the owner (uid, gid) that `one` should have, of that of `other`; by default the same.
    """
    first, second = os.fstat(one), os.fstat(other)
    if _identity(first) == _identity(second) and first.st_ctime_ns == second.st_ctime_ns:
        return True
    wanted = (second.st_uid, second.st_gid)
    if _facts(first, times) != _facts(second, times):
        return False
    if (first.st_uid, first.st_gid) != (owner(*wanted) if owner else wanted):
        return False
    kind = stat.S_IFMT(first.st_mode)
    if kind == stat.S_IFLNK:
        return os.readlink(b"", dir_fd=one) == os.readlink(b"", dir_fd=other)
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        return _same_inside(one, other, kind == stat.S_IFREG)
    return True


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _facts(status: os.stat_result, times: bool) -> tuple[int, ...]:
    kind = stat.S_IFMT(status.st_mode)
    device = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
    size = status.st_size if kind in (stat.S_IFREG, stat.S_IFLNK) else 0
    return (
        status.st_mode,
        status.st_mtime_ns if times else 0,
        size,
        device,
    )


def _same_inside(one: int, other: int, content: bool) -> bool:
    first = _reopen(one)
    try:
        second = _reopen(other)
        try:
            if attributes(first) != attributes(second):
                return False
            return not content or _same_content(first, second)
        finally:
            os.close(second)
    finally:
        os.close(first)


def _reopen(fd: int) -> int:
    """A readable descriptor of what an O_PATH descriptor of a file or directory stands for."""
    return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def attributes(fd: int) -> dict[str, bytes]:
    """The attributes of an open file or directory, without those of the storage drivers."""
    try:
        names = os.listxattr(fd)
    except OSError:  # a file system without attributes
        return {}
    found: dict[str, bytes] = {}
    for name in names:
        if not name.startswith(PRIVATE):
            found[name] = os.getxattr(fd, name)
    return found


def _same_content(one: int, other: int) -> bool:
    while True:
        first, second = _full(one), _full(other)
        if first != second:
            return False
        if not first:
            return True


def _full(fd: int) -> bytes:
    """CHUNK bytes, fewer only at the end."""
    data = os.read(fd, CHUNK)
    while 0 < len(data) < CHUNK and (more := os.read(fd, CHUNK - len(data))):
        data += more
    return data


def trees(
    one: int,
    other: int,
    path: bytes = b"",
    *,
    known: Known | None = None,
    owner: Owner | None = None,
) -> Iterator[tuple[str, bytes]]:
    """("A" | "C" | "D", path) for what the tree `one` has otherwise than the tree `other`.

    Both are directories; `sampan.drivers.Change` says what is told.  The order is that of a walk;
    the root itself is compared without its time.  known: whether an entry of `one` is known to be as in
    `other`.  owner: as for `same`.
    """
    if not path and not same(one, other, times=False, owner=owner):
        yield "C", path
    mine, theirs = _names(one), _names(other)
    for name in sorted(mine | theirs):
        below = path + b"/" + name if path else name
        first = entry(one, name)
        second = entry(other, name)
        try:
            if first is None or second is None or not (known and known(os.fstat(first))):
                yield from _entries(first, second, below, known, owner)
        finally:
            for fd in (first, second):
                if fd is not None:
                    os.close(fd)


def _names(fd: int) -> set[bytes]:
    readable = os.open(b".", _DIRECTORY, dir_fd=fd)
    try:
        return set(map(os.fsencode, os.listdir(readable)))
    finally:
        os.close(readable)


def _entries(
    first: int | None,
    second: int | None,
    path: bytes,
    known: Known | None,
    owner: Owner | None,
) -> Iterator[tuple[str, bytes]]:
    if first is None:
        if second is not None:
            yield "D", path
        return
    if second is None:
        yield "A", path
        if stat.S_ISDIR(os.fstat(first).st_mode):
            yield from everything(first, path)
        return
    was = stat.S_ISDIR(os.fstat(second).st_mode)
    is_now = stat.S_ISDIR(os.fstat(first).st_mode)
    if not same(first, second, owner=owner):
        yield "C", path
    if is_now and was:
        yield from trees(first, second, path, known=known, owner=owner)
    elif is_now:
        yield from everything(first, path)


def everything(top: int, path: bytes) -> Iterator[tuple[str, bytes]]:
    """("A", path) of all that is in a new directory."""
    for name in sorted(_names(top)):
        below = path + b"/" + name if path else name
        fd = entry(top, name)
        if fd is None:
            continue
        try:
            yield "A", below
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                yield from everything(fd, below)
        finally:
            os.close(fd)
