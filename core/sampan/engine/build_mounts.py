"""What is mounted while a build's command runs: the mounts of a container, out of those of the contract."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os

from sampan import files
from sampan.engine import mounted, pack, unpack
from sampan.errors import NotFoundError, UnsupportedError
from sampan.linux import paths, userns
from sampan.linux.clone import Cloner
from sampan.model.layer import layer_keys
from sampan.store import cachemounts, locks
from sampan.store.layers import LayerSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable, Iterator, Sequence

    from sampan.drivers import Layers, RunMount
    from sampan.engine import Engine
    from sampan.model.mount import Snapshot
    from sampan.model.mounts import Mount
    from sampan.store.cachemounts import CacheMounts

PATIENCE = 86400.0  # seconds that another step may have a locked one


def make(
    engine: Engine,
    wanted: Sequence[RunMount],
    held: contextlib.ExitStack,
    say: Callable[[str], None],
) -> Iterator[Mount]:
    """The container's mounts; `held` keeps what must not be touched by others meanwhile."""
    for mount in wanted:
        if mount.kind == "layers":
            yield _layers(engine, mount)
        elif mount.kind == "tmpfs":
            size = [f"size={mount.size}"] if mount.size else []
            yield {
                "type": "tmpfs",
                "destination": mount.target,
                "options": ["nosuid", "nodev", *size],
            }
        elif mount.kind == "socket":
            yield _bind(mount.source, mount.target)
        elif mount.kind == "cache":
            yield _cache(engine, mount, held, say)
        elif mount.kind != "file":
            raise UnsupportedError(
                f"a mount of the kind {mount.kind!r}", "", "see sampan.drivers.build.RunMount"
            )


def _bind(source: str, target: str, *more: str) -> Mount:
    return {
        "type": "bind",
        "source": source,
        "destination": target,
        "options": ["rbind", "rprivate", "nosuid", "nodev", *more],
    }


def snapshot_of(engine: Engine, layers: Layers) -> Snapshot:
    """A read-only snapshot of a chain, which is unpacked if it is not."""
    keys = layer_keys([layer.diff_id for layer in layers])
    key = f"b{os.urandom(8).hex()}"
    try:
        return unpack.prepare(engine.storage, key, keys, None, readonly=True)
    except NotFoundError:
        pack.unpack(engine, [LayerSource(*layer) for layer in layers])
        return unpack.prepare(engine.storage, key, keys, None, readonly=True)


def _layers(engine: Engine, mount: RunMount) -> Mount:
    pack.unpack(engine, [LayerSource(*layer) for layer in mount.layers])
    return {
        "type": "image",
        "source": "build",
        "destination": mount.target,
        "subpath": mount.source.strip("/"),
        "options": ["ro" if mount.readonly else "rw", "nosuid", "nodev"],
        "id": "",
        "driver": engine.storage.name,
        "chain": layer_keys([layer.diff_id for layer in mount.layers]),
    }


def _cache(
    engine: Engine, mount: RunMount, held: contextlib.ExitStack, say: Callable[[str], None]
) -> Mount:
    """A directory that lasts.  It is made in the store's user namespace, where its owner is known."""
    place = cachemounts.make_mounts(engine.root_fd)
    held.callback(place.close)
    key = _lock(place, mount, held, say)
    if not place.use(key):
        draft = files.temporary_name()
        try:
            userns.run(engine.idmap, lambda: _directory(place.fd, draft, mount))
            if mount.layers:
                _fill(engine, mount, place.fd, draft)
            place.add(key, draft, f"cache mount {mount.target}")
        except BaseException:
            userns.run(engine.idmap, lambda: files.remove_tree(place.fd, draft))
            raise
    access = ["ro"] if mount.readonly else []
    return _bind(f"{files.path_of(place.fd)}/{key}", mount.target, *access)


def _lock(
    place: CacheMounts, mount: RunMount, held: contextlib.ExitStack, say: Callable[[str], None]
) -> str:
    """The key of the directory that may be used now: the mount's, or of a private one that nobody has."""
    key = mount.key
    for number in itertools.count(1):
        fd = place.lock(key)
        held.callback(os.close, fd)
        if mount.sharing != "private":
            what, shared = f"cache mount {mount.target}", mount.sharing == "shared"
            locks.lock(fd, what, shared=shared, timeout=PATIENCE, note=say)
            break
        if locks.try_lock(fd):
            break
        key = hashlib.sha256(f"{mount.key} {number}".encode()).hexdigest()
    return key


def _directory(place: int, name: str, mount: RunMount) -> None:
    os.mkdir(name, 0o700, dir_fd=place)
    try:
        os.chown(name, mount.uid, mount.gid, dir_fd=place)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise UnsupportedError(
            f"cannot give the cache mount {mount.target} to {mount.uid}:{mount.gid}",
            "your user has no such ids in containers",
            "an administrator can grant some in /etc/subuid and /etc/subgid",
        ) from None
    os.chmod(name, mount.mode, dir_fd=place)


def _fill(engine: Engine, mount: RunMount, place: int, name: str) -> None:
    """What a new one begins with: the files of a stage or an image."""

    def produce(roots: list[int], out: int) -> None:
        source = paths.open_in_root(roots[0], mount.source or "/", os.O_RDONLY | os.O_DIRECTORY)
        Cloner(source, files.open_directory(name, dir_fd=place)).run()

    with mounted.snapshots(engine, [snapshot_of(engine, mount.layers)], produce) as reading:
        reading.finish()
