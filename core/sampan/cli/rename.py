"""sampan rename."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import Verb, parse
from sampan.model import names

VERB = Verb("rename", "Give a container another name", "CONTAINER NAME", [], minimum=2, maximum=2)


def main(words: list[str]) -> int:
    from sampan.engine import events

    _, (word, name) = parse(VERB, words)
    names.check(name)
    engine = make_engine()
    container = engine.containers.get(word)
    old = container.name
    engine.containers.rename(container.record, name)
    events.of_container(engine, container.record, "rename", {"oldName": old})
    return 0
