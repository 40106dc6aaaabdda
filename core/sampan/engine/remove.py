"""rm: a container, its snapshot and its name; works on a full disk."""

from __future__ import annotations

from sampan.engine import limits
from sampan.errors import CorruptError, InUseError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import StorageDriver
    from sampan.engine import Engine
    from sampan.model.container import Record


def remove(
    engine: Engine,
    word: str,
    *,
    force: bool = False,
    timeout: float = 0,
    volumes: bool = False,
    depend: bool = False,
) -> str:
    """Remove one container; a running one only with force. Returns its id.

    depend: with those that join its namespaces; without it and without force these keep it.
    volumes: with the volumes that were made for it without a name, unless another container has them.
    """
    from sampan.engine import events, tidy
    from sampan.engine.stop import settled, stop

    container_id = engine.containers.find(word)
    if depend or not force:
        others = dependents(engine, container_id)
        if others and not depend:
            raise InUseError(
                f"container {container_id} has dependent containers which must be removed before it: "
                f"{', '.join(others)}",
                "they join its namespaces",
                "--depend removes them too",
            )
        for other in others:
            remove(engine, other, force=True, timeout=timeout, volumes=volumes, depend=True)
    name = ""
    record: Record | None = None
    doomed: list[tuple[str, str]] = []  # storage driver, key
    mounts: list[dict[str, Any]] = []
    try:
        container = settled(engine, container_id)
        name, record = container.name, container.record
        doomed = snapshots_of(container.record)
        mounts = container.record["options"]["mounts"]
        if container.run:
            if not force:
                raise InUseError(
                    f"cannot remove container {container_id} as it is running - running or paused "
                    "containers cannot be removed without force",
                    "container state improper",
                    exit_status=2,
                )
            stop(engine, container_id, timeout=timeout)
        limits.sweep(engine, container_id)
    except (NotFoundError, CorruptError):
        if not force:
            raise
        from sampan.engine.create import snapshot_key

        # What the damaged record does not tell follows from the id.
        doomed = [(engine.storage.name, snapshot_key(container_id))]
    if doomed:
        remove_snapshots(engine, doomed)
    engine.containers.remove(container_id, name or None)
    if record is not None:
        events.of_container(engine, record, "remove")
    if volumes and mounts:
        from sampan.engine.volumes import drop
        from sampan.model.mounts import volumes as names

        drop(engine, names(mounts))
    tidy.tidy(engine)
    return container_id


def dependents(engine: Engine, container_id: str) -> list[str]:
    """The ids of the containers that join namespaces of this one."""
    found: list[str] = []
    for other in engine.containers.joined_by(container_id):
        try:
            options = engine.containers.load(other).record["options"]
        except (NotFoundError, CorruptError):
            continue  # it is gone
        from sampan.model.isolation import shared

        if container_id in shared(options).values():
            found.append(other)
    return found


def snapshots_of(record: Record) -> list[tuple[str, str]]:
    """(storage driver, key) of a container's snapshots: its root, and the images that it mounts."""
    found = [(record["storage"]["driver"], record["storage"]["key"])]
    if record["options"]["mounts"]:
        from sampan.model.mounts import snapshots

        found += snapshots(record["options"]["mounts"])
    return found


def remove_snapshots(engine: Engine, doomed: list[tuple[str, str]]) -> None:
    """Remove snapshots, given by storage driver and key."""
    for name, key in doomed:
        driver: StorageDriver = engine.driver("storage", name)
        if "removes-as-user" in driver.features:
            driver.remove(key)
        else:
            _remove_as_root(engine, driver, key)


def _remove_as_root(engine: Engine, driver: StorageDriver, key: str) -> None:
    from sampan.linux import userns

    userns.run(engine.idmap, lambda: driver.remove(key))
