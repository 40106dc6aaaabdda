"""sampan image inspect, exists and prune."""

from __future__ import annotations

import os

from sampan.cli.confirm import agreed
from sampan.cli.context import engine as make_engine
from sampan.cli.format import escape, json_text, render
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INSPECT = Verb(
    "image inspect",
    "Show images in detail",
    "IMAGE [IMAGE...]",
    [Option("--format -f", help="json or a Go template", metavar="FORMAT")],
    minimum=1,
)
EXISTS = Verb(
    "image exists", "Leave with 0 if the image exists, 1 if not", "IMAGE", [], minimum=1, maximum=1
)
PRUNE = Verb(
    "image prune",
    "Remove untagged images",
    "",
    [
        Option("--all -a", FLAG, "Remove all images that no container uses"),
        Option("--external", FLAG, "Remove images of other tools (there are none)"),
        Option("--filter", LIST, "Remove only what matches", "KEY=VALUE"),
        Option("--force -f", FLAG, "Do not ask"),
    ],
    maximum=0,
)


def inspect(words: list[str]) -> int:
    values, names = parse(INSPECT, words)
    from sampan.engine.images import inspect as describe

    engine = make_engine()
    found: list[dict[str, Any]] = []
    missing = False
    for name in names:
        try:
            found.append(describe(engine, name))
        except NotFoundError as error:
            missing = True
            os.write(2, f"Error: {escape(str(error))}\n".encode(errors="backslashreplace"))
    template = values["format"]
    if template and template != "json":
        for document in found:
            print(render(template, document).removesuffix("\n"))
    else:
        print(json_text(found))
    return 125 if missing else 0


def exists(words: list[str]) -> int:
    _, (name,) = parse(EXISTS, words)
    return 0 if make_engine().images.exists(name) else 1


def prune(words: list[str]) -> int:
    values, _ = parse(PRUNE, words)
    from sampan.engine.images import prune as remove

    if not values["force"] and not _agreed(values["all"]):
        return 0
    filters = [text for value in values["filter"] for text in value.split(",")]
    for image_id in remove(make_engine(), everything=values["all"], filters=filters):
        print(image_id)
    return 0


def _agreed(everything: bool) -> bool:
    which = "without at least one container associated to them" if everything else "untagged"
    print(f"WARNING! This command removes all images {which}.")
    return agreed()
