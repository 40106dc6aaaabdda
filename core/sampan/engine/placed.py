"""In the monitor: what a container mounts that is no path of the host is mounted in its bundle.

`mounts/` of the bundle is a tmpfs, so that one unmount takes everything away.  The runtime binds `mounts/N`.

A volume that is empty gets what the image has at its mount point, as with Docker, with owners, modes, times and
attributes, and the directory's own.  The source is resolved inside the container's root once, the target is a
descriptor, and nothing is followed.  It happens under the volume's lock, so of two containers that start at once one
copies; a note (`copying`) stands until all is there, and a copy that was interrupted is taken away by the next user.
"""

from __future__ import annotations

import errno
import os
import stat

from sampan import files
from sampan.errors import SampanError, UnsupportedError, from_os_error
from sampan.linux import mounts, paths
from sampan.model.mounts import PLACE, is_placed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.linux.fuse import Server
    from sampan.model.mount import Snapshot
    from sampan.model.mounts import Mount
    from sampan.model.volume import Volume

PATIENCE = 600.0  # seconds that another container may take to copy
COPYING, COPIED, USED = "copying", "copied", "used"
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Placer:
    """Mounts what is asked for; `servers` are the programs that serve snapshots.

    owner: the uid and gid of the container's user, as this process sees them.
    """

    def __init__(self, engine: Engine, bundle_fd: int, root: int, owner: tuple[int, int]) -> None:
        self._engine, self._root, self._owner = engine, root, owner
        self._bundle = bundle_fd
        self._place = -1
        self.servers: list[Server] = []

    def run(self, wanted: list[Mount], snapshots: dict[str, Snapshot]) -> None:
        if any(map(is_placed, wanted)):
            self._make_place()
        for number, mount in enumerate(wanted):
            if is_placed(mount):
                self._mount(str(number), mount, snapshots)
            elif mount.get("chown"):
                fd = os.open(mount["source"], paths.O_PATH)
                self._chown(fd, mount["destination"])
                os.close(fd)
        if self._place >= 0:
            os.close(self._place)

    def _make_place(self) -> None:
        target = files.open_directory(PLACE, dir_fd=self._bundle, create=True)
        tmpfs = mounts.new(
            "tmpfs", [("size", "1m"), ("mode", "700")], mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
        )
        mounts.move(tmpfs, target)
        os.close(target)
        self._place = tmpfs

    def _mount(self, number: str, mount: Mount, snapshots: dict[str, Snapshot]) -> None:
        subpath = mount.get("subpath") or ""
        name = f"{number}.whole" if subpath else number
        os.mkdir(name, 0o700, dir_fd=self._place)
        target = os.open(name, paths.O_PATH | os.O_DIRECTORY, dir_fd=self._place)
        if mount["type"] == "image":
            from sampan.engine import surroundings

            self.servers += surroundings.mount_snapshot(snapshots[number], target)
            tree = os.open(name, paths.O_PATH | os.O_DIRECTORY, dir_fd=self._place)
        elif mount["type"] == "tmpfs":
            tree = mounts.new("tmpfs", _data(mount["options"]))
            mounts.move(tree, target)
            self._copy(tree, mount["destination"])
        else:
            tree = self._volume(mount, target)
        os.close(target)
        if subpath:
            tree = self._narrow(tree, subpath, number, mount)
        if mount.get("chown"):
            self._chown(tree, mount["destination"])
        os.close(tree)

    def _volume(self, mount: Mount, target: int) -> int:
        from sampan.engine.volumes import driver_of

        volume = self._engine.volumes.get(mount["name"])
        tree = driver_of(self._engine, volume).mount(volume)
        mounts.move(tree, target)
        try:
            self._fill(volume, tree, mount)
        finally:
            os.close(volume.fd)
        return tree

    def _fill(self, volume: Volume, tree: int, mount: Mount) -> None:
        """The image's content, if the volume has none; nobody sees half of it."""
        from sampan.store.locks import lock

        store = self._engine.volumes
        if os.fstatvfs(tree).f_flag & os.ST_RDONLY:
            return
        held = os.open(
            "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=volume.fd
        )
        try:
            lock(held, f"volume {volume.name}", timeout=PATIENCE)
            if store.noted(volume, COPYING):
                _empty(tree)
                files.unlink(volume.fd, COPYING)
            if mount["copy"] and not mount["subpath"] and not _names(tree):
                source = self._source(mount["destination"])
                if source >= 0:
                    store.note(volume, COPYING)
                    self._copy_from(source, tree, mount["destination"])
                    files.unlink(volume.fd, COPYING)
                    if _names(tree):
                        store.note(volume, COPIED)
            if not store.noted(volume, USED):
                store.note(volume, USED)
        finally:
            os.close(held)

    def _source(self, path: str) -> int:
        """The directory that the container's root has there; -1 if it has none."""
        try:
            return paths.open_in_root(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return -1
            raise

    def _copy(self, tree: int, path: str) -> None:
        source = self._source(path)
        if source >= 0:
            self._copy_from(source, tree, path)

    def _copy_from(self, source: int, tree: int, path: str) -> None:
        from sampan.linux.clone import Cloner

        target = paths.openat2(tree, ".", _LIST, paths.RESOLVE_BENEATH)
        try:
            Cloner(source, target).run()
        except OSError as error:
            raise from_os_error(f"cannot copy {path} of the image into the volume", error) from None
        finally:
            os.close(source)
            os.close(target)

    def _narrow(self, tree: int, subpath: str, number: str, mount: Mount) -> int:
        """A mount of what lies at the subpath: resolved in the volume as in a root, so that no link leads out."""
        try:
            found = paths.open_in_root(tree, subpath)
        except OSError as error:
            raise SampanError(
                f"cannot mount {subpath} of {mount.get('name') or mount.get('source')}",
                error.strerror or str(error),
                "it must exist before",
            ) from None
        part = mounts.clone_tree(found)
        os.close(tree)
        if paths.is_directory(found):
            os.mkdir(number, 0o700, dir_fd=self._place)
        else:
            files.write_atomic(self._place, number, b"", sync=False)
        os.close(found)
        target = os.open(number, paths.O_PATH | os.O_NOFOLLOW, dir_fd=self._place)
        mounts.move(part, target)
        os.close(target)
        return part

    def _chown(self, tree: int, path: str) -> None:
        """`U`: everything becomes the container's user's, unless the top is already (podman's rule)."""
        owner = self._owner
        status = os.fstat(tree)
        if (status.st_uid, status.st_gid) == owner:
            return
        try:
            if stat.S_ISDIR(status.st_mode):
                _chown_below(tree, owner)
            os.chown(f"/proc/self/fd/{tree}", *owner)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise UnsupportedError(
                    f"cannot give {path} to {owner[0]}:{owner[1]}",
                    "your user has no such ids in containers",
                    "an administrator can grant some in /etc/subuid and /etc/subgid",
                ) from None
            raise from_os_error(f"cannot give {path} to {owner[0]}:{owner[1]}", error) from None


def _chown_below(tree: int, owner: tuple[int, int]) -> None:
    top = paths.openat2(tree, ".", _LIST, paths.RESOLVE_BENEATH)
    todo = [b""]
    while todo:
        path = todo.pop()
        fd = paths.openat2(
            top, path or b".", _LIST, paths.RESOLVE_BENEATH | paths.RESOLVE_NO_SYMLINKS
        )
        for name in map(os.fsencode, os.listdir(fd)):
            os.chown(name, *owner, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
                todo.append(path + b"/" + name if path else name)
        os.close(fd)
    os.close(top)


def _names(tree: int) -> list[str]:
    fd = paths.openat2(tree, ".", _LIST, paths.RESOLVE_BENEATH)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)


def _empty(tree: int) -> None:
    fd = paths.openat2(tree, ".", _LIST, paths.RESOLVE_BENEATH)
    for name in os.listdir(fd):
        files.remove_tree(fd, name)
    os.close(fd)


def _data(options: list[str]) -> list[tuple[str, str | None]]:
    """The file system's own options; its flags are the runtime's."""
    pairs = [option.partition("=") for option in options]
    return [(key, value) for key, equals, value in pairs if equals]


def place(
    engine: Engine,
    bundle_fd: int,
    root: int,
    owner: tuple[int, int],
    wanted: list[Mount],
    snapshots: dict[str, Any],
) -> list[Server]:
    """Mount it; returns the programs that serve snapshots, which end when these are unmounted."""
    placer = Placer(engine, bundle_fd, root, owner)
    placer.run(wanted, snapshots)
    return placer.servers
