"""rm: a container, its snapshot and its name; works on a full disk."""

from __future__ import annotations

from sampan.errors import CorruptError, InUseError, NotFoundError
from sampan.linux import userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine


def remove(engine: Engine, word: str, *, force: bool = False, timeout: float = 0) -> str:
    """Remove one container; a running one only with force. Returns its id."""
    from sampan.engine import tidy
    from sampan.engine.stop import settled, stop

    container_id = engine.containers.find(word)
    name = key = driver_name = ""
    try:
        container = settled(engine, container_id)
        name = container.name
        key, driver_name = container.record["storage"]["key"], container.record["storage"]["driver"]
        if container.state == "running":
            if not force:
                raise InUseError(
                    f"cannot remove container {container_id} as it is running - running or paused "
                    "containers cannot be removed without force",
                    "container state improper",
                    exit_status=2,
                )
            stop(engine, container_id, timeout=timeout)
    except (NotFoundError, CorruptError):
        if not force:
            raise
        from sampan.engine.create import snapshot_key

        # What the damaged record does not tell follows from the id.
        key, driver_name = snapshot_key(container_id), engine.storage.name
    if key:
        driver = engine.driver("storage", driver_name)
        userns.run(engine.idmap, lambda: driver.remove(key))
    engine.containers.remove(container_id, name or None)
    tidy.tidy(engine)
    return container_id
