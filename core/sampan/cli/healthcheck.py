"""sampan healthcheck run: check a container's health now."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import Verb, parse
from sampan.errors import UsageError

VERB = Verb(
    "healthcheck run",
    "Check the health of a container; leaves with 0 if it is healthy, 1 if not",
    "CONTAINER",
    [],
    minimum=1,
    maximum=1,
)


def main(words: list[str]) -> int:
    from sampan.engine.health_run import run

    if not words or words[0] != "run":
        if words[:1] in (["--help"], ["-h"]):
            parse(VERB, ["--help"])
        raise UsageError(
            f"unrecognized command 'sampan healthcheck {' '.join(words[:1])}'".rstrip(),
            "",
            "sampan healthcheck run CONTAINER",
        )
    _, arguments = parse(VERB, words[1:])
    code, status = run(make_engine(), arguments[0])
    if code != 0:
        print(status)
    return 0 if code == 0 else 1
