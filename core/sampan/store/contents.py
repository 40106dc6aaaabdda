"""What a selection of a directory contains, as one digest: the identity of a COPY.

Names, types, permissions, links and bytes count; times and owners do not, since a checkout has others each
time and a COPY sets the owner itself.  Nothing is followed and nothing is opened but regular files.
"""

from __future__ import annotations

import hashlib
import os
import stat

from sampan.errors import SampanError
from sampan.store.digests import FileDigests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    # of a path (no slash in front) and whether it is a directory: (it is taken, what is below may be)
    Choice = Callable[[bytes, bool], tuple[bool, bool]]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH = 500
_KINDS = {stat.S_IFREG: b"f", stat.S_IFDIR: b"d", stat.S_IFLNK: b"l", stat.S_IFIFO: b"p"}


class Item:
    """One thing of a walk: `name` in the open directory `dir_fd`, `path` from the top."""

    __slots__ = ("dir_fd", "name", "path", "status")

    def __init__(self, dir_fd: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        self.dir_fd, self.name, self.path, self.status = dir_fd, name, path, status


def walk(top: int, choose: Choice | None = None, path: bytes = b"") -> Iterator[Item]:
    """All that is chosen below a directory, sorted, a directory before what it holds.

    An item's descriptor is open until the next one is asked for.
    """
    return _below(os.dup(top), path, choose, 0)


def digest(top: int, digests: FileDigests, choose: Choice | None = None) -> str:
    """sha256:... of all that is chosen below the directory."""
    total = hashlib.sha256()
    for item in walk(top, choose):
        total.update(line(item, digests))
    return f"sha256:{total.hexdigest()}"


def line(item: Item, digests: FileDigests) -> bytes:
    """What counts of one thing, so that no two different trees make the same lines."""
    mode = item.status.st_mode
    kind = _KINDS.get(stat.S_IFMT(mode))
    if kind is None:
        return b""  # sockets and devices are in no image
    content = b""
    if kind == b"f":
        content = digests.of(item.dir_fd, item.name, item.status)
    elif kind == b"l":
        content = os.fsencode(os.readlink(item.name, dir_fd=item.dir_fd))
    permissions = b"" if kind == b"l" else b"%o" % stat.S_IMODE(mode)
    return b"%b %b %d:%b %d:%b\n" % (
        kind,
        permissions,
        len(item.path),
        item.path,
        len(content),
        content,
    )


def _below(fd: int, path: bytes, choose: Choice | None, depth: int) -> Iterator[Item]:
    """Takes the descriptor over."""
    if depth > _DEPTH:
        os.close(fd)
        raise SampanError(
            f"cannot read {os.fsdecode(path[:200])}", f"it is deeper than {_DEPTH} directories"
        )
    try:
        with os.scandir(fd) as entries:
            found = sorted((os.fsencode(entry.name), entry) for entry in entries)
        for name, entry in found:
            status = entry.stat(follow_symlinks=False)
            here = path + b"/" + name if path else name
            is_directory = stat.S_ISDIR(status.st_mode)
            taken, below = (True, True) if choose is None else choose(here, is_directory)
            if taken:
                yield Item(fd, name, here, status)
            if is_directory and below:
                yield from _below(os.open(name, _DIRECTORY, dir_fd=fd), here, choose, depth + 1)
    finally:
        os.close(fd)
