"""The header of a tar entry: plain ustar where everything fits, a pax record for what does not.

pax(1), "ustar Interchange Format" and "pax Extended Header".
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

BLOCK = 512
SECOND = 10**9


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
    for key, value, width in (
        (b"uid", uid, 8),
        (b"gid", gid, 8),
        (b"size", size, 12),
        (b"mtime", mtime, 12),
    ):
        if not 0 <= value < 8 ** (width - 1):
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
        extension = _block(b"PaxHeaders.0/x", b"x", size=len(data))
        extension += data + bytes(-len(data) % BLOCK)
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
    """A ustar header; a number that does not fit is 0 here and right in the pax header."""
    fields = b"".join(
        (
            path[:100].ljust(100, b"\0"),
            _octal(mode, 8),
            _octal(uid, 8),
            _octal(gid, 8),
            _octal(size, 12),
            _octal(mtime, 12),
            b" " * 8,
            kind,
            link[:100].ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            _octal(major, 8),
            _octal(minor, 8),
        )
    ).ljust(BLOCK, b"\0")
    return b"%s%06o\0 %s" % (fields[:148], sum(fields), fields[156:])


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value if 0 <= value < 8 ** (width - 1) else 0)


def _record(key: bytes, value: bytes) -> bytes:
    """One pax record: its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)
