"""sampan tag."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import Verb, parse

VERB = Verb("tag", "Give an image another name", "IMAGE NAME [NAME...]", [], minimum=2)


def main(words: list[str]) -> int:
    _, (name, *targets) = parse(VERB, words)
    from sampan.engine.images import tag

    tag(make_engine(), name, targets)
    return 0
