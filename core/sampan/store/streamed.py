"""A layer that is unpacked while it is still being made.

Its digest, and with it its key, are known when its last byte is: until then it stands under a key of its own, which
its maker's lease names.  It gets its name when it is complete; if another one has made the same, it is removed.
"""

from __future__ import annotations

import fcntl
import os

from sampan import files
from sampan.errors import CorruptError
from sampan.linux import userns
from sampan.model.layer import chain_ids, layer_key
from sampan.store import records, unsynced
from sampan.store.jobs import Plan
from sampan.store.layers import LayerSource
from sampan.store.unpacker import Unpacker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from sampan.drivers import StorageDriver
    from sampan.linux.userns import IdMap

PIPE = 1 << 20


class Streamed:
    """`with Streamed(...) as layer: layer.write(tar) ...; layer.finish(diff_id)`. Entering forks."""

    def __init__(
        self,
        directory: int,
        driver: StorageDriver,
        idmap: IdMap,
        below: Sequence[LayerSource],
        keys: Sequence[str],
    ) -> None:
        """directory: of the layers' records; below: the chain that it lies on, unpacked, and its keys."""
        self._directory, self._driver, self._idmap = directory, driver, idmap
        self._below = below
        self.key = f"s{os.urandom(12).hex()}"
        self._moved = False
        diff_ids = [source.diff_id for source in below]
        chain = [*below, LayerSource("", "the layer that is made", "", 0)]
        places = [*keys, self.key], [*chain_ids(diff_ids), ""]
        plan = Plan(directory, driver, idmap, chain, *places, [len(below)], False)
        plan.marked = False  # it is, when it has its name
        self._unpacker = Unpacker(plan, None)

    def __enter__(self) -> Self:
        self._unpacker.__enter__()
        reading, self._pipe = os.pipe()
        fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, PIPE)
        self._unpacker.submit(len(self._below), reading)
        os.close(reading)
        return self

    def write(self, data: bytes) -> None:
        """More of the tar. What the unpacker has against it is raised."""
        try:
            files.write_all(self._pipe, data)
        except BrokenPipeError:
            self._unpacker.finish()
            raise

    def finish(self, diff_id: str) -> list[str]:
        """All was written: the layer exists from now on. Lines to tell the user."""
        self._close()
        notices = self._unpacker.finish()
        record = records.read(self._directory, self.key)
        if record["diff_id"] != diff_id:
            raise CorruptError(
                "cannot unpack the layer", f"it is {record['diff_id']} and not {diff_id}"
            )
        self._name(diff_id, record)
        return notices

    def _name(self, diff_id: str, record: dict[str, object]) -> None:
        chain_id = chain_ids([*(source.diff_id for source in self._below), diff_id])[-1]
        key = layer_key(chain_id)
        lock = records.open_lock(self._directory)
        try:
            records.lock(lock, key)
            if records.exists(self._directory, key):
                return
            marker = unsynced.begin(self._directory, [key])
            self._driver.rename(self.key, key)
            self._moved = True
            sidecar = ""
            if record["sidecar"]:
                sidecar = f"{key}.sidecar"
                os.rename(
                    f"{self.key}.sidecar",
                    sidecar,
                    src_dir_fd=self._directory,
                    dst_dir_fd=self._directory,
                )
            named = {**record, "chain_id": chain_id, "sidecar": sidecar or None}
            records.write(self._directory, key, named, sync=False)
            unsynced.settle(self._directory, marker)
        finally:
            os.close(lock)

    def _close(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def __exit__(self, *exception: object) -> None:
        self._close()
        self._unpacker.__exit__(None, None, None)
        if records.exists(self._directory, self.key):
            if not self._moved:
                userns.run(self._idmap, lambda: self._driver.remove(self.key))
            records.remove(self._directory, self.key)
