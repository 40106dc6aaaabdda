"""sampan exec."""

from __future__ import annotations

import os

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse
from sampan.errors import UsageError
from sampan.linux import processes, signals
from sampan.model import options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine.execute import ExecOptions, Joined

VERB = Verb(
    "exec",
    "Run a further command in a running container",
    "CONTAINER COMMAND [ARG...]",
    [
        Option("--detach -d", FLAG, "Run in the background"),
        Option("--detach-keys", help="Keys that detach", metavar="KEYS"),
        Option("--env -e", LIST, "Set an environment variable", "NAME[=VALUE]"),
        Option("--env-file", LIST, "Read environment variables from a file", "FILE"),
        Option("--interactive -i", FLAG, "Keep stdin open"),
        Option("--latest -l", FLAG, "The container that was created last"),
        Option("--preserve-fds", INTEGER, "Pass this many further descriptors", default=0),
        Option("--privileged", FLAG, "Every capability of the user namespace"),
        Option("--tty -t", FLAG, "Give the command a terminal"),
        Option("--user -u", help="Who runs the command", metavar="USER[:GROUP]"),
        Option("--workdir -w", help="Working directory", metavar="PATH"),
    ],
    minimum=1,
    interspersed=False,
)


def main(words: list[str]) -> int:
    from sampan.engine.execute import execute, execute_detached

    values, arguments = parse(VERB, words)
    engine = make_engine()
    if values["latest"]:
        from sampan.cli.each import latest_id

        arguments.insert(0, latest_id(engine))
    if len(arguments) < 2:
        raise UsageError("sampan exec", "you must provide a command", "see 'sampan exec --help'")
    chosen: ExecOptions = {
        "command": arguments[1:],
        "env": options.environment(values["env"], values["env_file"], os.environ),
        "user": values["user"] or "",
        "workdir": values["workdir"] or "",
        "tty": values["tty"],
        "stdin": values["interactive"],
        "privileged": values["privileged"],
        "preserve_fds": values["preserve_fds"],
    }
    if values["detach"]:
        print(execute_detached(engine, arguments[0], chosen))
        return 0
    return wait(execute(engine, arguments[0], chosen), stdin=values["interactive"])


def wait(joined: Joined, *, stdin: bool) -> int:
    """Pump the terminal if there is one, forward signals, and return the exit status."""
    if joined.master >= 0:
        from sampan.engine.terminal import relay

        relay(joined.master, stdin=stdin)
    else:
        # a terminal sends it to the whole group: the command decides
        signals.ignore(signals.SIGINT)
    return processes.exit_code(joined.pid)
