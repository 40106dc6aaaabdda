"""What stands for the content of a match, so that no two that differ have the same.

Names, kinds, permissions, links and bytes count.  Times do not, for a checkout has others each time.  Owners and
attributes count of a stage or an image alone: what comes of a context belongs to root, or to whom --chown says.
"""

from __future__ import annotations

import os
import stat

from sampan_build.dockerfile.selection import KINDS, Item, Match
from sampan_build.dockerfile.tree import FILE, LINK, encode, join, open_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from sampan.drivers.build import Digests, Notes

    class Hash(Protocol):
        def update(self, data: bytes, /) -> object: ...


ATTRIBUTES = "user.", "security.capability"  # those that an image keeps
_NOT_KEPT = "user.overlay.", "user.fuseoverlayfs."


def add_match(
    total: Hash,
    match: Match,
    digests: Digests,
    notes: Notes | None = None,
    *,
    owners: bool = False,
) -> None:
    """Feed all that counts of a match to the hash.  notes: those of a stage or an image, whose attributes count."""
    reader = _Reader(match.root, digests, notes, owners)
    total.update(b"%b\0" % encode("" if match.is_directory else match.name))
    if not match.is_directory:
        head, _, name = match.path.rpartition("/")
        total.update(reader.lines(head, [Item(name, match.status)], named=False))
        return
    for batch in match.batches:
        directory = join(match.path, batch.path)
        total.update(b"%d:%b\0" % (len(batch.items), encode(batch.path)))
        total.update(reader.lines(directory, batch.items))
        if notes is not None:
            total.update(b"/".join(sorted(notes.devices(encode(directory)))))


class _Reader:
    def __init__(self, root: int, digests: Digests, notes: Notes | None, owners: bool) -> None:
        self._root, self._digest = root, digests.of
        self._notes, self._owners = notes, owners

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
                    content = self._digested(fd, directory, name, status)
                elif kind == LINK:
                    content, mode = encode(link), 0
                way, shown = b"+" if on_way else b"", encode(name) if named else b""
                lines.append(b"%b%b\0%o %d:%b\n" % (way, shown, mode, len(content), content))
                if self._notes is not None:
                    lines.append(self._more(self._notes, fd, directory, name, status))
        finally:
            os.close(fd)
        return b"".join(lines)

    def _digested(self, fd: int, directory: str, name: str, status: os.stat_result) -> bytes:
        try:
            return self._digest(fd, name, status)
        except OSError as error:
            error.filename = join(directory, name)  # it knows the last word alone
            raise

    def _more(
        self, notes: Notes, fd: int, directory: str, name: str, status: os.stat_result
    ) -> bytes:
        path = encode(join(directory, name))
        owned = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        mode, uid, gid = notes.owned(path, status, owned)
        line = b"%o %d %d" % ((mode, uid, gid) if self._owners else (mode, 0, 0))
        line += b" %d" % status.st_rdev
        if stat.S_ISLNK(status.st_mode):
            return line
        place = f"/proc/self/fd/{fd}/{name}"
        found = {
            os.fsencode(key): os.getxattr(place, key, follow_symlinks=False)
            for key in os.listxattr(place, follow_symlinks=False)
            if key.startswith(ATTRIBUTES) and not key.startswith(_NOT_KEPT)
        }
        for key, value in sorted(notes.attributes(path, status, found).items()):
            line += b" %b %d:%b" % (key, len(value), value)
        return line
