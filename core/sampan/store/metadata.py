"""Owners and attributes of entries: set, or kept aside where this process may not set them."""

from __future__ import annotations

import errno
import os
import stat

from sampan.errors import SampanError, UnsupportedError
from sampan.store.entry import BLOCK_DEVICE, CHAR, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry
from sampan.store.pax import corrupt, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.linux.userns import IdMap
    from sampan.store.sidecar import SidecarWriter

# Attributes with a meaning to the union file systems: set, they would hide or redirect what lies
# below.
RESERVED = b"user.overlay.", b"user.fuseoverlayfs.", b"trusted."
LETTERS = {
    FILE: "f",
    LINK: "f",
    DIRECTORY: "d",
    SYMLINK: "l",
    FIFO: "p",
    CHAR: "c",
    BLOCK_DEVICE: "b",
}


class Metadata:
    """What an id map and a sidecar make of entries; `counts` says how often something was kept
    aside.
    """

    def __init__(self, idmap: IdMap, sidecar: SidecarWriter) -> None:
        self._idmap, self._sidecar = idmap, sidecar
        self.single = idmap.single
        self._owners: dict[tuple[int, int], bool] = {(0, 0): False}
        self.counts = {"owners": 0, "devices": 0, "attributes": 0}

    def device(self, entry: Entry, path: bytes) -> None:
        """Keep a device aside."""
        self.counts["devices"] += 1
        self._sidecar.add(
            path,
            kind=LETTERS[entry.type],
            uid=entry.uid,
            gid=entry.gid,
            mode=entry.mode,
            major=entry.major,
            minor=entry.minor,
            xattrs=entry.xattrs,
        )

    def owner(self, entry: Entry, path: bytes) -> tuple[int, bool]:
        """The mode to set, and whether the owner is to be set.

        An owner beyond the map is kept aside or refused.
        """
        owner = (entry.uid, entry.gid)
        known = self._owners.get(owner)
        if known is None:
            known = self._owners[owner] = not self.single
            if known and not self._idmap.has(*owner):
                raise self._outside(entry)
        if known or owner == (0, 0):
            return entry.mode, known
        self.counts["owners"] += 1
        self._sidecar.add(
            path, kind=LETTERS[entry.type], uid=entry.uid, gid=entry.gid, mode=entry.mode,
            xattrs=entry.xattrs,
        )  # fmt: skip
        return without_set_id(entry.mode, entry.uid, entry.gid, entry.type == DIRECTORY), False

    def _outside(self, entry: Entry) -> SampanError:
        uids = sum(count for _, _, count in self._idmap.uids)
        gids = sum(count for _, _, count in self._idmap.gids)
        return UnsupportedError(
            f"cannot unpack the layer: {show(entry.name)}",
            f"it belongs to {entry.uid}:{entry.gid}, of {uids} user and {gids} group ids here",
            "an administrator can grant more in /etc/subuid and /etc/subgid",
        )

    def attributes(self, entry: Entry, parent: int, base: bytes, path: bytes) -> None:
        refused: dict[bytes, bytes] = {}
        os.fchdir(parent)  # there is no *at call for attributes before Linux 6.13
        for name, value in (entry.xattrs or {}).items():
            try:
                if name.startswith(RESERVED):
                    raise OSError(errno.EPERM, "reserved")
                os.setxattr(base, name, value, follow_symlinks=False)
            except ValueError:
                raise corrupt(entry.name, "an attribute's name has a NUL byte") from None
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT) and len(value) < 4096:
                    raise  # the disk is full; a bigger value may just be too big for an inode
                refused[name] = value
        if refused:
            self.counts["attributes"] += 1
            self._sidecar.add(
                path, kind=LETTERS[entry.type], uid=entry.uid, gid=entry.gid, mode=entry.mode,
                xattrs=entry.xattrs,
            )  # fmt: skip


def without_set_id(mode: int, uid: int, gid: int, directory: bool) -> int:
    """The mode where the owner cannot be set: set-id to somebody else must not become set-id to the user."""
    if uid:
        mode &= ~stat.S_ISUID
    if gid and not directory:
        mode &= ~stat.S_ISGID
    return mode
