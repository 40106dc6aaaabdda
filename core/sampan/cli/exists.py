"""sampan container exists: status 0 or 1."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import NotFoundError

VERB = Verb(
    "container exists",
    "Leave with 0 if the container exists, 1 if not",
    "CONTAINER",
    [Option("--external", FLAG, "Look at containers of other tools too (there are none)")],
    minimum=1,
    maximum=1,
)


def main(words: list[str]) -> int:
    _, arguments = parse(VERB, words)
    try:
        make_engine().containers.find(arguments[0])
    except NotFoundError:
        return 1
    return 0
