"""sampan inspect."""

from __future__ import annotations

import os

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine

VERB = Verb(
    "inspect",
    "Show containers and images in detail",
    "NAME [NAME...]",
    [
        Option("--format -f", help="json or a Go template", metavar="FORMAT"),
        Option("--latest -l", FLAG, "Show the container created last"),
        Option("--size -s", FLAG, "Show the size of what a container changed"),
        Option("--type -t", help="container, image, volume or all", default="all", metavar="TYPE"),
    ],
)


def main(words: list[str]) -> int:
    values, arguments = parse(VERB, words)
    engine = make_engine()
    if values["type"] not in ("all", "container", "image", "volume"):
        raise UsageError(f"invalid type {values['type']!r}", "", "container, image, volume or all")
    if values["latest"]:
        arguments = [container.id for container in engine.containers.all()][-1:]
    elif not arguments:
        raise UsageError("sampan inspect", "no names or ids specified")
    found: list[dict[str, Any]] = []
    missing = False
    for word in arguments:
        try:
            found.append(_one(engine, word, values))
        except NotFoundError as error:
            missing = True
            os.write(2, f"Error: {error}\n".encode())
    _show(found, values["format"])
    return 125 if missing else 0


def _one(engine: Engine, word: str, values: dict[str, Any]) -> dict[str, Any]:
    from sampan.engine.inspect import inspect

    if values["type"] in ("all", "container"):
        try:
            return inspect(engine, word, size=values["size"])
        except NotFoundError:
            if values["type"] == "container":
                raise
    from sampan.engine.images import inspect as inspect_image

    try:
        if values["type"] != "volume":
            return inspect_image(engine, word)
    except NotFoundError:
        if values["type"] == "image":
            raise
    try:
        return _volume(engine, word)
    except NotFoundError:
        if values["type"] == "volume":
            raise
        raise NotFoundError(
            f'no such object: "{word}"', "it is no container, image or volume"
        ) from None


def _volume(engine: Engine, word: str) -> dict[str, Any]:
    from sampan.engine.volumes import described

    if not engine.has_volumes():
        raise NotFoundError(f'no volume with name "{word}" found', "no such volume")
    return described(engine, [engine.volumes.get(word)])[0]


def _show(found: list[dict[str, Any]], template: str | None) -> None:
    if template and template != "json":
        from sampan.cli.format import render

        for document in found:
            print(render(template, document))
        return
    from sampan import jsontext

    print(jsontext.pretty(found, 5))
