"""pause and unpause: a container's processes stand still until somebody lets them go on.

A control group is frozen.  Without one they are stopped by SIGSTOP, until a look finds no new one.  A note in the
run directory names the run that is paused, so the state is derived: with the run the pause is over.
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
    from sampan.drivers import CgroupManager
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
        hold(engine, container)
    except BaseException:
        files.unlink(directory, PAUSED)
        release(engine, container)
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
    release(engine, container)
    files.unlink(engine.containers.run_fd, f"{container.id}/{PAUSED}")


def hold(engine: Engine, container: Container) -> None:
    """By the control group if the run has one, else by SIGSTOP."""
    if _frozen(engine, container, True):
        return
    joined.call(container, lambda: stop_all(container))


def release(engine: Engine, container: Container) -> None:
    if _frozen(engine, container, False):
        return
    joined.call(container, lambda: end_stop(container))


def _frozen(engine: Engine, container: Container, wanted: bool) -> bool:
    """Freeze or thaw the run's control group; False if it has none."""
    cgroup = container.run.get("cgroup") if container.run else ""
    if not cgroup or container.run is None:
        return False
    driver: CgroupManager = engine.driver("cgroup", container.run.get("cgroup_manager", ""))
    driver.freeze(cgroup, wanted)
    return True
