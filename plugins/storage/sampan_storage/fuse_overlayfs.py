"""fuse-overlayfs, for kernels and file systems on which a user cannot mount the kernel's overlay.

Layers and snapshots stand on disk as in the driver `overlay`; a program serves the union as a FUSE file system.
It can also show every file as another owner's, which is how containers with another id map get their root
without a copy, under either driver.
"""

from __future__ import annotations

import os

from sampan.errors import UnsupportedError
from sampan_storage.overlay import Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sampan.drivers import Change, ConfigTable
    from sampan.linux.userns import Extent, IdMap
    from sampan.model.contract import DriverContext, Probe
    from sampan.model.mount import Snapshot

PROGRAM = "fuse-overlayfs"
PLACES = ("/usr/bin", "/usr/local/bin", "/bin")


class FuseOverlay(Overlay):
    """The storage driver; see `sampan.drivers.StorageDriver`."""

    name = PROGRAM

    def prepare(
        self,
        key: str,
        chain: Sequence[str],
        *,
        readonly: bool = False,
        owners: IdMap | None = None,
    ) -> Snapshot:
        snapshot = self._prepare(key, chain, readonly)
        serve(snapshot, self._program, owners)
        return snapshot

    @property
    def features(self) -> frozenset[str]:
        """Its upper directories have marks of its own, so they do not become layers as they are."""
        return super().features - {"adopts"}

    def changes(self, key: str, chain: Sequence[str]) -> Iterable[Change]:
        from sampan_storage import copied_up

        lower = self.lower(chain)
        try:
            copied_up.repair(self._root, f"{key}/diff", lower)
        finally:
            for fd in lower:
                os.close(fd)
        return super().changes(key, chain)


def find(program: str) -> str:
    """The absolute path of the program: as configured, or of PATH and the usual places; "" if there is none."""
    if program:
        return program if os.access(program, os.X_OK) else ""
    for place in (*os.environ.get("PATH", "").split(":"), *PLACES):
        if place.startswith("/") and os.access(f"{place}/{PROGRAM}", os.X_OK):
            return f"{place}/{PROGRAM}"
    return ""


def serve(snapshot: Snapshot, program: str, owners: IdMap | None) -> None:
    """Make the snapshot's overlay one that the program serves.

    owners: ids in the image, and those of the store's user namespace that stand for them.
    """
    found = find(program)
    if not found:
        raise UnsupportedError(
            f"cannot use {program or PROGRAM}",
            "there is no such program" if program else "it is not installed",
            "install the package fuse-overlayfs",
        )
    mount = snapshot["mounts"].pop()
    options = ["lowerdir=" + ":".join(mount["lower"]), "noacl"]
    if mount["upper"]:
        options += [f"upperdir={mount['upper']}", f"workdir={mount['work']}"]
    if owners is not None:
        options += [f"uidmapping={_text(owners.uids)}", f"gidmapping={_text(owners.gids)}"]
    snapshot["helpers"].append({"argv": [found, "-f", "-o", ",".join(options)]})


def _text(extents: Sequence[Extent]) -> str:
    """DISK:SHOWN:COUNT:... of fuse-overlayfs(1)."""
    return ":".join(f"{disk}:{shown}:{count}" for disk, shown, count in extents)


def sampan_storage_driver(context: DriverContext) -> FuseOverlay:
    return FuseOverlay(context.root_fd, context.idmap, context.options.get("program", ""))


def sampan_probe(context: DriverContext) -> Probe:
    from sampan_storage.probe import probe_fuse

    return probe_fuse(context)


def sampan_config() -> ConfigTable:
    return {"program": (str, "", "path of the program; empty: the first fuse-overlayfs of PATH")}
