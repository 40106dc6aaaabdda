"""sampan wait."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import each
from sampan.cli.parse import FLAG, Option, Verb, parse

VERB = Verb(
    "wait",
    "Wait until containers end and print their exit codes",
    "CONTAINER [CONTAINER...]",
    [Option("--ignore", FLAG, "A missing container is no error: -1 is printed")],
)


def main(words: list[str]) -> int:
    from sampan.engine.wait import wait

    values, arguments = parse(VERB, words)
    engine = make_engine()

    def one(word: str) -> None:
        code = wait(engine, word)
        print(-1 if code is None else code, flush=True)

    return each(engine, VERB, arguments, one, ignore=values["ignore"])
