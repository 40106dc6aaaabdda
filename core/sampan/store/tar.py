"""A streaming reader of tar: ustar, GNU and pax, names as bytes, nothing trusted.

It never seeks and keeps no more than a chunk and one entry's extensions, so a layer of any size is
read in constant memory.  What is malformed raises CorruptError naming the entry, what is too much
LimitError; both at once, before anything of the entry is made.  The standard library's reader is
slow, and its filters were bypassed more than once.

Speed comes from few Python steps per entry: the checksum is adler32's low half (1 + the sum of the
bytes, modulo 65521), and a small file's bytes go from the chunk to the kernel in one write.
"""

from __future__ import annotations

import os
import struct
import zlib

from sampan.errors import LimitError
from sampan.store import pax
from sampan.store.entry import BLOCK_DEVICE, CHAR, DIRECTORY, FIFO, FILE, LINK, SYMLINK, Entry
from sampan.store.pax import Malformed, corrupt, number, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 512
MAX_ENTRIES = 2_000_000
MAX_NAME = 4095
MAX_PAX = 1 << 20  # of extension headers before one entry
MAX_LONG_NAME = 1 << 16
MAX_FILE = 1 << 40  # apparent bytes of one file
MAX_ID = (1 << 32) - 2

_FILES = b"0", b"\0", b"7", b"S"
_OTHERS = LINK, SYMLINK, CHAR, BLOCK_DEVICE, DIRECTORY, FIFO
_EXTENSIONS = b"x", b"g", b"X", b"L", b"K"

# name mode uid gid size mtime checksum type link magic devmajor devminor prefix
_FIELDS = struct.Struct("100s8s8s8s12s12s8s1s100s8s64x8s8s155s12x").unpack
_ZEROS = bytes(BLOCK)
_adler32 = zlib.adler32


