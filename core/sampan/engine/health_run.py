"""healthcheck run: ask the container's monitor for a check."""

from __future__ import annotations

from sampan.engine.run import connect
from sampan.errors import InUseError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine


def run(engine: Engine, word: str) -> tuple[int, str]:
    """(exit code of the check, the container's health after it)."""
    container = engine.containers.get(word)
    if "health" not in container.record["options"]:
        raise UsageError(
            f"cannot check the health of {container.name}",
            "has no defined healthcheck",
            "run it with --health-cmd",
        )
    if not container.live:
        raise InUseError(
            f"cannot check the health of {container.name}",
            f"container is not running: it is {container.state}",
            f"sampan start {container.name}",
        )
    monitor = connect(engine, container)
    monitor.send({"kind": "healthcheck"})
    answer = monitor.receive()
    monitor.sock.close()
    if answer is None:
        raise InUseError(
            f"cannot check the health of {container.name}", "it has just ended", "start it again"
        )
    return int(answer["code"]), str(answer["status"])
