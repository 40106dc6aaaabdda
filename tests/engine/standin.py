"""An engine with real blob and image stores, and layers that are unpacked into memory."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sampan.engine.fetching import THREAD_NAME
from sampan.errors import CorruptError
from sampan.plugins import Plugins
from sampan.settings import Settings
from sampan.store.blobs import BlobStore, digest_of
from sampan.store.images import ImageStore
from sampan.store.layers import LayerSource


class Unpacker:
    def __init__(
        self, layers: Layers, chain: list[LayerSource], on_done: Callable[[int], None]
    ) -> None:
        names = [thread.name for thread in threading.enumerate()]
        assert THREAD_NAME not in names, "forks need one thread"
        self.layers, self.chain, self.on_done = layers, chain, on_done
        self.unpacked: dict[int, bytes] = {}
        self.failure: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def submit(self, index: int, fd: int, span: tuple[int, int] = (0, 1 << 26)) -> None:
        data = os.pread(fd, span[1], span[0])
        source = self.chain[index]
        plain = source.digest == source.diff_id
        assert plain or digest_of(data) == source.digest, "only verified bytes may come here"
        try:
            raw = data if data[:2] != b"\x1f\x8b" else zlib.decompressobj(31).decompress(data)
        except zlib.error as error:
            self.failure = CorruptError(f"layer {source.digest} is refused", str(error))
            return
        if digest_of(raw) != source.diff_id:
            self.failure = CorruptError(f"layer {source.digest} is refused", "its diff_id differs")
            return
        self.unpacked[index] = raw
        self.on_done(index)

    def finish(self) -> list[str]:
        if self.failure:
            raise self.failure
        diff_ids = [source.diff_id for source in self.chain]
        for index in self.unpacked:
            self.layers.there.add(tuple(diff_ids[: index + 1]))
        return []


class Layers:
    def __init__(self) -> None:
        self.there: set[tuple[str, ...]] = set()

    def missing(self, chain: Iterable[LayerSource]) -> list[int]:
        diff_ids = [source.diff_id for source in chain]
        return [
            index
            for index in range(len(diff_ids))
            if tuple(diff_ids[: index + 1]) not in self.there
        ]

    def keys(self, diff_ids: list[str]) -> list[str]:
        return [str(at) for at in range(len(diff_ids))]

    def record(self, key: str) -> dict[str, Any]:
        return {"size": 10}

    def unpacker(
        self, chain: list[LayerSource], on_done: Callable[[int], None] = lambda index: None
    ) -> Unpacker:
        return Unpacker(self, chain, on_done)


class StandIn:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self.plugins = Plugins("", [])
        self.settings = Settings({"events_backend": "none"}, {}, {})
        self.images = ImageStore(self.root_fd)
        self.blobs = BlobStore(self.root_fd)
        self.layers: Any = Layers()  # of the contract only what a pull asks for

    def leftovers(self) -> list[str]:
        """Files of ingest and leases."""
        return sorted(
            path.name
            for directory in ("ingest", "leases")
            for path in (self.root / directory).glob("*")
        )
