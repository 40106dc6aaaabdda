"""sampan history."""

from __future__ import annotations

import time

from sampan.cli.context import engine as make_engine
from sampan.cli.format import render_rows
from sampan.cli.images import human_size
from sampan.cli.parse import FLAG, Option, Verb, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERB = Verb(
    "history",
    "Show the history of an image",
    "IMAGE",
    [
        Option("--format", help="json or a Go template", metavar="FORMAT"),
        Option("--human -H", FLAG, "Show sizes and times for people", default=True),
        Option("--no-trunc", FLAG, "Do not shorten ids and commands"),
        Option("--quiet -q", FLAG, "Show ids alone"),
    ],
    minimum=1,
    maximum=1,
)
COLUMNS = [
    ("ID", "ID"),
    ("CREATED", "Created"),
    ("CREATED BY", "CreatedBy"),
    ("SIZE", "Size"),
    ("COMMENT", "Comment"),
]
_COMMAND = 45  # characters of a shortened command


def main(words: list[str]) -> int:
    values, (name,) = parse(VERB, words)
    from sampan.engine.images import history

    steps = history(make_engine(), name)
    if values["format"] == "json":
        import json

        print(json.dumps(steps))
        return 0
    rows = [_row(step, values) for step in steps]
    template = "{{.ID}}" if values["quiet"] else values["format"]
    text = render_rows(template, rows, COLUMNS)
    if text:
        print(text)
    return 0


def _row(step: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    from sampan.engine.image_filters import moment
    from sampan.model import times

    full, human = values["no_trunc"], values["human"]
    seconds = moment(step["created"])
    since = times.ago(time.time() - seconds) if human else step["created"]
    by: str = step["CreatedBy"]
    return {
        "ID": step["id"] if full or step["id"] == "<missing>" else step["id"][:12],
        "Created": since,
        "CreatedSince": since,
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(seconds)),
        "CreatedBy": by if full or len(by) <= _COMMAND else f"{by[: _COMMAND - 3]}...",
        "Size": human_size(step["size"]) if human else str(step["size"]),
        "Comment": step["comment"],
        "Tags": step.get("tags") or [],
    }
