"""sampan kill."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import each
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.model.options import signal_number

VERB = Verb(
    "kill",
    "Send a signal to containers",
    "CONTAINER [CONTAINER...]",
    [
        Option("--all -a", FLAG, "Signal all running containers"),
        Option("--cidfile", LIST, "Read the container's id from a file", "FILE"),
        Option("--latest -l", FLAG, "The container that was created last"),
        Option("--signal -s", help="The signal", default="KILL"),
    ],
)


def main(words: list[str]) -> int:
    from sampan.engine.stop import kill

    values, arguments = parse(VERB, words)
    signal_number(values["signal"])
    engine = make_engine()
    return each(
        engine,
        VERB,
        arguments,
        lambda word: kill(engine, word, values["signal"]),
        values=values,
        states=("running", "paused"),
    )
