"""A tar that is being made becomes the blob of a layer: hashed and compressed while it is written."""

from __future__ import annotations

import hashlib
import itertools
import json
import os

from isal import isal_zlib

from sampan.model import image as documents
from sampan.store.layers import LayerSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.images import Image
    from sampan.store.leases import Lease

LEVEL = 2
GZIP = 31  # window bits: a gzip member, whose header tells no time


def pack(
    engine: Engine,
    lease: Lease,
    read: Callable[[], bytes],
    progress: Callable[[int], object] = lambda done: None,
) -> LayerSource:
    """The layer of the tar that `read` gives, chunk by chunk; b"" ends it.

    Chunks must be cut the same each time for the same blob to come out.
    """
    plain = hashlib.sha256()
    packer: Any = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, GZIP)  # pyright: ignore
    done = 0
    with engine.blobs.writer(lease) as writer:
        while chunk := read():
            done += len(chunk)
            plain.update(chunk)
            if packed := packer.compress(chunk):
                writer.write(packed)
            progress(done)
        writer.write(packer.flush())
        digest, size = writer.commit(), writer.size
    return LayerSource(f"sha256:{plain.hexdigest()}", digest, documents.OCI_LAYER_GZIP, size)


def onto(
    engine: Engine,
    lease: Lease,
    below: Sequence[LayerSource],
    read: Callable[[], bytes],
    tell: Callable[[str], object],
) -> LayerSource | None:
    """The layer of the tar that `read` gives, packed and unpacked on top of a chain; None if there is no tar."""
    chunk = read()
    if not chunk:
        return None
    unpack(engine, below)
    with engine.layers.streamed(below) as layer:
        lease.add(f"layer:{layer.key}")

        def chunks() -> bytes:
            nonlocal chunk
            now, chunk = chunk, b""
            now = now or read()
            layer.write(now)
            return now

        made = pack(engine, lease, chunks)
        for notice in layer.finish(made.diff_id):
            tell(notice)
    return made


def written(
    engine: Engine, lease: Lease, read: Callable[[], bytes]
) -> tuple[LayerSource, int] | None:
    """The layer of the tar that `read` gives, and the bytes of the tar; None if there is none."""
    size = 0
    first = read()
    if not first:
        return None
    chunks = itertools.chain([first], iter(read, b""))

    def note(done: int) -> None:
        nonlocal size
        size = done

    return pack(engine, lease, lambda: next(chunks, b""), note), size


def unpack(
    engine: Engine, chain: Sequence[LayerSource], tell: Callable[[str], object] = lambda text: None
) -> int:
    """See that all layers of the chain are unpacked; returns the bytes that they hold."""
    missing = engine.layers.missing(chain)
    if missing:
        with engine.layers.unpacker(chain) as unpacker:
            for index in missing:
                fd = engine.blobs.open(chain[index].digest)
                try:
                    unpacker.submit(index, fd)
                finally:
                    os.close(fd)
            for notice in unpacker.finish():
                tell(notice)
    keys = engine.layers.keys([layer.diff_id for layer in chain])
    return sum(int(engine.layers.record(key)["size"]) for key in keys)


def image(
    engine: Engine,
    lease: Lease,
    config: bytes,
    layers: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    size: int,
    form: str = "oci",
    source: str = "",
    annotations: Mapping[str, str] | None = None,
) -> Image:
    """Put a configuration and a manifest for it into the store, and list the image."""
    oci = form == "oci"
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": documents.OCI_MANIFEST if oci else documents.DOCKER_MANIFEST,
        "config": {
            "mediaType": documents.OCI_CONFIG if oci else documents.DOCKER_CONFIG,
            "digest": engine.blobs.put(config, lease),
            "size": len(config),
        },
        "layers": list(layers),
    }
    if annotations:
        manifest["annotations"] = dict(annotations)
    digest = engine.blobs.put(encode(manifest), lease)
    return engine.images.add(digest, names, size=size, source=source)


def encode(document: Mapping[str, Any]) -> bytes:
    """JSON that is the same for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def source_date_epoch() -> int | None:
    """SOURCE_DATE_EPOCH in seconds: no time in an image is later (reproducible-builds.org)."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(text) if text.isascii() and text.isdigit() else None


def sources(image: Image) -> list[LayerSource]:
    """The layers of a stored image, bottom first."""
    return [
        LayerSource(diff_id, layer.digest, layer.media_type, layer.size)
        for diff_id, layer in zip(image.diff_ids, image.layers, strict=True)
    ]
