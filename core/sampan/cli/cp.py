"""sampan cp."""

from __future__ import annotations

import os

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import UsageError

VERB = Verb(
    "cp",
    "Copy files between a container and the host",
    "CONTAINER:SOURCE|SOURCE|- CONTAINER:TARGET|TARGET|-",
    [
        Option(
            "--archive -a",
            FLAG,
            "Files belong to the container's user; false keeps the owners they have",
            default=True,
        ),
        Option("--follow-link -L", FLAG, "Follow a link that is the source"),
        Option("--overwrite", FLAG, "Let a directory replace a file, and a file a directory"),
        Option("--pause", FLAG, "Let the container stand still meanwhile"),
        Option("--quiet -q", FLAG, "Show no progress"),
    ],
    minimum=2,
    maximum=2,
)


def main(words: list[str]) -> int:
    from contextlib import ExitStack

    from sampan.cli.progress import meter
    from sampan.engine import copy
    from sampan.engine.copy_place import Place, split
    from sampan.engine.pause import paused

    values, ends = parse(VERB, words)
    engine = make_engine()
    if not any(split(word) for word in ends):
        raise UsageError("sampan cp", "one of the two must be in a container", "CONTAINER:PATH")
    places: list[Place | None] = []
    with ExitStack() as stack:
        for word in ends:
            found = split(word)
            container = engine.containers.get(found[0]) if found else None
            if container is not None:
                stack.enter_context(paused(engine, container, values["pause"]))
            path = found[1] or "/" if found else word
            places.append(None if word == "-" else Place(engine, container, path))
        choice = copy.Choice(
            archive=values["archive"], follow=values["follow_link"], overwrite=values["overwrite"]
        )
        source, target = places
        if target is None:
            assert source is not None
            if os.isatty(1):
                raise UsageError("sampan cp", "refusing to write to a terminal", "redirect it")
            copy.to_archive(source, 1, choice)
        elif source is None:
            copy.from_archive(0, target, choice)
        else:
            with meter(f"Copying {ends[0]}") as progress:
                copy.copy(source, target, choice, (lambda _: None) if values["quiet"] else progress)
    return 0
