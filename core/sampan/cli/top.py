"""sampan top."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import latest_id
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import UsageError

VERB = Verb(
    "top",
    "Show the processes of a container",
    "CONTAINER [DESCRIPTOR[,...]|PS-OPTIONS]",
    [
        Option("--latest -l", FLAG, "The container that was created last"),
        Option("--list-descriptors", FLAG, "Show what can be shown"),
    ],
    interspersed=False,
)


def main(words: list[str]) -> int:
    from sampan.cli.format import align, escape
    from sampan.engine.top import CODES, COLUMNS, ps, top

    values, arguments = parse(VERB, words)
    if values["list_descriptors"]:
        print("\n".join(COLUMNS))
        return 0
    engine = make_engine()
    if values["latest"]:
        arguments.insert(0, latest_id(engine))
    if not arguments:
        raise UsageError("sampan top", "you must provide the name or id of a running container")
    name, *what = arguments
    if what and any(word not in {*COLUMNS, *CODES} for text in what for word in text.split(",")):
        print(ps(engine, name, what))
        return 0
    heading, rows = top(engine, name, what)
    print(align([heading, *([escape(cell) for cell in row] for row in rows)]).rstrip("\n"))
    return 0