class TarReader:
    """Entries one after the other by `next()`, and the data of the last one by `copy()`.

    read: gives the next chunk, at the end b"".
    """

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._chunk = b""
        self._view = memoryview(b"")
        self._position = self._end = 0
        self._data = 0  # bytes left of the entry's data
        self._padding = 0
        self._name = b""  # of the entry, for messages
        self._map_follows = False  # a sparse file of format 1.0
        self._globals: pax.Records = {}
        self.entries = 0

    def next(self) -> Entry | None:
        """The next entry; None at the end of the archive."""
        if self._data or self._padding:
            self._skip()
        local: pax.Records = {}
        long_name: bytes | None = None
        long_link: bytes | None = None
        extension = 0
        while True:
            header = self._header()
            if header is None:
                if extension:
                    raise corrupt(self._name, "the archive ends after an extension header")
                return None
            try:
                kind = header[156:157]
                if kind not in _EXTENSIONS:
                    return self._entry(header, local, long_name, long_link)
                data = self._extension(header, kind, extension)
                extension += len(data) + BLOCK
                if kind == b"L":
                    long_name = data.partition(b"\0")[0]
                elif kind == b"K":
                    long_link = data.partition(b"\0")[0]
                else:
                    self._records(data, self._globals if kind == b"g" else local)
            except Malformed as error:
                raise corrupt(self._name, str(error)) from None

    def copy(self, fd: int, count: int) -> None:
        """Write the next `count` bytes of the entry's data to the descriptor."""
        self._data -= count
        while count:
            available = self._end - self._position
            if not available:
                self._refill()
                continue
            size = count if count < available else available
            written = os.write(fd, self._view[self._position : self._position + size])
            self._position += written
            count -= written

    def take(self, count: int) -> bytes:
        """At most `count` of the next bytes of the entry's data; b"" at its end."""
        count = min(count, self._data)
        if count and self._position == self._end:
            self._refill()
        data = self._chunk[self._position : min(self._position + count, self._end)]
        self._position += len(data)
        self._data -= len(data)
        return data

    def _header(self) -> bytes | None:
        """The next header block, its checksum right; None at the end."""
        block = self._block()
        if block is None or (block[0] == 0 and block == _ZEROS):
            if block is not None and self._block() not in (None, _ZEROS):
                raise corrupt(self._name, "entries follow the end of the archive")
            return None
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise LimitError("cannot unpack the layer", f"it has more than {MAX_ENTRIES} entries")
        field = block[148:156]
        try:
            wanted = number(field)
        except Malformed:
            wanted = -1
        # The checksum counts its own field as eight spaces.
        if ((_adler32(block) & 0xFFFF) - 1 - sum(field) + 256 - wanted) % 65521:
            signed = (
                sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 256
            )
            if signed != wanted:  # old writers summed signed characters
                self._name = block[:100].partition(b"\0")[0] or self._name
                raise corrupt(self._name, f"bad header checksum in entry {self.entries}")
        return block

    def _block(self) -> bytes | None:
        """512 bytes; None at a clean end of the data."""
        position = self._position
        if self._end - position < BLOCK and not self._gather(BLOCK):
            if self._end == self._position:
                return None
            raise corrupt(self._name, "the archive ends within a header")
        position = self._position
        self._position = position + BLOCK
        return self._chunk[position : position + BLOCK]

    def _gather(self, size: int) -> bool:
        """Have `size` bytes in one chunk, joining chunks where a block is cut."""
        parts = [bytes(self._view[self._position :])]
        have = len(parts[0])
        while have < size and (chunk := self._read()):
            parts.append(chunk)
            have += len(chunk)
        self._use(parts[1] if len(parts) == 2 and not parts[0] else b"".join(parts))
        return have >= size

    def _refill(self) -> None:
        chunk = self._read()
        if not chunk:
            raise corrupt(self._name, "the archive ends within its data")
        self._use(chunk)

    def _use(self, chunk: bytes) -> None:
        self._chunk, self._view = chunk, memoryview(chunk)
        self._position, self._end = 0, len(chunk)

    def _skip(self) -> None:
        left = self._data + self._padding
        while left > self._end - self._position:
            left -= self._end - self._position
            self._refill()
        self._position += left
        self._data = self._padding = 0

    def _extension(self, header: bytes, kind: bytes, so_far: int) -> bytes:
        size = number(header[124:136])
        limit = MAX_LONG_NAME if kind in (b"L", b"K") else MAX_PAX
        if size < 0 or size > limit or so_far + size + BLOCK > MAX_PAX + BLOCK:
            raise LimitError(
                f"cannot unpack the layer: {show(self._name)}",
                f"{size} bytes of extension header follow it, at most {limit} are read",
            )
        padded = size + -size % BLOCK
        if self._end - self._position < padded and not self._gather(padded):
            raise Malformed("the archive ends within an extension header")
        start = self._position
        self._position += padded
        return self._chunk[start : start + size]

    def _records(self, data: bytes, into: pax.Records) -> None:
        pairs = list(pax.records(data))
        if any(key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes") for key, _ in pairs):
            # Format 0.0 repeats the two keys: make it 0.1.
            numbers = [v for k, v in pairs if k in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")]
            pairs.append((b"GNU.sparse.map", b",".join(numbers)))
        for key, value in pairs:
            if value:
                into[key] = value
            elif key.startswith(pax.SCHILY):
                into[key] = value  # an attribute may be empty
            else:
                into.pop(key, None)

    def _entry(
        self, header: bytes, local: pax.Records, long_name: bytes | None, long_link: bytes | None
    ) -> Entry:
        (name, mode, uid, gid, size, mtime, _, kind, link, magic, major, minor, prefix) = _FIELDS(
            header
        )
        name = name.partition(b"\0")[0]
        if prefix[0] and magic[:6] == b"ustar\0":
            name = prefix.partition(b"\0")[0] + b"/" + name
        self._name = name = name if long_name is None else long_name
        link = link.partition(b"\0")[0] if long_link is None else long_link
        entry = Entry(
            name, kind, number(mode) & 0o7777, number(uid), number(gid), number(size),
            number(mtime) * 1_000_000_000, link,
        )  # fmt: skip
        self._map_follows = False
        if self._globals or local:
            self._extend(entry, {**self._globals, **local})
        if kind in _FILES:
            self._file(entry, header)
        elif kind in _OTHERS:
            entry.size = entry.real = 0  # no data follows, whatever the field says
            if kind in (CHAR, BLOCK_DEVICE):
                entry.major, entry.minor = number(major), number(minor)
        else:
            raise Malformed(f"its type {kind!r} is unknown")
        self._check(entry)
        return entry

    def _file(self, entry: Entry, header: bytes) -> None:
        self._data, self._padding = entry.size, -entry.size % BLOCK
        if entry.type == b"S":
            self._old_sparse(entry, header)
        elif self._map_follows:
            self._sparse_in_data(entry)
        if entry.segments is not None:
            pax.check_segments(entry.segments, entry.size, entry.real)
        if entry.name.endswith(b"/") and entry.type in (b"\0", b"0") and not entry.size:
            entry.type = DIRECTORY  # before ustar a directory was a name with a slash
        else:
            entry.type = FILE

    def _extend(self, entry: Entry, records: pax.Records) -> None:
        get = records.get
        if (path := get(b"path")) is not None:
            entry.name = path
        if (link := get(b"linkpath")) is not None:
            entry.link = link
        self._name = entry.name
        for key in (b"size", b"uid", b"gid"):
            if (value := get(key)) is not None:
                setattr(entry, key.decode(), pax.decimal(value, key.decode()))
        entry.real = entry.size
        if (mtime := get(b"mtime")) is not None:
            entry.mtime_ns = pax.time_ns(mtime)
        if any(key.startswith((pax.SCHILY, pax.LIBARCHIVE)) for key in records):
            entry.xattrs = pax.xattrs(records)
        if any(key.startswith(b"GNU.sparse.") for key in records):
            self._sparse(entry, records)

    def _sparse(self, entry: Entry, records: pax.Records) -> None:
        entry.name = self._name = records.get(b"GNU.sparse.name", entry.name)
        real = records.get(b"GNU.sparse.realsize") or records.get(b"GNU.sparse.size")
        if real is None:
            raise Malformed("a sparse file without its size")
        entry.real = pax.decimal(real, "its size")
        if records.get(b"GNU.sparse.major") == b"1":
            self._map_follows = True
            return
        entry.segments = pax.text_segments(records.get(b"GNU.sparse.map", b""))

    def _old_sparse(self, entry: Entry, header: bytes) -> None:
        entry.real = number(header[483:495])
        segments = pax.old_gnu_segments(header[386:482])
        extended = header[482]
        while extended:
            block = self._block()
            if block is None or len(segments) > pax.MAX_SEGMENTS:
                raise Malformed("its sparse map is malformed")
            segments += pax.old_gnu_segments(block[:504])
            extended = block[504]
        entry.segments = segments

    def _sparse_in_data(self, entry: Entry) -> None:
        """Format 1.0: the map is decimal lines at the head of the data, padded to a block."""
        numbers: list[int] = []
        rest, blocks, wanted = b"", 0, 1
        while len(numbers) < wanted:
            block = self._block()
            blocks += 1
            if block is None or blocks * BLOCK > min(entry.size, MAX_PAX):
                raise Malformed("its sparse map is malformed")
            *lines, rest = (rest + block).split(b"\n")
            numbers += [
                pax.decimal(line, "the sparse map") for line in lines[: wanted - len(numbers)]
            ]
            if wanted == 1 and numbers:
                if not 0 <= numbers[0] <= pax.MAX_SEGMENTS:
                    raise Malformed("its sparse map is malformed")
                wanted += 2 * numbers[0]
                numbers += [pax.decimal(line, "the sparse map") for line in lines[1:wanted]]
        entry.size -= blocks * BLOCK
        self._data -= blocks * BLOCK
        entry.segments = list(zip(numbers[1::2], numbers[2::2], strict=True))

    def _check(self, entry: Entry) -> None:
        if not entry.name or b"\0" in entry.name or b"\0" in entry.link:
            raise Malformed("its name is empty or has a NUL byte")
        if len(entry.name) > MAX_NAME or len(entry.link) > MAX_NAME:
            raise LimitError(
                f"cannot unpack the layer: {show(entry.name)}",
                f"a name of {max(len(entry.name), len(entry.link))} bytes, {MAX_NAME} are taken",
            )
        if not 0 <= entry.size <= entry.real <= MAX_FILE:
            raise Malformed(f"its size is {entry.size} ({entry.real} with holes)")
        if not (0 <= entry.uid <= MAX_ID and 0 <= entry.gid <= MAX_ID):
            raise Malformed(f"its owner is {entry.uid}:{entry.gid}")
        if not -(1 << 85) < entry.mtime_ns < 1 << 85:  # what a 64-bit time_t holds
            raise Malformed("its time is out of range")
