"""A container's files as the container sees them, volumes and bind mounts included: for `cp`.

Of a running container a child joins its user and mount namespaces; of another one the child mounts the snapshot
and what the record says in a mount namespace of its own.  Nothing of the container is executed or imported there
(CVE-2019-14271): what the child needs is loaded before, and it cannot load more.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

from sampan.engine import idmaps, mounted
from sampan.engine.volumes import driver_of
from sampan.errors import InUseError
from sampan.linux import libc, mounts, paths, processes
from sampan.model.mounts import is_readonly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.engine import Engine
    from sampan.model.mounts import Mount
    from sampan.store.containers import Container


def inside(
    engine: Engine, container: Container, path: str, produce: Callable[[int, int], object]
) -> mounted.Reading:
    """A child that has the container's root, for what is at `path`: `produce(root, out)`.

    Its ids are those that the container sees if it is running or has no map of its own, else the store's.
    """
    if container.live:
        return _running(container, produce)
    if container.state == "restarting":
        raise InUseError(f"cannot reach container {container.name}", "it is being restarted", "try again")  # fmt: skip
    from sampan.engine.run import prepare_again

    snapshot = prepare_again(engine, container.record)

    def with_volumes(roots: list[int], out: int) -> None:
        _mount_volumes(engine, container, path, roots[0])
        produce(roots[0], out)

    return mounted.snapshots(engine, [snapshot], with_volumes)


def _running(container: Container, produce: Callable[[int, int], object]) -> mounted.Reading:
    run = container.run
    assert run is not None
    pidfd = processes.open_if_same(run["pid"], run["start_time"])
    if pidfd is None:
        raise InUseError(f"cannot reach container {container.name}", "it has just ended", "try again")  # fmt: skip

    def child(out: int) -> None:
        libc.prctl(libc.PR_SET_DUMPABLE, 0)
        libc.setns(pidfd, libc.CLONE_NEWUSER)
        idmaps.become_root(container.record)
        processes.die_with_parent()
        libc.setns(pidfd, libc.CLONE_NEWNS)
        os.close(pidfd)
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder]
        produce(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), out)

    reading = mounted.Reading(child)
    os.close(pidfd)
    return reading


def _needed(mounted: list[Mount], path: str) -> list[Mount]:
    """A directory before what lies in it; of those around the path only the innermost, for each makes mount points."""
    ordered = sorted(mounted, key=lambda mount: mount["destination"].rstrip("/").count("/"))
    around = [m for m in ordered if f"{path}/".startswith(f"{m['destination'].rstrip('/')}/")]
    if not around:  # a link of the container may lead to any of them
        return ordered
    below = [m for m in ordered if m["destination"].startswith(f"{path.rstrip('/')}/")]
    return [around[-1], *below]


def _mount_volumes(engine: Engine, container: Container, path: str, root: int) -> None:
    """Mount the volumes and paths of the host on the tree `root`."""
    wanted = [m for m in container.record["options"]["mounts"] if m["type"] in ("bind", "volume")]
    for mount in _needed(wanted, path):
        if mount["type"] == "bind":
            tree = mounts.clone_path(mount["source"])
        else:
            volume = engine.volumes.get(mount["name"])
            tree = driver_of(engine, volume).mount(volume)
            os.close(volume.fd)
            if mount["subpath"]:
                part = paths.open_in_root(tree, mount["subpath"])
                os.close(tree)
                tree = mounts.clone_tree(part)
                os.close(part)
        if is_readonly(mount):
            mounts.set_attributes(tree, mounts.RDONLY)
        target = paths.make_mount_point(
            root, mount["destination"], directory=paths.is_directory(tree)
        )
        mounts.move(tree, target)
        os.close(target)
        os.close(tree)


def kernel_devices(root: int) -> frozenset[int]:
    """st_dev of what the kernel and the engine mount in every container: nothing of it is the container's data."""
    own = os.fstat(root).st_dev
    found: set[int] = set()
    for path in ("proc", "sys", "sys/fs/cgroup", "dev", "dev/pts", "dev/shm", "dev/mqueue"):
        try:
            fd = paths.open_in_root(root, path)
        except OSError:
            continue
        found.add(os.fstat(fd).st_dev)
        os.close(fd)
    return frozenset(found - {own})
