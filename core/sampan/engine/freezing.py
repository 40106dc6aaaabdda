"""pause and unpause: a container's processes stand still until somebody lets them go on.

Without a control group they are stopped by SIGSTOP, until a look finds no new one.  A note in the run directory names
the run that is paused, so the state is derived: with the run the pause is over.
"""

from __future__ import annotations

import os

from sampan import files
from sampan.engine import events, joined
from sampan.engine.pause import end_stop, stop_all
from sampan.errors import InUseError
from sampan.store.containers import PAUSED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.store.containers import Container


def pause(engine: Engine, word: str) -> str:
    """Stop a running container's processes; returns its id."""
    container = engine.containers.get(word)
    if container.state != "running":
        raise InUseError(
            f"cannot pause container {container.id}",
            f"{container.state!r} is not running, can't pause: container state improper",
        )
    assert container.run is not None
    directory = files.open_directory(container.id, dir_fd=engine.containers.run_fd)
    try:  # first the note: who looks while they are being stopped sees what is meant
        files.write_atomic(directory, PAUSED, container.run["started"].encode(), sync=False)
        hold(container)
    except BaseException:
        files.unlink(directory, PAUSED)
        release(container)
        raise
    finally:
        os.close(directory)
    events.of_container(engine, container.record, "pause")
    return container.id


def unpause(engine: Engine, word: str) -> str:
    """Let a paused container go on; returns its id."""
    container = engine.containers.get(word)
    if container.state != "paused":
        raise InUseError(
            f"cannot unpause container {container.id}",
            f"{container.name!r} is not paused, can't unpause: container state improper",
        )
    resume(engine, container)
    events.of_container(engine, container.record, "unpause")
    return container.id


def resume(engine: Engine, container: Container) -> None:
    """Let its processes go on, and forget that they were stopped."""
    release(container)
    files.unlink(engine.containers.run_fd, f"{container.id}/{PAUSED}")


def hold(container: Container) -> None:
    joined.call(container, lambda: stop_all(container))


def release(container: Container) -> None:
    joined.call(container, lambda: end_stop(container))
