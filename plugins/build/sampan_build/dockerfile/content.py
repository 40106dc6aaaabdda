"""What stands for the content of a match, so that no two that differ have the same.

Names, kinds, permissions, links and bytes count.  Times do not, for a checkout has others each time.  Owners and
attributes count of a stage or an image alone: what comes of a context belongs to root, or to whom --chown says.
"""

from __future__ import annotations

import os
import stat

from sampan_build.dockerfile.selection import KINDS, Batch, Item, Match
from sampan_build.dockerfile.tree import FILE, LINK, encode, join, open_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from sampan.drivers.build import Digests

    class Hash(Protocol):
        def update(self, data: bytes, /) -> object: ...


ATTRIBUTES = "user.", "security.capability"  # those that an image keeps
_NOT_KEPT = "user.overlay.", "user.fuseoverlayfs."


def add_match(
    total: Hash, match: Match, digests: Digests, *, metadata: bool, owners: bool = False
) -> None:
    """Feed all that counts of a match to the hash.  metadata: of a stage, where attributes count."""
    reader = _Reader(match.root, digests, metadata, owners)
    total.update(b"%b\0" % encode("" if match.is_directory else match.name))
    if not match.is_directory:
        head, _, name = match.path.rpartition("/")
        total.update(reader.lines(head, [Item(name, match.status)], named=False))
        return
    for batch in match.batches:
        total.update(_title(batch))
        total.update(reader.lines(join(match.path, batch.path), batch.items))


def _title(batch: Batch) -> bytes:
    return b"%d:%b\0" % (len(batch.items), encode(batch.path))


class _Reader:
    def __init__(self, root: int, digests: Digests, metadata: bool, owners: bool) -> None:
        self._root, self._digest = root, digests.of
        self._metadata, self._owners = metadata, owners

    def lines(self, directory: str, items: list[Item], *, named: bool = True) -> bytes:
        """What counts of things in one directory."""
        if not items:
            return b""
        lines: list[bytes] = []
        fd = open_directory(self._root, directory)
        try:
            for name, status, link, on_way in items:
                mode = status.st_mode
                kind = KINDS.get(stat.S_IFMT(mode), "")
                content = b""
                if kind == FILE:
                    content = self._digest(fd, name, status)
                elif kind == LINK:
                    content, mode = encode(link), 0
                lines.append(
                    b"%b%b\0%o %d:%b\n"
                    % (
                        b"+" if on_way else b"",
                        encode(name) if named else b"",
                        mode,
                        len(content),
                        content,
                    )
                )
                if self._metadata:
                    lines.append(self._more(fd, name, status, kind))
        finally:
            os.close(fd)
        return b"".join(lines)

    def _more(self, fd: int, name: str, status: os.stat_result, kind: str) -> bytes:
        line = b"%d %d " % (status.st_uid, status.st_gid) if self._owners else b""
        if kind in ("c", "b"):
            line += b"%d " % status.st_rdev
        if kind == LINK:
            return line
        path = f"/proc/self/fd/{fd}/{name}"
        for key in sorted(os.listxattr(path, follow_symlinks=False)):
            if key.startswith(ATTRIBUTES) and not key.startswith(_NOT_KEPT):
                value = os.getxattr(path, key, follow_symlinks=False)
                line += b"%b %d:%b" % (os.fsencode(key), len(value), value)
        return line
