"""A writer of tar that emits whatever it is told: raw headers, wrong checksums, any bytes as a
name.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

BLOCK = 512


def octal(value: int, width: int) -> bytes:
    """A numeric field, base-256 where octal does not fit."""
    text = b"%0*o" % (width - 1, value) if value >= 0 else b""
    if value < 0 or len(text) >= width:
        high = value + (1 << 8 * width) if value < 0 else value | 1 << (8 * width - 1)
        return high.to_bytes(width, "big")
    return text + b"\0"


def header(
    name: bytes = b"",
    kind: bytes = b"0",
    *,
    size: int = 0,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    mtime: int = 1_000_000_000,
    link: bytes = b"",
    major: int = 0,
    minor: int = 0,
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: bytes | None = None,
    raw: dict[int, bytes] | None = None,
) -> bytes:
    """One header block; `raw` puts bytes at offsets before the checksum is made."""
    block = bytearray(BLOCK)
    for offset, data in (
        (0, name[:100]), (100, octal(mode, 8)), (108, octal(uid, 8)),
        (116, octal(gid, 8)),
        (124, octal(size, 12)), (136, octal(mtime, 12)), (148, b" " * 8), (156, kind),
        (157, link[:100]),
        (257, magic), (329, octal(major, 8)), (337, octal(minor, 8)), (345, prefix[:155]),
        *(raw or {}).items(),
    ):  # fmt: skip
        block[offset : offset + len(data)] = data
    block[148:156] = checksum if checksum is not None else b"%06o\0 " % sum(block)
    return bytes(block)


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def record(key: bytes, value: bytes) -> bytes:
    """One pax record, whose length counts its own digits."""
    length = len(key) + len(value) + 3
    while len(b"%d" % length) + len(key) + len(value) + 3 != length:
        length = len(b"%d" % length) + len(key) + len(value) + 3
    return b"%d %s=%s\n" % (length, key, value)


def pax(records: Iterable[tuple[bytes, bytes]], kind: bytes = b"x") -> bytes:
    data = b"".join(record(key, value) for key, value in records)
    return header(b"PaxHeaders/x", kind, size=len(data)) + pad(data)


def gnu_long(name: bytes, kind: bytes = b"L") -> bytes:
    return header(b"././@LongLink", kind, size=len(name) + 1, magic=b"ustar  \0") + pad(
        name + b"\0"
    )


class E(NamedTuple):
    """One entry of a layer in short form."""

    name: bytes
    kind: bytes = b"0"
    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 1_000_000_000
    link: bytes = b""
    major: int = 0
    minor: int = 0
    pax: Sequence[tuple[bytes, bytes]] = ()

    def encode(self) -> bytes:
        before = b""
        records = list(self.pax)
        if len(self.name) > 100 and not any(key == b"path" for key, _ in records):
            before += gnu_long(self.name)
        if len(self.link) > 100:
            before += gnu_long(self.link, b"K")
        if records:
            before += pax(records)
        size = len(self.data) if self.kind in (b"0", b"7", b"\0") else 0
        return (
            before
            + header(
                self.name, self.kind, size=size, mode=self.mode, uid=self.uid, gid=self.gid,
                mtime=self.mtime, link=self.link, major=self.major, minor=self.minor,
            )
            + pad(self.data)
        )  # fmt: skip


def f(name: str | bytes, data: str | bytes = b"", **more: Any) -> E:
    return E(_bytes(name), b"0", _bytes(data))._replace(**more)


def d(name: str | bytes, mode: int = 0o755, **more: Any) -> E:
    return E(_bytes(name).rstrip(b"/") + b"/", b"5", mode=mode)._replace(**more)


def s(name: str | bytes, target: str | bytes, **more: Any) -> E:
    return E(_bytes(name), b"2", link=_bytes(target), mode=0o777)._replace(**more)


def h(name: str | bytes, target: str | bytes, **more: Any) -> E:
    return E(_bytes(name), b"1", link=_bytes(target))._replace(**more)


def wh(name: str) -> E:
    head, slash, base = name.rpartition("/")
    return f(f"{head}{slash}.wh.{base}")


def opq(name: str) -> E:
    return f(f"{name}/.wh..wh..opq")


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def tar(*entries: E | bytes, end: bool = True) -> bytes:
    """An archive of entries or raw bytes."""
    parts = [entry if isinstance(entry, bytes) else entry.encode() for entry in entries]
    return b"".join(parts) + (bytes(2 * BLOCK) if end else b"")


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)
