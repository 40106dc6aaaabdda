"""A layer store in a temporary directory, for the user who runs the tests.

With subordinate ids both modes are tried: the user's own map, and one id alone.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sampan import files
from sampan.engine.surroundings import mount_snapshot
from sampan.linux import libc, mounts, userns
from sampan.linux.userns import IdMap
from sampan.model.contract import DriverContext
from sampan.store.layers import LayerSource, LayerStore
from sampan_storage import fuse_overlayfs, overlay, vfs
from tarmaker import E, digest, tar

Layer = bytes | Sequence[E | bytes]


class Store:
    """A store with a few short words for tests."""

    def __init__(self, path: Path, idmap: IdMap, name: str = "overlay") -> None:
        self.path, self.idmap, self.name = path, idmap, name
        self.root_fd = files.open_directory(str(path))
        self.driver_fd = files.open_directory(name, dir_fd=self.root_fd, create=True)
        make, options = DRIVERS[name]() if name in DRIVERS else (plain_driver(), {})
        context = DriverContext(self.driver_fd, str(path), idmap, options, lambda text: None)
        self.driver = make(context)
        self.layers = LayerStore(self.root_fd, self.driver, idmap)

    def sources(
        self, layers: Sequence[Layer], blobs: Sequence[bytes] | None = None
    ) -> list[LayerSource]:
        plain = [layer if isinstance(layer, bytes) else tar(*layer) for layer in layers]
        stored = blobs if blobs is not None else plain
        return [
            LayerSource(
                digest(data), digest(blob), "application/vnd.oci.image.layer.v1.tar", len(blob)
            )
            for data, blob in zip(plain, stored, strict=True)
        ]

    def unpack(
        self, *layers: Layer, blobs: Sequence[bytes] | None = None
    ) -> tuple[list[str], list[str]]:
        """Unpack a chain: its keys, bottom first, and the notices."""
        chain = self.sources(layers, blobs)
        stored = blobs if blobs is not None else [
            layer if isinstance(layer, bytes) else tar(*layer) for layer in layers
        ]  # fmt: skip
        with self.layers.unpacker(chain) as unpacker:
            for index in self.layers.missing(chain):
                with tempfile.TemporaryFile() as file:
                    file.write(stored[index])
                    file.flush()
                    unpacker.submit(index, file.fileno())
            notices = unpacker.finish()
        return self.layers.keys([source.diff_id for source in chain]), notices

    def view(self, keys: Sequence[str]) -> dict[bytes, Any]:
        """What a container on these layers sees: path -> node."""
        if self.name == "plain":
            whole = f"{self.name}/{keys[-1]}"
            top = files.open_directory(whole, dir_fd=self.root_fd) if keys else -1
            tree: dict[bytes, Any] = self.inside(lambda: scan(top) if keys else {})
            return tree
        snapshot = self.driver.prepare("c-view", keys, readonly=True)
        seen: dict[bytes, Any] = self.inside(lambda: scan(mounted(snapshot, self.path)))
        return seen

    def inside(self, action: Any) -> Any:
        """The value of an action that runs as root of the map, by pipe."""
        import pickle

        read_end, write_end = os.pipe()
        with open(read_end, "rb") as reader:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    reader.close()
                    userns.enter(self.idmap)
                    libc.unshare(libc.CLONE_NEWNS)
                    with open(write_end, "wb") as writer:
                        writer.write(pickle.dumps(action()))
                    status = 0
                except BaseException:
                    import traceback

                    traceback.print_exc()
                finally:
                    os._exit(status)
            os.close(write_end)
            data = reader.read()
        _, status = os.waitpid(pid, 0)
        assert status == 0
        return pickle.loads(data)

    def leftovers(self) -> list[str]:
        return [
            name
            for place in (self.name, f"layers/{self.name}")
            if (self.path / place).exists()
            for name in os.listdir(self.path / place)
            if name.startswith(files.TEMPORARY)
        ]

    def destroy(self) -> None:
        userns.run(self.idmap, lambda: files.remove_tree(self.root_fd, self.name))
        self.layers.close()
        os.close(self.driver_fd)
        os.close(self.root_fd)


class Node(tuple[Any, ...]):
    """(kind, mode, uid, gid, mtime in ns, content: bytes, link text, or None, attributes, first name of the file)."""

    kind = property(lambda self: self[0])
    mode = property(lambda self: self[1])
    owner = property(lambda self: self[2:4])
    mtime_ns = property(lambda self: self[4])
    content = property(lambda self: self[5])
    xattrs = property(lambda self: dict(self[6]))
    first = property(lambda self: self[7])


def mounted(snapshot: Any, place: Path) -> int:
    """A descriptor of the snapshot's root, mounted on a directory in this process's mount namespace."""
    os.umask(0o022)
    mounts.change_propagation("/", mounts.MS_PRIVATE)
    os.makedirs(place / "merged", exist_ok=True)
    target = os.open(place / "merged", os.O_PATH | os.O_DIRECTORY)
    mount_snapshot(snapshot, target)
    return os.open(place / "merged", os.O_RDONLY | os.O_DIRECTORY)


def scan(top: int) -> dict[bytes, Any]:
    found: dict[bytes, Any] = {}
    names: dict[int, bytes] = {}

    def visit(fd: int, prefix: bytes) -> None:
        for name in sorted(os.listdir(fd)):
            raw = os.fsencode(name)
            status = os.stat(raw, dir_fd=fd, follow_symlinks=False)
            kind = {
                stat.S_IFREG: "f", stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFIFO: "p",
                stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFSOCK: "s",
            }[stat.S_IFMT(status.st_mode)]  # fmt: skip
            content: bytes | None = None
            if kind == "f" and status.st_size < 1 << 20:
                with open(os.open(raw, os.O_RDONLY, dir_fd=fd), "rb") as file:
                    content = file.read()
            elif kind == "l":
                content = os.readlink(raw, dir_fd=fd)
            path = prefix + raw
            found[path] = Node(
                (
                    kind,
                    stat.S_IMODE(status.st_mode),
                    status.st_uid,
                    status.st_gid,
                    status.st_mtime_ns,
                    content,
                    attributes(fd, raw),
                    names.setdefault(status.st_ino, path) if kind == "f" else b"",
                )
            )
            if kind == "d":
                below = os.open(raw, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
                visit(below, path + b"/")
                os.close(below)

    visit(top, b"")
    return found


def attributes(fd: int, name: bytes) -> tuple[tuple[str, bytes], ...]:
    """What a container would see: not what drivers keep for themselves."""
    os.fchdir(fd)
    keys = [
        key
        for key in os.listxattr(name, follow_symlinks=False)
        if not key.startswith(("user.overlay.", "user.fuseoverlayfs."))
    ]
    return tuple((key, os.getxattr(name, key, follow_symlinks=False)) for key in sorted(keys))


def overlay_driver() -> Any:
    return overlay.sampan_storage_driver, {"fuse_program": ""}


def fuse_driver() -> Any:
    if not fuse_overlayfs.find("") or not os.access("/dev/fuse", os.W_OK):
        pytest.skip("fuse-overlayfs or /dev/fuse is not there")
    return fuse_overlayfs.sampan_storage_driver, {"program": ""}


def vfs_driver() -> Any:
    return vfs.sampan_storage_driver, {}


DRIVERS = {"overlay": overlay_driver, "fuse-overlayfs": fuse_driver, "vfs": vfs_driver}
MAPS = ["own", "single"]


def own_map() -> IdMap:
    return userns.default_map(os.getuid(), os.getgid())


def single_map() -> IdMap:
    return IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),))


def plain_driver() -> Any:
    """A driver whose layers are whole copies: the one that shows what strangers can write."""
    import importlib.util

    place = Path(__file__).parents[1] / "plugins" / "thirdparty" / "sampan_plain.py"
    spec = importlib.util.spec_from_file_location("sampan_plain", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.sampan_storage_driver


def make_store(path: Path, idmap: IdMap, name: str = "overlay") -> Store:
    if os.getuid() == 0:
        pytest.skip("the store of root belongs to other ids: run as an unprivileged user")
    path.mkdir(mode=0o700, exist_ok=True)
    return Store(path, idmap, name)


@pytest.fixture(params=[f"{driver}-{ids}" for driver in DRIVERS for ids in MAPS])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Every driver, in both id modes."""
    driver, _, ids = request.param.rpartition("-")
    idmap = own_map() if ids == "own" else single_map()
    if ids == "own" and idmap.single:
        pytest.skip("this user has no subordinate ids")
    made = make_store(tmp_path / "store", idmap, driver)
    yield made
    made.destroy()
