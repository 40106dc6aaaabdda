"""One entry of a tar archive, as the reader hands it over, and where its name leads."""

from __future__ import annotations

from sampan.store.pax import corrupt, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.store.pax import Segments

FILE, LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


class Entry:
    """One entry: `size` bytes of data follow; of a sparse file, segments say where they go.

    real: the length of the file, holes included.
    """

    __slots__ = (
        "gid",
        "link",
        "major",
        "minor",
        "mode",
        "mtime_ns",
        "name",
        "real",
        "segments",
        "size",
        "type",
        "uid",
        "xattrs",
    )

    def __init__(
        self,
        name: bytes,
        kind: bytes,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        mtime_ns: int,
        link: bytes,
    ) -> None:
        self.name, self.type, self.mode, self.uid, self.gid = name, kind, mode, uid, gid
        self.size, self.mtime_ns, self.link = size, mtime_ns, link
        self.major = self.minor = 0
        self.real = size
        self.segments: Segments | None = None
        self.xattrs: dict[bytes, bytes] | None = None


def clean(name: bytes, of: bytes = b"") -> bytes:
    """The path below the root: no empty, "." or ".." component; one that climbs out is refused."""
    path = name.strip(b"/")
    if path.startswith(b"./"):
        path = path[2:].lstrip(b"/")
    if not (path.startswith(b".") or b"/." in path or b"//" in path):
        return path
    parts: list[bytes] = []
    depth = 0
    for part in path.split(b"/"):
        if part in (b"", b"."):
            continue
        depth += -1 if part == b".." else 1
        if depth < 0:
            raise corrupt(of or name, f"{show(name)} climbs out of the root")
        parts.append(part)
    if parts and parts[-1] == b"..":
        raise corrupt(of or name, f"{show(name)} ends in ..")
    return b"/".join(parts)
