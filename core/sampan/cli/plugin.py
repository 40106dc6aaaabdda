"""sampan plugin ls."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine

VERB = Verb(
    "plugin ls",
    "List plugins: concern, name, distribution, whether they work here, which is chosen",
    "",
    [
        Option("--format", help="table, json or a Go template"),
        Option("--noheading", FLAG, "Show no headings"),
    ],
    maximum=0,
)
COLUMNS = [
    ("CONCERN", "Concern"),
    ("NAME", "Name"),
    ("DISTRIBUTION", "Distribution"),
    ("USABLE", "Usable"),
    ("CHOSEN", "Chosen"),
    ("WHY", "Why"),
]


def main(words: list[str]) -> int:
    if not words or words[0] not in ("ls", "list"):
        if words and words[0] in ("--help", "-h"):
            print("Manage plugins\n\nUsage:\n  sampan plugin ls [options]")
            return 0
        raise UsageError("sampan plugin", "unknown command", "sampan plugin ls lists plugins")
    values, _ = parse(VERB, words[1:])
    from sampan.cli.format import render_rows

    text = render_rows(
        values["format"], rows(make_engine()), COLUMNS, heading=not values["noheading"]
    )
    print(text)
    return 0


def rows(engine: Engine) -> list[dict[str, Any]]:
    """Every plugin; one that cannot be imported is told as such and disturbs nothing."""
    from sampan.settings import CONCERNS

    result: list[dict[str, Any]] = []
    chosen = selected(engine)
    for concern in CONCERNS:
        for entry in engine.plugins.entries(f"sampan.{concern}"):
            row = {
                "Concern": concern,
                "Name": entry.name,
                "Distribution": f"{entry.distribution} {entry.version}",
                "Module": entry.value,
                "Chosen": "*" if chosen.get(concern) == entry.name else "",
            }
            try:
                probe = engine.plugins.probe(
                    concern, entry.name, engine.context(concern, entry.name)
                )
            except SampanError as error:
                row |= {"Usable": "no", "Why": str(error)}
            else:
                fix = f"; {probe.fix}" if probe.fix and not probe.usable else ""
                row |= {"Usable": "yes" if probe.usable else "no", "Why": probe.why + fix}
            result.append(row)
    for entry in engine.plugins.entries("sampan.extension"):
        result.append(
            {
                "Concern": "extension",
                "Name": entry.name,
                "Distribution": f"{entry.distribution} {entry.version}",
                "Module": entry.value,
                "Chosen": "*",
                "Usable": "yes",
                "Why": "always loaded",
            }
        )
    return result


def selected(engine: Engine) -> dict[str, str]:
    """The driver of each concern that a new container gets."""
    from sampan.engine import choose, limits, networks

    settings = engine.settings
    return {
        "storage": engine.storage.name,
        "network": networks.configured(engine) or choose.probed(engine, "network")["driver"],
        "runtime": settings.runtime,
        "cgroup": limits.manager_name(engine),
    }
