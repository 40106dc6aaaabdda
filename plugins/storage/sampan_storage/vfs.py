"""Directories and nothing else: for machines that mount no union, not even by FUSE.

    KEY/             a layer with all that is below it; what a layer has of its parent is shared (sampan.linux.clone)
    KEY/root, index  a snapshot: a tree of its own, and the files' change times when it was made

A layer's files are its parent's by hard links, and never changed in place: an entry that changes one makes another.
A snapshot is what a container writes to: its files share at most their blocks, by reflink where the file system has it.
"""

from __future__ import annotations

import os

from sampan.errors import NotFoundError, UnsupportedError
from sampan.linux import userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    from sampan.drivers import Change, ConfigTable, LayerWriter
    from sampan.linux.userns import IdMap
    from sampan.model.contract import DriverContext, Probe
    from sampan.model.mount import Snapshot

EMPTY = "empty"
ROOT_MODE = 0o555  # podman's mode of a root that no layer tells


class Vfs:
    """The storage driver; see `sampan.drivers.StorageDriver`."""

    name = "vfs"
    features = frozenset({"mapped-owners", "removes-as-user"})

    def __init__(self, root_fd: int, idmap: IdMap, log: Callable[[str], None]) -> None:
        self._root, self._idmap, self._log = root_fd, idmap, log

    def prepare(
        self,
        key: str,
        chain: Sequence[str],
        *,
        readonly: bool = False,
        owners: IdMap | None = None,
    ) -> Snapshot:
        """A snapshot over the chain (bottom first), which is copied when it does not exist yet."""
        layer = chain[-1] if chain else self._empty()
        if not self._exists(layer):
            raise NotFoundError(
                f"layer {layer} is lost",
                "its directory is not in the store",
                "remove the image and pull it again",
            )
        source = layer
        if not readonly or owners is not None:
            source = f"{key}/root"
            if not self._exists(source):
                from sampan_storage import copies

                told = self._log
                userns.run(self._idmap, lambda: copies.make(self._root, key, layer, owners, told))
        return {
            "driver": self.name,
            "key": key,
            "directory": os.readlink(f"/proc/self/fd/{self._root}"),
            "mounts": [
                {
                    "fstype": "bind",
                    "source": source,
                    "lower": [],
                    "upper": "",
                    "work": "",
                    "options": [],
                }
            ],
            "helpers": [],
            "readonly": readonly,
        }

    def _exists(self, path: str) -> bool:
        try:
            os.stat(path, dir_fd=self._root, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _empty(self) -> str:
        """The layer of an image without layers."""
        try:
            os.mkdir(EMPTY, ROOT_MODE, dir_fd=self._root)
        except FileExistsError:
            pass
        return EMPTY

    def layer(self, key: str, parent: str | None) -> AbstractContextManager[LayerWriter]:
        from sampan_storage.copies import WholeLayer

        return WholeLayer(self._root, key, parent, ROOT_MODE)

    def rename(self, key: str, new: str) -> None:
        self.remove(new)
        os.rename(key, new, src_dir_fd=self._root, dst_dir_fd=self._root)

    def lower(self, chain: Sequence[str]) -> list[int]:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        if not chain:
            return []
        try:
            return [os.open(chain[-1], flags, dir_fd=self._root)]
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(f"layer {chain[-1]} is lost") from None

    def changes(self, key: str, chain: Sequence[str]) -> Iterable[Change]:
        from sampan_storage import copies

        layer = chain[-1] if chain else self._empty()
        return copies.changes(self._root, key, layer)

    def adopt(self, key: str, layer: str, without: Sequence[bytes], told: bool) -> None:
        raise UnsupportedError(
            "vfs cannot adopt a snapshot", "a layer shares its files with its parent"
        )

    def usage(self, key: str) -> int:
        from sampan_storage import copies

        return copies.usage(self._root, key)

    def remove(self, key: str) -> None:
        from sampan_storage import removal

        removal.remove(self._root, key, self._idmap)


def sampan_storage_driver(context: DriverContext) -> Vfs:
    return Vfs(context.root_fd, context.idmap, context.log)


def sampan_probe(context: DriverContext) -> Probe:
    from sampan_storage.probe import probe_vfs

    return probe_vfs(context)


def sampan_config() -> ConfigTable:
    return {}
