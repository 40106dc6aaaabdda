"""wait: until a container ends."""

from __future__ import annotations

import os
import select
import time

from sampan.engine.stop import await_record
from sampan.linux import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine


POLL_SECONDS = 0.05  # how soon a wait for another state than the end sees it


def wait(engine: Engine, word: str, conditions: list[str] | None = None) -> int | None:
    """Its exit code; None if nobody saw the end. A container that does not run answers at once."""
    container = engine.containers.get(word)
    if conditions and not {"exited", "stopped"} & set(conditions):
        wanted = {"created" if state == "configured" else state for state in conditions}
        while engine.containers.get(container.id).state not in wanted:
            time.sleep(POLL_SECONDS)
        return -1
    if container.run:
        pidfd = processes.open_if_same(container.run["pid"], container.run["start_time"])
        if pidfd is not None:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll()
            os.close(pidfd)
        await_record(engine, container)
    ended = engine.containers.exit_record(container.id)
    if ended is None or (container.run and ended["started"] != container.run["started"]):
        return None
    return ended["code"]
