"""sampan untag."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import Verb, parse

VERB = Verb(
    "untag", "Take names from an image, all if none is given", "IMAGE [NAME...]", [], minimum=1
)


def main(words: list[str]) -> int:
    _, (name, *targets) = parse(VERB, words)
    from sampan.engine.images import untag

    untag(make_engine(), name, targets)
    return 0
