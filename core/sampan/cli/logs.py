"""sampan logs."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import named
from sampan.cli.parse import FLAG, INTEGER, Option, Verb, parse
from sampan.errors import UsageError
from sampan.model import times

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
    for word in arguments:
        show(engine, word, selection, follow=values["follow"], names=values["names"])
    return 0
