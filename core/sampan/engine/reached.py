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
from sampan.engine.placed import place
from sampan.errors import InUseError
from sampan.linux import libc, mounts, paths, processes
from sampan.model import users
from sampan.model.mounts import PLACE, is_placed, is_readonly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.engine import Engine
    from sampan.model.container import Record
    from sampan.model.mount import Snapshot
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
    from sampan.engine.mounting import prepare
    from sampan.engine.run import prepare_again

    held = mounted.hold(engine, container)
    snapshot = prepare_again(engine, container.record)
    images = prepare(engine, container.record)

    def furnished(roots: list[int], out: int) -> None:
        # What was opened in another mount namespace cannot be mounted here: so the engine opens it again.
        here = type(engine)(engine.settings, engine.idmap, engine.plugins)
        _furnish(here, container.record, path, roots[0], images)
        produce(roots[0], out)

    reading = mounted.snapshots(engine, [snapshot], furnished)
    os.close(held)
    return reading


def _running(container: Container, produce: Callable[[int, int], object]) -> mounted.Reading:
    run = container.run
    assert run is not None
    pidfd = processes.open_if_same(run["pid"], run["start_time"])
    if pidfd is None:
        raise InUseError(f"cannot reach container {container.name}", "it has just ended", "try again")  # fmt: skip

    def child(out: int) -> None:
        idmaps.join(container.record, pidfd)
        processes.die_with_parent()
        libc.setns(pidfd, libc.CLONE_NEWNS)
        os.close(pidfd)
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder]
        produce(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), out)

    reading = mounted.Reading(child)
    os.close(pidfd)
    return reading


def _needed(wanted: list[Mount], path: str) -> list[int]:
    """The numbers of the mounts that concern a path, a directory before what lies in it.

    Of those around the path only the innermost does: each of the others would get a mount point in it.
    """
    ordered = sorted(range(len(wanted)), key=lambda n: _place_of(wanted[n]).count("/"))
    around = [n for n in ordered if f"{path}/".startswith(f"{_place_of(wanted[n])}/")]
    if not around:  # a link of the container may lead to any of them
        return ordered
    below = [n for n in ordered if _place_of(wanted[n]).startswith(f"{path.rstrip('/')}/")]
    return [around[-1], *(n for n in below if n != around[-1])]


def _place_of(mount: Mount) -> str:
    return str(mount["destination"]).rstrip("/")


def _furnish(
    engine: Engine, record: Record, path: str, root: int, images: dict[str, Snapshot]
) -> None:
    """Mount on the tree `root` what a start would mount; a volume that is new gets its content from the image."""
    wanted: list[Mount] = [
        {**mount, "copy": False} if mount["type"] == "tmpfs" else mount
        for mount in record["options"]["mounts"]
    ]
    if not wanted:
        return
    top = f"{engine.settings.run_dir}/{mounted.PLACE}"
    os.mkdir(f"{top}/bundle", 0o700)
    bundle = os.open(f"{top}/bundle", paths.O_PATH | os.O_DIRECTORY)
    needed = _needed(wanted, path)
    concerned = [mount if n in needed else {"type": "none"} for n, mount in enumerate(wanted)]
    place(engine, bundle, root, user_of(engine, record, root), concerned, images)
    for number in needed:
        mount = wanted[number]
        if is_placed(mount):
            tree = mounts.clone_path(f"{PLACE}/{number}", dir_fd=bundle)
        elif mount["type"] == "bind":
            tree = mounts.clone_path(mount["source"], recursive="rbind" in mount["options"])
        elif mount["type"] == "tmpfs" and not record["options"]["mounts"][number].get("copy"):
            # What were copied here would be hidden by the tmpfs of the start.
            tree = mounts.new("tmpfs", [("size", "4096")], mounts.RDONLY)
        else:
            continue
        if is_readonly(mount):
            mounts.set_attributes(tree, mounts.RDONLY)
        target = paths.make_mount_point(
            root, mount["destination"], directory=paths.is_directory(tree)
        )
        mounts.move(tree, target)
        os.close(target)
        os.close(tree)
    os.close(bundle)


def user_of(engine: Engine, record: Record, root: int, *, live: bool = False) -> tuple[int, int]:
    """The container's user by its own files, as the child sees the ids."""
    own = idmaps.of_record(record)
    user = users.resolve(
        record["options"]["user"],
        paths.read_in_root(root, "/etc/passwd"),
        paths.read_in_root(root, "/etc/group"),
        [],
        gid_count=(own or engine.idmap).gid_count(),
    )
    return own.outside(user.uid, user.gid) if own and not live else (user.uid, user.gid)


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
