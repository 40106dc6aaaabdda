"""The reader alone: what is malformed fails at once, by name, in little memory."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.errors import CorruptError, LimitError, SampanError, UnsupportedError
from sampan.store import pax as paxlib
from sampan.store.decompress import Source
from sampan.store.entry import Entry
from sampan.store.tar import MAX_ENTRIES, TarReader
from tarmaker import BLOCK, d, f, gnu_long, gz, header, pad, pax, record, tar


def entries(data: bytes, chunk: int = 1 << 20) -> list[Entry]:
    """All entries, read in chunks of any size."""
    chunks = iter([data[start : start + chunk] for start in range(0, len(data), chunk)])
    reader = TarReader(lambda: next(chunks, b""))
    found: list[Entry] = []
    while (entry := reader.next()) is not None:
        found.append(entry)
    return found


NAMED = b"the-entry"

MALFORMED: dict[str, bytes] = {
    "bad checksum": header(NAMED, checksum=b"000000\0 "),
    "checksum is text": header(NAMED, checksum=b"abcdefgh"),
    "negative size": header(NAMED, size=-1),
    "very negative size": header(NAMED, raw={124: b"\xff" * 12}),
    "huge size": header(NAMED, raw={124: b"\x80" + b"\xff" * 11}),
    "size is text": header(NAMED, raw={124: b"hello world!"}),
    "mode is text": header(NAMED, raw={100: b"rwxrwxrw"}),
    "negative uid": header(NAMED, uid=-1),
    "huge uid": header(NAMED, raw={108: b"\x80\0\0\1\0\0\0\0"}),
    "cut data": header(NAMED, size=10_000) + b"x" * 600,
    "cut header": header(b"first") + header(NAMED)[:300],
    "unknown type": header(NAMED, b"Z"),
    "dump directory": header(NAMED, b"D"),
    "multi volume": header(NAMED, b"M"),
    "empty name": header(b""),
    "long name too long": gnu_long(b"x" * 5000) + header(NAMED),
    "pax path with NUL": pax([(b"path", b"a\0b")]) + header(NAMED),
    "pax name too long": pax([(b"path", b"x" * 4096)]) + header(NAMED),
    "pax without length": header(b"p", b"x", size=8) + pad(b"path=abc") + header(NAMED),
    "pax cut": header(b"p", b"x", size=9) + pad(b"99 path=a") + header(NAMED),
    "pax length zero": header(b"p", b"x", size=9) + pad(b"0 path=ab") + header(NAMED),
    "pax length huge": header(b"p", b"x", size=40) + pad(b"9" * 30 + b" path=ab\n") + header(NAMED),
    "pax size negative": pax([(b"size", b"-5")]) + header(NAMED),
    "pax size is text": pax([(b"size", b"ten")]) + header(NAMED),
    "pax size beyond": pax([(b"size", b"9" * 20)]) + header(NAMED),
    "pax time is text": pax([(b"mtime", b"now")]) + header(NAMED),
    "pax time beyond": pax([(b"mtime", b"9" * 23)]) + header(NAMED),
    "pax 2 MiB": header(b"p", b"x", size=2 << 20) + bytes(2 << 20) + header(NAMED),
    "pax in pieces": pax([(b"comment", b"x" * 700_000)]) * 2 + header(NAMED),
    "pax says 8 EiB": header(b"p", b"x", size=1 << 63) + header(NAMED),
    "extension at the end": pax([(b"path", b"x")]),
    "sparse out of order": pax(
        [(b"GNU.sparse.size", b"9999"), (b"GNU.sparse.map", b"512,512,0,512")]
    ) + header(NAMED, size=1024) + bytes(1024),
    "sparse past its end": pax([(b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", b"8,512")])
    + header(NAMED, size=512) + bytes(512),
    "sparse of 2 EiB": pax([(b"GNU.sparse.size", b"%d" % (1 << 61)), (b"GNU.sparse.map", b"0,1")])
    + header(NAMED, size=1) + bytes(512),
    "sparse map odd": pax([(b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", b"0,1,2")])
    + header(NAMED, size=1) + bytes(512),
    "sparse without size": pax([(b"GNU.sparse.map", b"0,1")]) + header(NAMED, size=1) + bytes(512),
    "sparse 1.0 map endless": pax(
        [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")]
    ) + header(NAMED, size=1024) + b"9" * 1024,
    "sparse 1.0 map huge": pax(
        [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")]
    ) + header(NAMED, size=512) + pad(b"99999999\n0\n"),
    "old sparse endless": header(NAMED, b"S", raw={482: b"\1", 483: b"%011o" % 99})
    + (b"%011o\0%011o\0" % (1, 1) * 21 + b"\1" + bytes(7)) * 4000,
    "data after the end": bytes(BLOCK) + header(NAMED),
    "garbage": b"\1" * 2048,
    "attribute is no base64": pax([(b"LIBARCHIVE.xattr.user.x", b"a")]) + header(NAMED),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("chunk", [1 << 20, 100])
def test_malformed(name: str, chunk: int) -> None:
    before, peak = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CorruptError) as caught:
        entries(MALFORMED[name], chunk)
    assert time.monotonic() - before < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100 << 10
    assert "\n" not in str(caught.value)


def test_signed_checksums_of_old_writers() -> None:
    block = bytearray(header(b"caf\xe9"))
    block[148:156] = b" " * 8
    total = sum(byte - 256 if byte > 127 else byte for byte in block)
    block[148:156] = b"%06o\0 " % total
    assert [entry.name for entry in entries(bytes(block))] == [b"caf\xe9"]


def test_any_chunk_size_reads_the_same() -> None:
    data = tar(
        f("a", b"x" * 1000), gnu_long(b"n" * 300), header(b"s", size=5), pad(b"hello"), d("d"),
        pax([(b"mtime", b"1.5"), (b"SCHILY.xattr.user.x", b"v" * 3000)]), header(b"p"), f("z"),
    )  # fmt: skip
    wanted = [(e.name, e.size, e.mtime_ns) for e in entries(data)]
    assert len(wanted) == 5
    for chunk in (1, 7, 511, 512, 513, 4096):
        assert [(e.name, e.size, e.mtime_ns) for e in entries(data, chunk)] == wanted


@pytest.mark.parametrize("data", [b"", bytes(512), bytes(1024), bytes(10240), f("a").encode()])
def test_ends(data: bytes) -> None:
    assert len(entries(data)) == (1 if data.strip(b"\0") else 0)


def test_too_many_entries() -> None:
    block = header(b"p", b"g", size=0) * 2048
    left = iter(range(MAX_ENTRIES // 2048 + 2))
    reader = TarReader(lambda: block if next(left, None) is not None else b"")
    with pytest.raises(LimitError):
        reader.next()


@given(st.binary(max_size=3000))
@settings(max_examples=300, deadline=2000)
def test_any_bytes(data: bytes) -> None:
    try:
        entries(data)
        entries(header(b"x", b"x", size=len(data)) + pad(data) + header(b"y"))
    except CorruptError:
        pass


@given(st.binary(min_size=1, max_size=40).filter(lambda k: b"=" not in k), st.binary(max_size=1200))
@settings(max_examples=200, deadline=2000)
def test_pax_records_round_trip(key: bytes, value: bytes) -> None:
    assert list(paxlib.records(record(key, value) * 2)) == [(key, value)] * 2


@given(st.integers(0, 6000), st.integers(0, 255), st.integers(0, 5000))
@settings(max_examples=300, deadline=2000)
def test_flipped_bytes(offset: int, value: int, cut: int) -> None:
    data = bytearray(
        tar(
            f("a", b"x" * 700),
            pax([(b"path", b"long"), (b"size", b"3")]),
            header(b"s", size=3),
            pad(b"abc"),
        )
    )
    data[offset % len(data)] = value
    try:
        entries(bytes(data[: len(data) - cut % len(data)]))
    except CorruptError:
        pass


def read(blob: bytes, ceiling: int = 1 << 30) -> tuple[bytes, Source]:
    with tempfile.TemporaryFile() as file:
        file.write(blob)
        file.flush()
        source = Source(file.fileno(), ceiling)
        source.start()
        parts: list[bytes] = []
        while chunk := source.read():
            parts.append(chunk)
        return b"".join(parts), source


def zst(data: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zst_no_size(data: bytes) -> bytes:
    import zstandard

    compressor = zstandard.ZstdCompressor().compressobj()
    return compressor.compress(data) + compressor.flush()


PLAIN = os.urandom(70_000) + bytes(3_000_000) + b"end"
SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"12345"
RANDOM = b"\x99\x01garbage"


@pytest.mark.parametrize("pack", [gz, zst, zst_no_size])
def test_shapes_of_compression(pack: Callable[[bytes], bytes]) -> None:
    half = len(PLAIN) // 3
    members = pack(PLAIN[:half]) + pack(PLAIN[half:])
    for blob, trailing in (
        (pack(PLAIN), 0), (members, 0), (members + bytes(512), 0), (pack(b"") + members, 0),
        (members + RANDOM, len(RANDOM)), (members + bytes(40) + RANDOM, len(RANDOM)),
    ):  # fmt: skip
        data, source = read(blob)
        assert data == PLAIN and source.trailing == trailing and source.size == len(PLAIN)


def test_skippable_frames() -> None:
    assert read(SKIPPABLE + zst(PLAIN) + SKIPPABLE)[0] == PLAIN


@pytest.mark.parametrize("pack", [gz, zst, zst_no_size])
def test_broken_compression(pack: Callable[[bytes], bytes]) -> None:
    blob = pack(PLAIN)
    broken = [blob[: len(blob) * 9 // 10], blob[:-1], blob[:8]]
    if pack is not zst_no_size:  # it has no checksum, and the diff_id is left to tell
        broken.append(blob[:100] + b"\xaa" * 50 + blob[150:])
        broken.append(blob[:5000] + bytes([blob[5000] ^ 1]) + blob[5001:])
    for bad in broken:
        with pytest.raises(CorruptError):
            read(bad)


@pytest.mark.parametrize("pack", [gz, zst, lambda data: data])
def test_budget(pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(LimitError):
        read(pack(bytes(5_000_000)), ceiling=4_000_000)


def test_bomb_in_a_thread_takes_little_memory() -> None:
    blob = gz(bytes(1 << 28)) * 12  # 3 GiB of zeros from 14 MB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before = time.monotonic()
    with pytest.raises(LimitError):
        with tempfile.TemporaryFile() as file:
            file.write(blob)
            file.flush()
            source = Source(file.fileno(), 1 << 30)
            source.start()
            source.drain()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100 << 10
    assert time.monotonic() - before < 10


def test_other_compressions_are_named() -> None:
    for magic in (b"BZh91AY", b"\xfd7zXZ\0"):
        with pytest.raises(UnsupportedError):
            read(magic + bytes(100))


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=2000)
def test_any_bytes_after_a_magic(data: bytes) -> None:
    for magic in (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", SKIPPABLE[:4]):
        try:
            read(magic + data)
        except SampanError:
            pass
