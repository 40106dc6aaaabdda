"""An archive of unknown compression as uncompressed chunks, read once, from whatever gives bytes."""

from __future__ import annotations

import os
from typing import cast

from sampan.errors import LimitError, SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CHUNK = 1 << 20
RATIO, ALWAYS = 200, 1 << 30  # an archive may grow to the greater of the two
READ = 1 << 16  # bytes at a time: compressed, they may become a thousand times as many
GZIP, ZSTD, BZIP2, XZ = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0"
_HEAD = 6


def inflated(read: Callable[[], bytes], what: str) -> Callable[[], bytes]:
    """Chunks of CHUNK bytes of the archive itself, at the end b"".

    what: how an error begins ("cannot import FILE").
    """
    head = b""
    while len(head) < _HEAD and (more := read()):
        head += more
    if not head:
        raise SampanError(what, "it is empty", "give a tar archive")
    feed = _inflater(head, what)
    pending = [feed(head)]
    ended = False

    def chunk() -> bytes:
        nonlocal ended
        while not ended and sum(map(len, pending)) < CHUNK:
            more = read()
            ended = not more
            if more:
                pending.append(feed(more))
        data = b"".join(pending)
        pending[:] = [data[CHUNK:]]
        return data[:CHUNK]

    return chunk


def limited(read: Callable[[], bytes], size: int, what: str) -> Callable[[], bytes]:
    """The chunks of an archive of so many bytes, which may grow to no more than those of a layer may."""
    most = left = ceiling(size)

    def chunk() -> bytes:
        nonlocal left
        data = read()
        left -= len(data)
        if left < 0:
            why = f"its {size} bytes grow to more than {most}"
            raise LimitError(what, why, "check where it comes from")
        return data

    return chunk


def ceiling(size: int) -> int:
    """The most that so many compressed bytes may grow to: a share of what they are."""
    return max(RATIO * size, ALWAYS)


def is_compressed(head: bytes) -> bool:
    return head.startswith((GZIP, ZSTD, BZIP2, XZ))


def reader(fd: int) -> Callable[[], bytes]:
    return lambda: os.read(fd, READ)


def _inflater(head: bytes, what: str) -> Callable[[bytes], bytes]:
    if head.startswith(GZIP):
        from isal import isal_zlib

        def gzip() -> Any:
            return isal_zlib.decompressobj(31)  # pyright: ignore

        failure = cast("type[Exception]", isal_zlib.error)  # its stub calls it a value
        return _members(gzip, GZIP, failure, f"{what}: gzip")
    if head.startswith(BZIP2):
        import bz2

        return _members(bz2.BZ2Decompressor, BZIP2, OSError, f"{what}: bzip2")
    if head.startswith(XZ):
        import lzma

        def xz() -> Any:
            return lzma.LZMADecompressor(memlimit=256 << 20)

        return _members(xz, XZ, lzma.LZMAError, f"{what}: xz")
    if head.startswith(ZSTD):
        import zstandard

        unpacker = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

        def zstd(data: bytes) -> bytes:
            try:
                return unpacker.decompress(data)
            except zstandard.ZstdError as error:
                raise SampanError(what, f"zstd: {error}") from None

        return zstd
    return lambda data: data


def _members(
    make: Callable[[], Any], magic: bytes, failure: type[Exception], what: str
) -> Callable[[bytes], bytes]:
    """Formats of members one after the other; what follows the last one is left."""
    inflater, kept = make(), b""

    def feed(data: bytes) -> bytes:
        nonlocal inflater, kept
        found: list[bytes] = []
        data, kept = kept + data, b""
        try:
            while data:
                if inflater.eof:
                    if len(data) < len(magic):
                        kept = data  # the next bytes tell whether a member begins
                        break
                    if not data.startswith(magic):
                        break
                    inflater = make()
                found.append(inflater.decompress(data))
                data = inflater.unused_data if inflater.eof else b""
        except failure as error:
            raise SampanError(what, str(error)) from None
        return b"".join(found)

    return feed
