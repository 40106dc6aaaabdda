"""sampan unpause."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import each
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse

VERB = Verb(
    "unpause",
    "Let paused containers go on",
    "CONTAINER [CONTAINER...]",
    [
        Option("--all -a", FLAG, "All that are paused"),
        Option("--cidfile", LIST, "Read the container's id from a file", "FILE"),
        Option("--filter -f", LIST, "Only what matches", "KEY=VALUE"),
        Option("--latest -l", FLAG, "The container that was created last"),
    ],
)


def main(words: list[str]) -> int:
    from sampan.engine.freezing import unpause

    values, arguments = parse(VERB, words)
    engine = make_engine()
    return each(
        engine,
        VERB,
        arguments,
        lambda word: unpause(engine, word),
        values=values,
        states=("paused",),
    )
