"""wait: until a container ends."""

from __future__ import annotations

import contextlib
import os
import time

from sampan.engine.run import connect
from sampan.engine.stop import await_record, is_stopping
from sampan.errors import InUseError, NotFoundError
from sampan.linux import messages, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.store.containers import Container


ENDS = {"exited", "stopped", "not-running"}
POLL_SECONDS = 0.05  # how soon a wait for another state than the end sees it


def wait(engine: Engine, word: str, conditions: list[str] | None = None) -> int | None:
    """Its exit code; None if nobody saw the end. A container that does not run answers at once."""
    container = engine.containers.get(word)
    if conditions and not ENDS & set(conditions):
        while not _meets(engine, container.id, set(conditions)):
            time.sleep(POLL_SECONDS)
        return -1
    while container.run:
        code = _told(engine, container) if container.live else None
        if code is not None:
            return code
        if container.state == "restarting":
            time.sleep(POLL_SECONDS)
        else:
            _await_end(container)
            await_record(engine, container)
        before = container.run
        ended = engine.containers.exit_record(container.id)
        if ended is None or (ended["started"] == before["started"] and not ended["restarting"]):
            return ended["code"] if ended else None
        container = engine.containers.get(container.id)
    return container.exit["code"] if container.exit else None


def _meets(engine: Engine, container_id: str, conditions: set[str]) -> bool:
    try:
        container = engine.containers.load(container_id)
    except NotFoundError:
        return bool(conditions & {"removed", "removing"})
    now = {container.state, container.health}
    if container.state == "created":
        now.add("configured")
    if container.live and is_stopping(engine, container):
        now.add("stopping")
    return bool(now & conditions)


def _told(engine: Engine, container: Container) -> int | None:
    """The code as the monitor tells it, which --rm cannot take away; None if it could not be asked."""
    try:
        monitor = connect(engine, container)
    except (InUseError, NotFoundError):
        return None
    with contextlib.closing(monitor.sock):
        if not messages.send(monitor.sock, {"kind": "wait"}):
            return None
        while (answer := monitor.receive()) is not None:
            if answer["kind"] == "exit" and not answer["again"]:
                return int(answer["code"])
    return None


def _await_end(container: Container) -> None:
    assert container.run is not None
    pidfd = processes.open_if_same(container.run["pid"], container.run["start_time"])
    if pidfd is not None:
        processes.ended(pidfd)
        os.close(pidfd)
