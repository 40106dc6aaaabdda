"""The layers of an image in another compression: new blobs, made in parallel, kept by the push's lease.

The layers are what is parallel: threads within one take 20 MB each and gain little.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import zstandard
from isal import isal_zlib

from sampan.engine import Engine
from sampan.engine.fetching import Progress
from sampan.errors import CorruptError, UsageError
from sampan.model import convert
from sampan.model import image as model
from sampan.model.image import Descriptor
from sampan.store.decompress import Source, sniff
from sampan.store.layers import LayerSource
from sampan.store.leases import Lease

ALGORITHMS = {"gzip": range(1, 10), "zstd": range(1, 23)}
_DEFAULTS = {"gzip": 2, "zstd": 3}
_ISAL = 3  # up to this level its compression is used, which is several times as fast
_WINDOW = 31  # a gzip member, whose header tells no time


class Compression(NamedTuple):
    """level: None leaves it to us. force: also what is compressed in that way already."""

    algorithm: str
    level: int | None = None
    force: bool = False


def parse(text: str, level: int | None = None, force: bool = False) -> Compression:
    """ALGORITHM or ALGORITHM:LEVEL. UsageError."""
    name, colon, tail = text.partition(":")
    if name not in ALGORITHMS or (colon and not tail.isdigit()):
        raise UsageError(
            f'cannot compress with "{text}"', "", "gzip[:1-9] and zstd[:1-22] are known"
        )
    wanted = int(tail) if colon else level
    if wanted is not None and wanted not in ALGORITHMS[name]:
        raise UsageError(
            f"cannot compress with {name} at level {wanted}",
            f"its levels are {ALGORITHMS[name][0]} to {ALGORITHMS[name][-1]}",
        )
    return Compression(name, wanted, force)


def recompressed(
    engine: Engine,
    lease: Lease,
    sources: Sequence[LayerSource],
    layers: Sequence[Descriptor],
    wanted: Compression,
    tell: Progress,
) -> list[Descriptor]:
    """The descriptors of the layers, those that had another compression with their new blobs."""

    def one(at: int) -> Descriptor:
        layer = layers[at]
        if convert.is_foreign(layer.media_type):
            return layer
        fd = engine.blobs.open(layer.digest)
        try:
            if sniff(os.pread(fd, 16, 0)) == wanted.algorithm and not wanted.force:
                return layer
            tell.note(f"Compressing {layer.digest} with {wanted.algorithm}")
            return _compressed(engine, lease, fd, sources[at], wanted)
        finally:
            os.close(fd)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(one, range(len(layers))))


def _compressed(
    engine: Engine, lease: Lease, fd: int, source: LayerSource, wanted: Compression
) -> Descriptor:
    plain = Source(fd, model.SIZE_LIMIT)
    plain.start()  # inflates while the other thread compresses
    packer = _packer(wanted)
    with engine.blobs.writer(lease) as writer:
        try:
            while chunk := plain.read():
                if packed := packer.compress(chunk):
                    writer.write(packed)
            writer.write(packer.flush())
        finally:
            plain.close()
        if plain.diff_id() != source.diff_id:
            raise CorruptError(f"blob {source.digest} is damaged", "", "pull the image again")
        kind = model.OCI_LAYER_GZIP if wanted.algorithm == "gzip" else model.OCI_LAYER_ZSTD
        return Descriptor(kind, writer.commit(), writer.size)


def _packer(wanted: Compression) -> Any:
    level = _DEFAULTS[wanted.algorithm] if wanted.level is None else wanted.level
    if wanted.algorithm == "zstd":
        return zstandard.ZstdCompressor(level=level).compressobj()
    if level <= _ISAL:
        return isal_zlib.compressobj(level, isal_zlib.DEFLATED, _WINDOW)  # pyright: ignore
    return zlib.compressobj(level, zlib.DEFLATED, _WINDOW)
