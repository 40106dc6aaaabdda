"""sampan restart."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import each
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse
from sampan.errors import InUseError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine.spawn import Spawned

VERB = Verb(
    "restart",
    "Stop containers and start them again",
    "CONTAINER [CONTAINER...]",
    [
        Option("--all -a", FLAG, "Restart all containers"),
        Option("--cidfile", LIST, "Read the container's id from a file", "FILE"),
        Option("--filter -f", LIST, "Only what matches", "KEY=VALUE"),
        Option("--latest -l", FLAG, "The container that was created last"),
        Option("--running", FLAG, "Restart all running containers"),
        Option(
            "--time --timeout -t",
            INTEGER,
            "Seconds before the container is killed (default: its own, 10)",
        ),
    ],
)


def main(words: list[str], spawned: Spawned) -> int:
    from sampan.cli.start import begin
    from sampan.engine import events
    from sampan.engine import run as starting
    from sampan.engine.spawn import spawn
    from sampan.engine.stop import stop

    values, arguments = parse(VERB, words)
    engine = make_engine()
    values["all"] = values["all"] or values["running"]
    waiting = [spawned]

    def one(word: str) -> str:
        container = engine.containers.get(word)
        if container.record["options"]["rm"]:
            raise InUseError(
                f"cannot restart container {container.name}",
                "it was made with --rm, and is gone once it is stopped",
                "run it anew",
            )
        stop(engine, container.id, timeout=values["time"])
        monitor = waiting.pop() if waiting else spawn(engine.idmap)
        monitor = starting.at_home(engine, monitor, container.record["options"])
        starting.ready(monitor)
        begin(engine, monitor, container)
        events.of_container(engine, container.record, "restart")
        return container.id

    states = ("running",) if values["running"] else ("created", "running", "exited")
    return each(engine, VERB, arguments, one, values=values, states=states)
