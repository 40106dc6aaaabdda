"""sampan update."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.limit_options import OPTIONS
from sampan.cli.parse import Option, Verb, parse

VERB = Verb(
    "update",
    "Change limits and restart policy of containers, at once where they run",
    "CONTAINER [CONTAINER...]",
    [
        *OPTIONS,
        Option(
            "--restart",
            help="What follows its next end: no, always, unless-stopped or on-failure[:N]",
            metavar="POLICY",
        ),
    ],
    minimum=1,
)


def main(words: list[str]) -> int:
    from sampan.engine.update import update
    from sampan.errors import UsageError
    from sampan.model.resources import is_asked

    values, arguments = parse(VERB, words)
    restart = values["restart"]
    if restart is None and not is_asked(values):
        raise UsageError(
            "sampan update", "no limit and no policy is given", "see 'sampan update --help'"
        )
    engine = make_engine()
    for word in arguments:
        print(update(engine, word, values, restart), flush=True)
    return 0
