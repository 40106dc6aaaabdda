"""The layers of an image, unpacked: usually they are; if not, from the blobs of the store."""

from __future__ import annotations

import os

from sampan.errors import NotFoundError
from sampan.model import layer
from sampan.store import unsynced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.drivers import StorageDriver
    from sampan.engine import Engine
    from sampan.linux.userns import IdMap
    from sampan.model.mount import Snapshot
    from sampan.store.images import Image


def chain(image: Image) -> list[str]:
    """The keys of the image's layers, bottom first."""
    return [layer.layer_key(chain_id) for chain_id in layer.chain_ids(image.diff_ids)]


def ready(engine: Engine, image: Image) -> None:
    """See that the image's layers are there."""
    missing = False
    if unsynced.any_lost(engine.root_fd, engine.storage.name):
        engine.layers.keys(())
    try:
        for fd in engine.storage.lower(chain(image)):
            os.close(fd)
    except NotFoundError:
        missing = True
    if missing:
        _unpack(engine, image)


def snapshot(
    engine: Engine, image: Image, key: str, keys: list[str], owners: IdMap | None = None
) -> Snapshot:
    """A snapshot over the image's layers, of these keys; owners: as `StorageDriver.prepare` has it.

    A layer that the current driver has lost, or never had, is unpacked first.
    """
    if unsynced.any_lost(engine.root_fd, engine.storage.name):
        engine.layers.keys(())  # opens the layer store, which drops what cannot be trusted
    try:
        return prepare(engine.storage, key, keys, owners)
    except NotFoundError:
        _unpack(engine, image)
    return prepare(engine.storage, key, keys, owners)


def prepare(
    driver: StorageDriver,
    key: str,
    keys: Sequence[str],
    owners: IdMap | None,
    *,
    readonly: bool = False,
) -> Snapshot:
    """As `StorageDriver.prepare`: a driver that takes no owners is not asked to."""
    if owners is None:
        return driver.prepare(key, keys, readonly=readonly)
    return driver.prepare(key, keys, readonly=readonly, owners=owners)


def _unpack(engine: Engine, image: Image) -> None:
    from sampan.engine import pack

    pack.unpack(engine, pack.sources(image))
