"""What the engine offers a builder: layers, images, and those that are there already."""

from __future__ import annotations

import os

from sampan import files
from sampan.drivers import Layer
from sampan.engine import pack
from sampan.errors import CorruptError, NotFoundError
from sampan.linux import userns
from sampan.store.layers import LayerSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from sampan.drivers import Layers
    from sampan.engine import Engine
    from sampan.store.images import Image
    from sampan.store.leases import Lease

PLACE = "building"  # directories in which layers are made
CHUNK = 1 << 20


class Host:
    """A `sampan.drivers.BuildHost` over the engine's stores; `lease` keeps its blobs until it ends."""

    def __init__(self, engine: Engine, lease: Lease, tell: Callable[[str], object]) -> None:
        self.idmap = engine.idmap
        self._engine, self._lease, self._tell = engine, lease, tell

    def progress(self, event: Mapping[str, Any]) -> None:
        if event["kind"] == "say":
            self._tell(event["text"])

    def find(self, name: str) -> str | None:
        """The id of the image of that name or id; None if there is none, or a damaged one."""
        try:
            image = self._engine.images.resolve(name)
            for layer in image.layers:
                if not self._engine.blobs.has(layer.digest):
                    return None
            return image.id
        except (NotFoundError, CorruptError):
            return None

    def layer(self, write: Callable[[int], None]) -> Layer:
        """A new layer of what `write` puts into an empty directory."""
        place = files.open_directory(PLACE, dir_fd=self._engine.root_fd, create=True)
        try:
            archive = files.nameless(place)
            try:
                userns.run(self.idmap, lambda: _fill(place, archive, write))
                return self._keep(archive)
            finally:
                os.close(archive)
        finally:
            os.close(place)

    def commit(self, chain: Layers, config: Mapping[str, Any], tags: Sequence[str]) -> str:
        """Store and list the image; `config` is its configuration, without platform and rootfs."""
        from sampan.model import platform

        machine = platform.host()
        document: dict[str, Any] = {
            **config,
            "architecture": machine.architecture,
            "os": machine.os,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in chain]},
        }
        size = pack.unpack(self._engine, [LayerSource(*layer) for layer in chain], self._tell)
        layers = [
            {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
            for layer in chain
        ]
        data = pack.encode(document)
        return pack.image(self._engine, self._lease, data, layers, tags, size).id

    def _keep(self, archive: int) -> Layer:
        """Compress the archive into a blob."""
        os.lseek(archive, 0, os.SEEK_SET)
        made = pack.pack(self._engine, self._lease, lambda: os.read(archive, CHUNK))
        return Layer(made.diff_id, made.digest, made.media_type, made.size)


def _fill(place: int, archive: int, write: Callable[[int], None]) -> None:
    """In the user namespace: fill a directory and write it down as tar."""
    from sampan.store.tarwriter import TarWriter

    for name in os.listdir(place):
        if files.is_abandoned(name):
            files.remove_tree(place, name)
    os.umask(0o022)
    name = files.temporary_name()
    directory = files.open_directory(name, dir_fd=place, create=True)
    try:
        write(directory)
        with open(archive, "wb", buffering=CHUNK, closefd=False) as file:
            writer = TarWriter(file.write, pack.source_date_epoch())
            writer.tree(directory)
            writer.close()
    finally:
        os.close(directory)
        files.remove_tree(place, name)


def build_host_image(
    engine: Engine, words: str, tell: Callable[[str], object] = lambda text: None
) -> Image:
    """The image of programs of this machine ("sh,ls"); made again only when one of them changed."""
    from sampan.drivers import BuildRequest

    builder = engine.driver("build", "host")
    with engine.images.lease() as lease:
        image_id = builder.build(BuildRequest(words, (), {}), Host(engine, lease, tell))
    return engine.images.resolve(image_id)
