"""sampan container prune."""

from __future__ import annotations

import sys

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.cli.ps import matches, parse_filters

VERB = Verb(
    "container prune",
    "Remove all containers that do not run",
    "",
    [
        Option("--filter", LIST, "Remove only what matches", "KEY=VALUE"),
        Option("--force -f", FLAG, "Do not ask"),
    ],
    maximum=0,
)


def main(words: list[str]) -> int:
    from sampan.engine.remove import remove

    values, _ = parse(VERB, words)
    if not values["force"] and sys.stdin.isatty():
        print(
            "This will remove all containers that do not run. Continue? [y/N] ", end="", flush=True
        )
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            return 0
    engine = make_engine()
    found = list(engine.containers.all())
    filters = parse_filters(values["filter"])
    for container in found:
        if container.state != "running" and matches(container, filters, found):
            print(remove(engine, container.id), flush=True)
    return 0
