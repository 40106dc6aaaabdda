"""sampan pause, and what unpause shares with it."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import each
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse


def verb(name: str, summary: str, state: str) -> Verb:
    """state: of the containers that --all means."""
    return Verb(
        name,
        summary,
        "CONTAINER [CONTAINER...]",
        [
            Option("--all -a", FLAG, f"All that are {state}"),
            Option("--cidfile", LIST, "Read the container's id from a file", "FILE"),
            Option("--filter -f", LIST, "Only what matches", "KEY=VALUE"),
            Option("--latest -l", FLAG, "The container that was created last"),
        ],
    )


VERB = verb("pause", "Stop all processes of containers for a while", "running")


def main(words: list[str]) -> int:
    from sampan.engine.freezing import pause

    values, arguments = parse(VERB, words)
    engine = make_engine()
    return each(
        engine,
        VERB,
        arguments,
        lambda word: pause(engine, word),
        values=values,
        states=("running",),
    )
