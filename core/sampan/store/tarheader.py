"""The header of a tar entry: plain ustar where everything fits, a pax record for what does not.

pax(1), "ustar Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

import functools
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK = 512
SECOND = 10**9
_SEVEN, _ELEVEN = 8**7, 8**11  # what so many octal digits cannot hold
# name mode uid gid size mtime checksum type link magic devmajor devminor
_FIELDS = (
    b"%b%07o\0%07o\0%07o\0%011o\0%011o\0"
    + b" " * 8
    + b"%b%bustar\x0000"
    + bytes(64)
    + b"%07o\0%07o\0"
) + bytes(167)


def entry(
    path: bytes,
    kind: bytes,
    owned: tuple[int, int, int],
    mtime_ns: int = 0,
    size: int = 0,
    link: bytes = b"",
    xattrs: Mapping[bytes, bytes] | None = None,
    device: tuple[int, int] = (0, 0),
) -> bytes:
    """All blocks before the entry's data. owned: mode, uid, gid."""
    mode, uid, gid = owned
    mtime = mtime_ns // SECOND
    records: dict[bytes, bytes] = {}
    for key, value, limit in (
        (b"uid", uid, _SEVEN),
        (b"gid", gid, _SEVEN),
        (b"size", size, _ELEVEN),
        (b"mtime", mtime, _ELEVEN),
    ):
        if not 0 <= value < limit:
            records[key] = b"%d" % value
    if mtime_ns % SECOND:
        records[b"mtime"] = _fraction(mtime_ns)
    for key, text in ((b"path", path), (b"linkpath", link)):
        if len(text) > 100:
            records[key] = text
    for name, attribute in (xattrs or {}).items():
        records[b"SCHILY.xattr." + name] = attribute
    extension = b""
    if records:
        data = b"".join(_record(key, records[key]) for key in sorted(records))
        extension = _extension(len(data)) + data + bytes(-len(data) % BLOCK)
    return extension + _block(path, kind, mode, uid, gid, size, mtime, link, *device)


def _fraction(ns: int) -> bytes:
    """Seconds as a decimal number."""
    whole, rest = divmod(abs(ns), SECOND)
    return b"%s%d.%s" % (b"-" if ns < 0 else b"", whole, (b"%09d" % rest).rstrip(b"0"))


def _block(
    path: bytes,
    kind: bytes,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    major: int = 0,
    minor: int = 0,
) -> bytes:
    """A ustar header; a number that does not fit is 0 here and right in the pax header.

    The sum of its bytes, which stays far below 65521, is what adler32's low half has beyond 1.
    """
    fields = _FIELDS % (
        path[:100].ljust(100, b"\0"),
        _fit(mode, _SEVEN),
        _fit(uid, _SEVEN),
        _fit(gid, _SEVEN),
        _fit(size, _ELEVEN),
        _fit(mtime, _ELEVEN),
        kind,
        link[:100].ljust(100, b"\0"),
        _fit(major, _SEVEN),
        _fit(minor, _SEVEN),
    )
    total = (zlib.adler32(fields) & 0xFFFF) - 1
    return b"%b%06o\0 %b" % (fields[:148], total, fields[156:])


@functools.lru_cache(256)
def _extension(size: int) -> bytes:
    """The header before so many bytes of pax records."""
    return _block(b"PaxHeaders.0/x", b"x", size=size)


def _fit(value: int, limit: int) -> int:
    return value if 0 <= value < limit else 0


def _record(key: bytes, value: bytes) -> bytes:
    """One pax record: its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)
