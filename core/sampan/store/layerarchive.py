"""An archive that a build adds: its entries become entries of a layer, without a file in between."""

from __future__ import annotations

import os

from sampan.errors import LimitError, SampanError
from sampan.store import inflate
from sampan.store.entry import FILE, LINK, SYMLINK
from sampan.store.pax import renamed, show
from sampan.store.tar import TarReader
from sampan.store.tarheader import BLOCK
from sampan.store.tarwriter import CHUNK, HOLES_FROM, KEPT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.store.entry import Entry

    Owner = tuple[int, int]

_READ = 1 << 16
_KINDS = {b"0": "f", b"1": "h", b"2": "l", b"3": "c", b"4": "b", b"5": "d", b"6": "p"}
_WHAT = "cannot unpack the archive"


class LayerArchive:
    """The entries of an archive, each of which may be written into the layer under some path.

    readable: it begins with an entry.  Its bytes may grow to no more than those of a layer may.
    """

    def __init__(
        self, fd: int, header: Callable[..., bool], write: Callable[[bytes], object]
    ) -> None:
        """header: writes (path, kind, owned, mtime_ns, size, link, xattrs, device); False: it wrote nothing."""
        self._fd, self._header, self._write = fd, header, write
        size = os.fstat(fd).st_size
        self._first: Entry | None = None
        self._entry: Entry | None = None
        self._reader = TarReader(lambda: b"")
        try:
            self._reader = TarReader(
                inflate.limited(inflate.inflated(self._read, _WHAT), size, _WHAT)
            )
            self._first = self._reader.next()
        except SampanError:
            pass
        self.readable = self._first is not None

    def next(self) -> tuple[bytes, str, bytes] | None:
        """(name, kind, what it links to) of the next entry; None at the end.

        The kinds are f, d, l (a symbolic link), h (a hard link), p, c and b.
        """
        entry, self._first = self._first, None
        try:
            entry = self._reader.next() if entry is None else entry
        except SampanError as error:
            raise renamed(error, _WHAT) from None
        self._entry = entry
        return None if entry is None else (entry.name, _KINDS[entry.type], entry.link)

    def copy(self, path: bytes, *, link: bytes | None = None, owner: Owner | None = None) -> None:
        """The entry that `next` gave, under that path; link replaces what it links to."""
        entry = self._entry
        assert entry is not None
        size = entry.real if entry.type == FILE else 0
        self._check_holes(entry)
        owned = (entry.mode, *((entry.uid, entry.gid) if owner is None else owner))
        target = b""
        if entry.type in (LINK, SYMLINK):
            target = entry.link if link is None else link
        device = (entry.major, entry.minor)
        kept = {
            name: value
            for name, value in (entry.xattrs or {}).items()
            if os.fsdecode(name).startswith(KEPT)
        }
        when = entry.mtime_ns
        if self._header(path, entry.type, owned, when, size, target, kept, device) and size:
            self._data(entry)

    def _data(self, entry: Entry) -> None:
        write, done = self._write, 0
        for offset, size in entry.segments or [(0, entry.size)]:
            _zeros(write, offset - done)
            done = offset + size
            while size:
                data = self._taken(min(size, CHUNK))
                write(data)
                size -= len(data)
        _zeros(write, entry.real - done + -entry.real % BLOCK)

    def _taken(self, size: int) -> bytes:
        try:
            return self._reader.take(size)
        except SampanError as error:
            raise renamed(error, _WHAT) from None

    def _check_holes(self, entry: Entry) -> None:
        if entry.real >= HOLES_FROM and entry.size < entry.real // 8:
            raise LimitError(
                f"{_WHAT}: {show(entry.name)} is {entry.real} bytes, almost all of them holes",
                "layers have no sparse files",
                "take it out of the archive",
            )

    def _read(self) -> bytes:
        return os.read(self._fd, _READ)


def _zeros(write: Callable[[bytes], object], count: int) -> None:
    while count > 0:
        write(bytes(min(count, CHUNK)))
        count -= CHUNK
