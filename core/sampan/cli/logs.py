"""sampan logs."""

from __future__ import annotations

import os

from sampan.cli.context import engine as make_engine
from sampan.cli.each import named
from sampan.cli.parse import FLAG, INTEGER, Option, Verb, parse
from sampan.errors import UsageError
from sampan.model import times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

VERB = Verb(
    "logs",
    "Show what a container has written",
    "CONTAINER [CONTAINER...]",
    [
        Option("--follow -f", FLAG, "Go on until the container ends"),
        Option("--latest -l", FLAG, "The container that was created last"),
        Option("--names -n", FLAG, "Show the container's name before each line"),
        Option("--since", help="Only what was written after", metavar="TIME"),
        Option("--tail", INTEGER, "Only the last N lines", default=-1),
        Option("--timestamps -t", FLAG, "Show the time before each line"),
        Option("--until", help="Only what was written before", metavar="TIME"),
    ],
)


def main(words: list[str]) -> int:
    from sampan.engine.logs import Selection, show

    values, arguments = parse(VERB, words)
    selection = Selection(
        since=times.moment(values["since"]) if values["since"] else None,
        until=times.moment(values["until"]) if values["until"] else None,
        tail=values["tail"],
        timestamps=values["timestamps"],
    )
    engine = make_engine()
    arguments = named(engine, VERB, arguments, values)
    if not arguments:
        raise UsageError("sampan logs", "you must provide at least one name or id")
    several = len(arguments) > 1

    def one(word: str) -> None:
        show(engine, word, selection, follow=values["follow"], names=values["names"], ids=several)

    if values["follow"] and several:
        return _together(arguments, one)
    for word in arguments:
        one(word)
    return 0


def _together(words: list[str], show: Callable[[str], None]) -> int:
    """Follow each in a process of its own; returns the gravest status."""
    from sampan.errors import SampanError

    pids: list[int] = []
    for word in words:
        pid = os.fork()
        if pid == 0:
            status = 0
            try:
                show(word)
            except SampanError as error:
                os.write(2, f"Error: {error}\n".encode(errors="backslashreplace"))
                status = error.exit_status
            except BaseException:
                status = 125
            os._exit(status)
        pids.append(pid)
    return max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
