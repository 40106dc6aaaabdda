"""sampan start."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import each
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.errors import SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.engine.spawn import Spawned
    from sampan.store.containers import Container

VERB = Verb(
    "start",
    "Start containers that do not run",
    "CONTAINER [CONTAINER...]",
    [
        Option("--all", FLAG, "Start all containers that do not run"),
        Option("--attach -a", FLAG, "Attach to its output and wait for its end"),
        Option("--detach-keys", help="Keys that detach", default="ctrl-p,ctrl-q", metavar="KEYS"),
        Option("--filter -f", LIST, "Only what matches", "KEY=VALUE"),
        Option("--interactive -i", FLAG, "Attach stdin too"),
        Option("--latest -l", FLAG, "The container that was created last"),
        Option("--sig-proxy", FLAG, "Pass received signals on", default=True),
    ],
)


def main(words: list[str], spawned: Spawned) -> int:
    from sampan.engine import run as starting
    from sampan.engine import terminal
    from sampan.engine.attach import Attached, parse_keys
    from sampan.engine.spawn import spawn
    from sampan.engine.stop import settled

    values, arguments = parse(VERB, words)
    if values["all"] and arguments:
        raise UsageError(
            "either start all containers or the container(s) provided in the arguments"
        )
    engine = make_engine()
    attach = values["attach"] or values["interactive"]
    if attach and (len(arguments) > 1 or values["all"]):
        raise UsageError("sampan start", "only one container can be attached to at once")
    waiting = [spawned]
    codes: list[int] = []

    def one(word: str) -> str | None:
        container = settled(engine, word)
        if container.run:
            return container.id
        monitor = waiting.pop() if waiting else spawn(engine.idmap)
        monitor = starting.at_home(engine, monitor, container.record["options"])
        starting.ready(monitor)
        if not attach:
            begin(engine, monitor, container)
            return container.id
        chosen = container.record["options"]
        keys = parse_keys(values["detach_keys"])
        stdin = values["interactive"] and chosen["stdin"]
        with Attached(tty=chosen["tty"], stdin=stdin, detach_keys=keys) as attached:
            attached.forward_signals(monitor, proxy=values["sig_proxy"])
            size = terminal.size() if chosen["tty"] else None
            starting.start(engine, monitor, container.record, attach=attached.fds, size=size)
            attached.handed_over()
            codes.append(attached.wait(monitor) or 0)
        return None

    status = each(
        engine,
        VERB,
        arguments,
        one,
        values=values,
        states=("created", "exited"),
    )
    return status or (codes[0] if codes else 0)


def begin(engine: Engine, monitor: Spawned, container: Container) -> None:
    """Start in the background; an error is the engine's (125), whatever the program's would be."""
    from sampan.engine.run import start

    try:
        start(engine, monitor, container.record)
    except SampanError as error:
        raise SampanError(error.what, error.why, error.hint) from None
