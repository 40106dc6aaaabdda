"""What the worker works on: a chain of layers, and one layer of it."""

from __future__ import annotations

import contextlib
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from sampan.drivers import StorageDriver
    from sampan.linux.userns import IdMap
    from sampan.store.layers import LayerSource


class Plan:
    """What the worker works on: the chain and its keys, and which of it is there already."""

    def __init__(
        self,
        directory: int,
        driver: StorageDriver,
        idmap: IdMap,
        chain: Sequence[LayerSource],
        keys: Sequence[str],
        chain_ids: Sequence[str],
        missing: Sequence[int],
        sync: bool,
    ) -> None:
        self.directory, self.driver, self.idmap = directory, driver, idmap
        self.chain, self.keys, self.chain_ids = chain, keys, chain_ids
        self.there = set(range(len(chain))) - set(missing)
        self.sync = sync
        self.marked = not sync  # what may be lost in a power cut is written down before

    def below(self, index: int) -> bool:
        """Whether every layer below is there."""
        return all(other in self.there for other in range(index))


class Job:
    """One layer in work: its child, the driver's directory and the lock."""

    def __init__(self, index: int, blob: int, span: Sequence[int] | None = None) -> None:
        """span: (offset, size) of the blob in its file, None if it is all of it."""
        self.index, self.blob = index, blob
        self.offset, self.size = span or (0, int(os.fstat(blob).st_size))
        self.undo = contextlib.ExitStack()
        self.layer = contextlib.ExitStack()  # the driver's context alone: left first, and well
        self.channel: socket.socket
        self.pid = self.pidfd = self.sidecar_fd = -1
        self.inherited_fd = -1  # the parent's sidecar, where a layer's directory holds its parent's
        self.sidecar_name = ""
        self.waits = False  # for the layers below
        self.alone = False  # a thread that inflates gains only while the other processor idles
