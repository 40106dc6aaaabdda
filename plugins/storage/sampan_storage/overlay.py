"""The kernel's overlay, mounted by the user in the container's own namespace (`userxattr`).

    KEY/            a layer: its files, whiteouts as 0:0 devices, opaque directories by attribute
    KEY/diff, work  a snapshot: what a container changed, and the kernel's work directory
    empty/          the lower directory of an image without layers

Nothing is mounted here: a snapshot is data, and the monitor mounts it.  Layers do not depend on
each other on disk, so they may be unpacked in any order.  All but `prepare` stands in
`sampan_storage.layers`: this module is on the way of every `run`.
"""

from __future__ import annotations

import os

from sampan import files
from sampan.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    from sampan.drivers import Change, ConfigTable, LayerWriter
    from sampan.linux.userns import IdMap
    from sampan.model.contract import DriverContext, Probe
    from sampan.model.mount import MountOperation, Snapshot

EMPTY = "empty"
UNTOLD = 0o4000  # on a layer's directory (set-uid, which means nothing there): it has no entry for its root


class Overlay:
    """The storage driver; see `sampan.drivers.StorageDriver`."""

    name = "overlay"

    def __init__(self, root_fd: int, idmap: IdMap, program: str = "") -> None:
        """program: a fuse-overlayfs for containers with another id map, or "" for the one of PATH."""
        self._root, self._idmap, self._program = root_fd, idmap, program

    @property
    def features(self) -> frozenset[str]:
        from sampan_storage import fuse_overlayfs

        mapped = {"mapped-owners"} if fuse_overlayfs.find(self._program) else set[str]()
        return frozenset({"adopts", "independent-layers", "removes-as-user"} | mapped)

    def prepare(
        self,
        key: str,
        chain: Sequence[str],
        *,
        readonly: bool = False,
        owners: IdMap | None = None,
    ) -> Snapshot:
        """A snapshot over the chain (bottom first): directories are made, nothing is mounted."""
        snapshot = self._prepare(key, chain, readonly)
        if owners is not None:
            from sampan_storage import fuse_overlayfs

            fuse_overlayfs.serve(snapshot, self._program, owners)
        return snapshot

    def _prepare(self, key: str, chain: Sequence[str], readonly: bool) -> Snapshot:
        lower = list(chain[::-1])
        mode = self._root_mode(lower)
        if not lower or (readonly and len(lower) == 1):  # without an upper the kernel wants two
            self._make(EMPTY, 0o755)
            lower.append(EMPTY)
        operation: MountOperation = {
            "fstype": "overlay",
            "source": "overlay",
            "lower": lower,
            "upper": "",
            "work": "",
            "options": [("userxattr", None)],
        }
        if not readonly:
            operation["upper"], operation["work"] = f"{key}/diff", f"{key}/work"
            self._directories(key, mode)
        return {
            "driver": self.name,
            "key": key,
            "directory": os.readlink(f"/proc/self/fd/{self._root}"),
            "mounts": [operation],
            "helpers": [],
            "readonly": readonly,
        }

    def _root_mode(self, lower: Sequence[str]) -> int:
        """The mode of the merged root (layers topmost first)."""
        mode = UNTOLD
        for layer in lower:
            try:
                status = os.stat(layer, dir_fd=self._root, follow_symlinks=False)
            except FileNotFoundError:
                raise _lost(layer) from None
            if mode & UNTOLD:
                mode = status.st_mode & 0o7777
        return 0o555 if mode & UNTOLD else mode  # podman's mode of a root that no layer tells

    def _directories(self, key: str, mode: int) -> None:
        """`diff` and `work`; the root of the merged tree has the mode of `diff`."""
        if not self._make(key, 0o700):
            self._tidy(f"{key}/work/work")
        if self._make(f"{key}/diff", mode):
            os.chmod(f"{key}/diff", mode, dir_fd=self._root)  # whatever the umask is
        self._make(f"{key}/work", 0o700)

    def _make(self, path: str, mode: int) -> bool:
        try:
            os.mkdir(path, mode, dir_fd=self._root)
        except FileExistsError:
            return False
        return True

    def _tidy(self, work: str) -> None:
        """Forget that the snapshot was once mounted `volatile`, which the kernel holds against it."""
        try:
            os.chmod(work, 0o700, dir_fd=self._root)  # the kernel made it with mode 0
            files.remove_tree(self._root, f"{work}/incompat")
        except FileNotFoundError:
            pass

    def layer(self, key: str, parent: str | None) -> AbstractContextManager[LayerWriter]:
        from sampan_storage.layers import Layer

        return Layer(self._root, key, UNTOLD | 0o755)

    def rename(self, key: str, new: str) -> None:
        self.remove(new)
        os.rename(key, new, src_dir_fd=self._root, dst_dir_fd=self._root)

    def lower(self, chain: Sequence[str]) -> list[int]:
        fds: list[int] = []
        try:
            for key in chain[::-1]:
                fds.append(
                    os.open(
                        key,
                        os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                        dir_fd=self._root,
                    )
                )
        except OSError as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise _lost(chain[-1 - len(fds)]) from None
            raise
        return fds

    def changes(self, key: str, chain: Sequence[str]) -> Iterable[Change]:
        from sampan_storage import layers

        lower = self.lower(chain)
        try:
            return layers.changes(self._root, f"{key}/diff", lower, self._root_mode(chain[::-1]))
        finally:
            for fd in lower:
                os.close(fd)

    def adopt(self, key: str, layer: str, without: Sequence[bytes], told: bool) -> None:
        from sampan_storage import layers

        layers.adopt(self._root, f"{key}/diff", layer, without, None if told else UNTOLD | 0o755)

    def usage(self, key: str) -> int:
        from sampan_storage import layers

        return layers.usage(self._root, key)

    def remove(self, key: str) -> None:
        from sampan_storage import removal

        removal.remove(self._root, key, self._idmap)


def _lost(key: str) -> NotFoundError:
    return NotFoundError(
        f"layer {key} is lost",
        "its directory is not in the store",
        "remove the image and pull it again",
    )


def sampan_storage_driver(context: DriverContext) -> Overlay:
    return Overlay(context.root_fd, context.idmap, context.options.get("fuse_program", ""))


def sampan_probe(context: DriverContext) -> Probe:
    from sampan_storage.probe import probe

    return probe(context)


def sampan_config() -> ConfigTable:
    return {
        "fuse_program": (str, "", "the fuse-overlayfs that serves containers with another id map")
    }
