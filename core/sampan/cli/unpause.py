"""sampan unpause."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import each
from sampan.cli.parse import parse
from sampan.cli.pause import verb

VERB = verb("unpause", "Let paused containers go on", "paused")


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
