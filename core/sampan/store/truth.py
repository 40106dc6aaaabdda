"""What entries are in truth, where the disk could not hold it: owners, devices, attributes.

With one uid every file on disk belongs to root, and no device can be made; unpacking noted what it
could not do in the layers' sidecars.  Whoever writes a layer or an archive asks here, so that
/var/mail goes on belonging to root:mail.
"""

from __future__ import annotations

import stat

from sampan.linux import userns
from sampan.store.metadata import RESERVED, without_set_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sampan.drivers import Change
    from sampan.linux.userns import Extent
    from sampan.store.sidecar import Extra

    Owners = Callable[[int, int], tuple[int, int]]

_LETTERS = {
    stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
}  # fmt: skip


class Truth:
    """The notes of a chain of layers, and whether owners are among them (one uid).

    changes: what a container made of the chain; what it removed or made anew has no note.
    """

    def __init__(
        self,
        extras: Mapping[bytes, Extra],
        single: bool,
        changes: Iterable[Change] = (),
        given: Mapping[bytes, tuple[int, int]] | None = None,
    ) -> None:
        """given: owners (uid, gid) that a container gave away, by path."""
        self._given = given or {}
        self._single = single
        self._extras = dict(extras)
        self._drop({change.path for change in changes if change.kind in "AD"})
        self._devices: dict[bytes, set[bytes]] = {}
        for path, extra in self._extras.items():
            if extra.type in "cb":
                head, _, base = path.rpartition(b"/")
                self._devices.setdefault(head, set()).add(base)

    def _drop(self, gone: set[bytes]) -> None:
        for path in list(self._extras):
            part = path
            while part:
                if part in gone:
                    del self._extras[path]
                    break
                part = part.rpartition(b"/")[0]

    def devices(self, directory: bytes) -> set[bytes]:
        """The names of devices in the directory that were not made."""
        return self._devices.get(directory, set())

    def device(self, path: bytes) -> Extra | None:
        extra = self._extras.get(path)
        return extra if extra is not None and extra.type in "cb" else None

    def owned(
        self, path: bytes, status: os.stat_result, found: tuple[int, int, int]
    ) -> tuple[int, int, int]:
        """(mode, uid, gid) of the entry, of which `found` is what the disk says."""
        if path in self._given:
            return found[0], *self._given[path]
        extra = self._of(path, status)
        if extra is None or not self._single:
            return found
        mode = found[0]
        if mode == without_set_id(extra.mode, extra.uid, extra.gid, extra.type == "d"):
            mode = extra.mode
        return mode, extra.uid, extra.gid

    def attributes(
        self, path: bytes, status: os.stat_result, found: Mapping[bytes, bytes]
    ) -> dict[bytes, bytes]:
        """The attributes on disk, and those that could not be set there."""
        extra = self._of(path, status)
        result = dict(found)
        for name, value in (extra.xattrs if extra is not None else {}).items():
            if not name.startswith((*RESERVED, b"user.", b"security.capability")):
                result.setdefault(name, value)
        return result

    def _of(self, path: bytes, status: os.stat_result) -> Extra | None:
        """The note, if it is of this type of entry."""
        extra = self._extras.get(path)
        kind = _LETTERS.get(stat.S_IFMT(status.st_mode))
        return extra if extra is not None and extra.type == kind else None


def inside_owners(mapping: Mapping[str, Sequence[Sequence[int]]]) -> Owners:
    """Turns owners as the store sees them into those inside a container of another id map.

    mapping: {"uids": [(inside, outside, count)...], "gids": ...}; an id that is not in it stays.
    """
    inverse = userns.from_json(mapping).inverse()

    def turn(extents: tuple[Extent, ...], number: int) -> int:
        try:
            return userns.translate(extents, number)
        except LookupError:
            return number

    return lambda uid, gid: (turn(inverse.uids, uid), turn(inverse.gids, gid))
