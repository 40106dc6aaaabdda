"""sampan update."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.limit_options import OPTIONS
from sampan.cli.parse import Verb, parse

VERB = Verb(
    "update",
    "Change the limits of containers, at once where they run",
    "CONTAINER [CONTAINER...]",
    OPTIONS,
    minimum=1,
)


def main(words: list[str]) -> int:
    from sampan.engine.update import update
    from sampan.errors import UsageError
    from sampan.model.resources import is_asked

    values, arguments = parse(VERB, words)
    if not is_asked(values):
        raise UsageError("sampan update", "no limit is given", "see 'sampan update --help'")
    engine = make_engine()
    for word in arguments:
        print(update(engine, word, values), flush=True)
    return 0
