"""sampan container prune."""

from __future__ import annotations

import sys

from sampan.cli.confirm import agreed
from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.cli.ps import matches, parse_filters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.engine import Engine

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
    values, _ = parse(VERB, words)
    question = "This will remove all containers that do not run. Continue?"
    if not values["force"] and sys.stdin.isatty() and not agreed(question):
        return 0
    for container_id in remove_stopped(make_engine(), values["filter"]):
        print(container_id, flush=True)
    return 0


def remove_stopped(engine: Engine, words: list[str]) -> Iterator[str]:
    """Remove the containers that do not run and pass the filters; the id of each one."""
    from sampan.engine.remove import remove

    found = list(engine.containers.all())
    filters = parse_filters(words)
    for container in found:
        if container.run is None and matches(container, filters, found):
            yield remove(engine, container.id)
