"""sampan stop."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import each
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse

VERB = Verb(
    "stop",
    "Stop containers: the stop signal, then SIGKILL",
    "CONTAINER [CONTAINER...]",
    [
        Option("--all -a", FLAG, "Stop all running containers"),
        Option("--cidfile", LIST, "Read the container's id from a file", "FILE"),
        Option("--filter -f", LIST, "Only what matches", "KEY=VALUE"),
        Option("--ignore -i", FLAG, "A missing container is no error"),
        Option("--latest -l", FLAG, "The container that was created last"),
        Option(
            "--time --timeout -t",
            INTEGER,
            "Seconds before the container is killed (default: its own, 10)",
        ),
    ],
)


def main(words: list[str]) -> int:
    from sampan.engine.stop import stop

    values, arguments = parse(VERB, words)
    engine = make_engine()
    return each(
        engine,
        VERB,
        arguments,
        lambda word: stop(engine, word, timeout=values["time"]),
        values=values,
        ignore=values["ignore"],
        states=("running",),
    )
