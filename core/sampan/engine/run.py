"""start: a container's record becomes a running container under a monitor."""

from __future__ import annotations

import os

from sampan.engine import limits
from sampan.errors import InUseError, SampanError
from sampan.linux import sockets
from sampan.model import isolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.engine.spawn import Spawned
    from sampan.model.container import Record, RunOptions
    from sampan.model.mount import Snapshot
    from sampan.store.containers import Container


def prepare(engine: Engine, spawned: Spawned, network: str) -> None:
    """Tell the waiting monitor which drivers it will most likely need.

    `ready` must be awaited before anything is created for it.
    """
    settings = engine.settings
    drivers = [("runtime", settings.runtime), ("network", network)]
    spawned.send({"kind": "prepare", "plugins": engine.plugins.rows(), "drivers": drivers})


def ready(spawned: Spawned) -> None:
    """The monitor has its namespaces, or its error is raised: nothing has been made yet."""
    spawned.expect("ready")


def at_home(engine: Engine, spawned: Spawned, options: RunOptions) -> Spawned:
    """The monitor, or one that is born elsewhere: among the containers that it joins, or in its networks' namespace."""
    if isolation.shared(options):
        from sampan.engine import sharing

        return sharing.respawn(engine, spawned, options)
    born = _born(engine, options)
    if born is None:
        return spawned
    spawned.sock.close()
    return born


def monitor(engine: Engine, options: RunOptions) -> Spawned:
    """The monitor of a container that joins no other one."""
    from sampan.engine.spawn import spawn

    return _born(engine, options) or spawn(engine.idmap)


def _born(engine: Engine, options: RunOptions) -> Spawned | None:
    """A monitor in the user namespace that its network asks for, if it does."""
    if options["network"].startswith(isolation.PATH):
        from sampan.engine import joinednet
        from sampan.engine.spawn import spawn

        return spawn(engine.idmap, enter=joinednet.owner(options["network"]))
    if "networks" not in options:
        return None
    home = engine.network(options["network"]).home()
    if home < 0:
        return None
    from sampan.engine.spawn import spawn

    found = spawn(engine.idmap, nest=home)
    os.close(home)
    return found


def start(
    engine: Engine,
    spawned: Spawned,
    record: Record,
    snapshot: Snapshot | None = None,
    *,
    attach: list[int] | None = None,
    preserve: list[int] | None = None,
    size: tuple[int, int] | None = None,
    leash: bool = False,
) -> int:
    """Send the plan to the waiting monitor; returns the pid of the container's first process.

    attach: the descriptors of stdin, stdout, stderr that the container's streams are connected to.
    leash: the container is killed, and removed, when this process is gone.
    """
    if snapshot is None:
        snapshot = prepare_again(engine, record)
    settings = engine.settings
    plan: dict[str, Any] = {
        "kind": "run",
        "directory": f"{settings.root}/containers/{record['id']}",
        "bundle": engine.containers.run_directory(record["id"]),
        "snapshot": snapshot,
        "settings": settings.values,
        "tables": settings.tables,
        "plugins": engine.plugins.rows(),
        "attach": attach is not None,
        "size": size,
        "leash": leash,
    }
    if record["options"]["mounts"]:
        from sampan.engine import mounting

        plan["images"] = mounting.prepare(engine, record)
    try:
        if "networks" in record["options"]:
            from sampan.engine import networks

            plan["networks"] = networks.told(engine, record)
        if "ports" in record["options"]:
            from sampan.engine import publish

            publish.check(engine, record["options"], record["id"])
        plan |= limits.place(engine, record, spawned.pid)
    except SampanError:
        if record["options"]["rm"]:
            from sampan.engine.remove import remove

            remove(engine, record["id"], force=True)
        raise
    spawned.send(plan, [*(attach or []), *(preserve or [])])
    return int(spawned.expect("started")["pid"])


def prepare_again(engine: Engine, record: Record) -> Snapshot:
    """The snapshot of a container that was created before."""
    from sampan.engine import idmaps, unpack

    storage = record["storage"]
    driver = engine.driver("storage", storage["driver"])
    owners = idmaps.owners(engine, record)
    return unpack.prepare(driver, storage["key"], storage["chain"], owners)


def connect(engine: Engine, container: Container) -> Spawned:
    """The monitor of a running container."""
    from sampan.engine.spawn import Spawned

    assert container.run is not None
    path = engine.containers.run_directory(container.id)
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return Spawned(container.run["monitor"], sockets.connect(fd, "attach"))
    except OSError as error:
        raise InUseError(
            f"cannot reach the monitor of container {container.id[:12]}", error.strerror or ""
        ) from None
    finally:
        os.close(fd)
