"""What killed creators and removers have left: the next one to write takes it away."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.model.container import Record


def tidy(engine: Engine) -> None:
    """Remove abandoned drafts of containers and volumes, with their snapshots and names; usually there are none."""
    for name, record in engine.containers.abandoned():
        if record:
            _remove_snapshot(engine, record)
        engine.containers.discard(name, record)
    if engine.has_volumes() and engine.volumes.abandoned():
        from sampan.engine import volumes

        volumes.tidy(engine)


def builds(engine: Engine) -> None:
    """Remove the containers of builders that were killed: while a command runs its monitor does so, but not after."""
    from sampan.engine.remove import remove
    from sampan.errors import NotFoundError
    from sampan.linux import processes

    for container in engine.containers.all(builds=True):
        process = container.record.get("builder")
        if process and processes.start_time(process[0]) != process[1]:
            try:
                remove(engine, container.id, force=True)
            except NotFoundError:
                continue  # by somebody else


def _remove_snapshot(engine: Engine, record: Record) -> None:
    from sampan.engine.remove import remove_snapshots, snapshots_of

    remove_snapshots(engine, snapshots_of(record))
