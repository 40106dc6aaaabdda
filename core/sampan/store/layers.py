"""The layers of a store: which are unpacked, and how the others come to be.

A layer on disk is the driver's directory plus a record.  `missing` compares an image's chain with
the records, `unpacker` fills the gaps, and only a record committed by rename makes a layer exist.
What needs another process, a user namespace or a tar reader is loaded when it is asked for: `run`
asks for none of it.
"""

from __future__ import annotations

import os

from sampan.errors import NotFoundError
from sampan.model.layer import chain_ids, layer_key
from sampan.store import records, unsynced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import Any

    from sampan.drivers import StorageDriver
    from sampan.linux.userns import IdMap
    from sampan.store.sidecar import Extra
    from sampan.store.streamed import Streamed
    from sampan.store.unpacker import Unpacker


class LayerSource:
    """A layer of an image: its identity, and the blob that it comes in."""

    __slots__ = ("diff_id", "digest", "media_type", "size")

    def __init__(self, diff_id: str, digest: str, media_type: str, size: int) -> None:
        self.diff_id, self.digest, self.media_type, self.size = diff_id, digest, media_type, size


class LayerStore:
    """The layers that `driver` keeps, with their records below `root_fd`."""

    def __init__(
        self, root_fd: int, driver: StorageDriver, idmap: IdMap, *, sync: bool = False
    ) -> None:
        self._root_fd, self._driver, self._idmap, self._sync = root_fd, driver, idmap, sync
        self._directory = -1

    def keys(self, diff_ids: Sequence[str]) -> list[str]:
        """The driver's keys of a chain, bottom first."""
        self._records()
        return [layer_key(chain_id) for chain_id in chain_ids(diff_ids)]

    def missing(self, chain: Sequence[LayerSource]) -> list[int]:
        """Which layers of the chain are to be unpacked: no record, or a lost directory."""
        keys = self.keys([source.diff_id for source in chain])
        directory = self._records()
        return [
            index
            for index, key in enumerate(keys)
            if not (records.exists(directory, key) and self._has_directory(key))
        ]

    def unpacker(
        self, chain: Sequence[LayerSource], on_done: Callable[[int], None] | None = None
    ) -> Unpacker:
        """A context in which the chain's missing blobs are submitted and unpacked; see
        `unpacker.py`.

        Entering forks: the process must have one thread.  on_done is called with the index of each
        layer that is there.
        """
        from sampan.store.jobs import Plan
        from sampan.store.unpacker import Unpacker

        diff_ids = [source.diff_id for source in chain]
        missing = self.missing(chain)
        directory = self._records()
        for key in self.keys(diff_ids):
            if records.exists(directory, key) and not self._has_directory(key):
                records.remove(directory, key)  # it says what is no longer so
        plan = Plan(
            directory,
            self._driver,
            self._idmap,
            chain,
            self.keys(diff_ids),
            chain_ids(diff_ids),
            missing,
            self._sync,
        )
        return Unpacker(plan, on_done)

    def record(self, key: str) -> dict[str, Any]:
        """What is known of a layer: diff_id, chain_id, parent, size, entries, sidecar, notices."""
        try:
            return records.read(self._records(), key)
        except FileNotFoundError:
            raise NotFoundError(
                f"no layer {key}", "it is not unpacked", "pull the image again"
            ) from None

    def extras(self, key: str) -> dict[bytes, Extra]:
        """What the layer's directory could not hold, by path."""
        name = self.record(key).get("sidecar")
        if not name:
            return {}
        from sampan.store import sidecar

        return sidecar.read(self._records(), f"{key}.sidecar")

    def truth(self, chain: Sequence[str]) -> dict[bytes, Extra]:
        """What the merged tree of the layers (keys, bottom first) could not hold, by path.

        Called inside a user namespace of the store's map.  Of a driver whose layers depend on each
        other the topmost layer's notes are those of the whole tree.
        """
        if "independent-layers" not in self._driver.features:
            return self.extras(chain[-1]) if chain else {}
        from sampan.linux import overlay

        found: dict[bytes, Extra] = {}
        for key in chain:
            if found:
                (layer,) = self._driver.lower([key])
                found = {path: e for path, e in found.items() if not overlay.hides(layer, path)}
                os.close(layer)
            found.update(self.extras(key))
        return found

    def mapped(
        self, chain: Sequence[str], owners: IdMap, tell: Callable[[str], object]
    ) -> list[str]:
        """Copies of the layers with other owners, made where they are missing: their keys, bottom first.

        For drivers that cannot translate owners themselves.  They are layers like others: `gc` removes them.
        """
        from sampan.linux import userns
        from sampan.store import mapped

        directory = self._records()
        whole = "independent-layers" not in self._driver.features
        sources = list(chain[-1:] if whole else chain)
        wanted = {mapped.key_of(key, owners): key for key in sources}
        missing = {
            key: source for key, source in wanted.items() if not records.exists(directory, key)
        }
        if missing:
            size = sum(int(self.record(source)["size"]) for source in missing.values())
            tell(
                f"copying {size >> 20} MiB for containers with this id map; later ones use the copy"
            )
        for key, source in missing.items():
            job = mapped.Copy(directory, self._driver, key, source, self.record(source), owners)
            userns.run(self._idmap, job.run)
            tell(f"copied layer {source}")
        return list(wanted)

    def adopt(
        self,
        snapshot: str,
        chain: Sequence[LayerSource],
        size: int,
        without: Sequence[bytes],
        told: bool,
    ) -> None:
        """The changes of a snapshot become the topmost layer of the chain; see `StorageDriver.adopt`."""
        from sampan.linux import userns

        diff_ids = [source.diff_id for source in chain]
        keys, directory = self.keys(diff_ids), self._records()
        record: dict[str, Any] = {
            "diff_id": diff_ids[-1],
            "chain_id": chain_ids(diff_ids)[-1],
            "parent": keys[-2] if len(keys) > 1 else None,
            "size": size,
            "sidecar": None,
            "notices": {},
        }

        def job() -> None:
            lock = records.open_lock(directory)
            try:
                records.lock(lock, keys[-1])
                if not records.exists(directory, keys[-1]):
                    self._driver.adopt(snapshot, keys[-1], without, told)
                    records.write(directory, keys[-1], record, sync=False)
            finally:
                os.close(lock)

        marker = unsynced.begin(directory, keys[-1:])
        try:
            job()
        except PermissionError:  # something lies in a directory of a subordinate id
            userns.run(self._idmap, job)
        unsynced.settle(directory, marker)

    def streamed(self, below: Sequence[LayerSource]) -> Streamed:
        """A layer on top of an unpacked chain that is unpacked while it is made; see `streamed.py`."""
        from sampan.store.streamed import Streamed

        keys = self.keys([source.diff_id for source in below])
        return Streamed(self._records(), self._driver, self._idmap, below, keys)

    def present(self) -> list[str]:
        """The keys of all layers with a record."""
        return records.keys(self._records())

    def in_use(self, key: str) -> bool:
        """Whether a process unpacks the layer at this moment."""
        fd = records.open_lock(self._records())
        try:
            return not records.lock(fd, key, wait=False)
        finally:
            os.close(fd)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove layers that no image and no container needs; one in use stays."""
        from sampan.linux import userns

        wanted = list(keys)
        if wanted:
            directory = self._records()
            userns.run(self._idmap, lambda: self._remove(directory, wanted))

    def gc(self, keep: Collection[str]) -> list[str]:
        """Remove every layer but those to keep, and what unpacks that died have left.

        Returns the removed.
        """
        kept = set(keep)
        gone = [key for key in self.present() if key not in kept]
        self.remove(gone)
        records.sweep(self._records())
        return gone

    def close(self) -> None:
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _remove(self, directory: int, keys: Sequence[str]) -> None:
        for key in keys:
            fd = records.open_lock(directory)
            try:
                if records.lock(fd, key, wait=False):
                    records.remove(directory, key)
                    self._driver.remove(key)
            finally:
                os.close(fd)

    def _records(self) -> int:
        if self._directory < 0:
            self._directory = records.open_directory(self._root_fd, self._driver.name)
            self._drop_lost()
        return self._directory

    def _drop_lost(self) -> None:
        """Remove the layers that a power cut may have caught half written."""
        for name, keys in unsynced.lost(self._directory).items():
            self.remove(keys)
            unsynced.forget(self._directory, name)

    def _has_directory(self, key: str) -> bool:
        try:
            fds = self._driver.lower([key])
        except NotFoundError:
            return False
        for fd in fds:
            os.close(fd)
        return True
