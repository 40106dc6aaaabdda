"""The layers of an image, unpacked: usually they are; if not, from the blobs of the store."""

from __future__ import annotations

import os

from sampan.model import layer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.store.images import Image


def ensure_unpacked(engine: Engine, image: Image) -> list[str]:
    """The keys of the image's layers, bottom first; unpacks with the current driver what it lacks."""
    keys = [layer.layer_key(chain_id) for chain_id in layer.chain_ids(image.diff_ids)]
    if not all(engine.layers.has(key) for key in keys):
        _unpack(engine, image)
    return keys


def _unpack(engine: Engine, image: Image) -> None:
    from sampan.store.layers import LayerSource

    chain = [
        LayerSource(diff_id, descriptor.digest, descriptor.media_type, descriptor.size)
        for diff_id, descriptor in zip(image.diff_ids, image.layers, strict=True)
    ]
    with engine.layers.unpacker(chain) as unpacker:
        for index in engine.layers.missing(chain):
            fd = engine.blobs.open(chain[index].digest)
            try:
                unpacker.submit(index, fd)
            finally:
                os.close(fd)
        unpacker.finish()
