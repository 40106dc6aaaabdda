"""sampan attach."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import named
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import InUseError, UsageError

VERB = Verb(
    "attach",
    "Attach to the streams of a running container",
    "CONTAINER",
    [
        Option("--detach-keys", help="Keys that detach", default="ctrl-p,ctrl-q", metavar="KEYS"),
        Option("--latest -l", FLAG, "The container that was created last"),
        Option("--no-stdin", FLAG, "Do not attach stdin"),
        Option("--sig-proxy", FLAG, "Pass received signals on", default=True),
    ],
    maximum=1,
)


def main(words: list[str]) -> int:
    from sampan.engine import run as starting
    from sampan.engine import terminal
    from sampan.engine.attach import Attached, parse_keys

    values, arguments = parse(VERB, words)
    engine = make_engine()
    arguments = named(engine, VERB, arguments, values)
    if not arguments:
        raise UsageError("sampan attach", "you must provide one name or id")
    container = engine.containers.get(arguments[0])
    if not container.live:
        raise InUseError(
            f"cannot attach to container {container.id[:12]}",
            f"container state improper: it is {container.state}, and must be running",
            f"sampan start -a {arguments[0]}",
        )
    chosen = container.record["options"]
    stdin = chosen["stdin"] and not values["no_stdin"]
    monitor = starting.connect(engine, container)
    keys = parse_keys(values["detach_keys"])
    with Attached(tty=chosen["tty"], stdin=stdin, detach_keys=keys) as attached:
        attached.forward_signals(monitor, proxy=values["sig_proxy"])
        monitor.send({"kind": "attach", "stdin": stdin}, attached.fds)
        attached.handed_over()
        if chosen["tty"] and (size := terminal.size()):
            monitor.send({"kind": "resize", "rows": size[0], "columns": size[1]})
        status = attached.wait(monitor)
    return 0 if status is None else status
