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
from store.malformed import MALFORMED
from tarmaker import d, f, gnu_long, gz, header, pad, pax, record, tar


def entries(data: bytes, chunk: int = 1 << 20) -> list[Entry]:
    """All entries, read in chunks of any size."""
    chunks = iter([data[start : start + chunk] for start in range(0, len(data), chunk)])
    reader = TarReader(lambda: next(chunks, b""))
    found: list[Entry] = []
    while (entry := reader.next()) is not None:
        found.append(entry)
    return found


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
