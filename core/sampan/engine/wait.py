"""wait: until a container ends."""

from __future__ import annotations

import os
import select

from sampan.engine.stop import settle
from sampan.linux import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine


def wait(engine: Engine, word: str) -> int | None:
    """Its exit code; None if nobody saw the end. A container that does not run answers at once."""
    container = engine.containers.get(word)
    if container.run:
        pidfd = processes.open_if_same(container.run["pid"], container.run["start_time"])
        if pidfd is not None:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll()
            os.close(pidfd)
        settle(engine, container)
    ended = engine.containers.exit_record(container.id)
    if ended is None or (container.run and ended["started"] != container.run["started"]):
        return None
    return ended["code"]
