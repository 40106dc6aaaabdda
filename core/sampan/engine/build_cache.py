"""The build cache as a builder sees it: the store's records, those of --cache-from, and a lease on what is used."""

from __future__ import annotations

from sampan.drivers import Cached
from sampan.model.layer import layer_keys
from sampan.store.buildcache import BuildCache as Records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from typing import Any

    from sampan.drivers import Layers
    from sampan.engine import Engine
    from sampan.engine.sharedcache import Importer
    from sampan.store.leases import Lease


class Cache:
    """A `sampan.drivers.BuildCache` over the store's records."""

    def __init__(self, engine: Engine, lease: Lease) -> None:
        self._lease = lease
        self._records = Records(engine.root_fd)
        self._held: set[str] = set()
        self.shared: list[Importer] = []  # of --cache-from

    def get(self, key: str) -> Cached | None:
        record = self._records.get(key, self._lease)
        return Cached(record.layers, record.about) if record else self._fetched(key)

    def _fetched(self, key: str) -> Cached | None:
        for one in self.shared:
            if found := one.get(key):
                self.hold(found.layers)
                self.put(key, *found)
                return found
        return None

    def put(self, key: str, layers: Layers, about: Mapping[str, Any]) -> None:
        self._records.put(key, layers, about)

    def flight(self, key: str, waiting: Callable[[str], object]) -> AbstractContextManager[None]:
        return self._records.flight(key, waiting)

    def hold(self, layers: Layers) -> None:
        """Keep the blobs and the unpacked layers of a chain until the build ends."""
        wanted = [layer.digest for layer in layers]
        wanted += [f"layer:{key}" for key in layer_keys([layer.diff_id for layer in layers])]
        new = [name for name in wanted if name not in self._held]
        if new:
            self._lease.add(*new)
            self._held.update(new)
