"""sampan wait."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import each
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.errors import UsageError

STATES = (
    "created",
    "configured",
    "running",
    "paused",
    "restarting",
    "exited",
    "stopped",
    "stopping",
    "removing",
    "healthy",
    "unhealthy",
    "not-running",
    "removed",
)

VERB = Verb(
    "wait",
    "Wait until containers end and print their exit codes",
    "CONTAINER [CONTAINER...]",
    [
        Option("--condition", LIST, "What to wait for: a state; several may be given", "STATE"),
        Option("--ignore", FLAG, "A missing container is no error: -1 is printed"),
        Option("--interval -i", help="(for compatibility; sampan is woken)", metavar="TIME"),
        Option("--latest -l", FLAG, "The container that was created last"),
    ],
)


def main(words: list[str]) -> int:
    from sampan.engine.wait import wait

    values, arguments = parse(VERB, words)
    engine = make_engine()

    conditions = [state for text in values["condition"] for state in text.split(",")]
    for state in conditions:
        if state not in STATES:
            raise UsageError(f"invalid condition {state!r}", "", f"one of {', '.join(STATES)}")

    def one(word: str) -> None:
        code = wait(engine, word, conditions)
        print(-1 if code is None else code, flush=True)

    return each(engine, VERB, arguments, one, values=values, ignore=values["ignore"])
