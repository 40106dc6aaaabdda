"""sampan load."""

from __future__ import annotations

import os

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import UsageError

VERB = Verb(
    "load",
    "Load images from an archive or a directory",
    "",
    [
        Option(
            "--input -i", help="The archive or directory; standard input without", metavar="PATH"
        ),
        Option("--quiet -q", FLAG, "Do not show what is copied"),
        Option(
            "--signature-policy", help="Accepted and without meaning, as in podman", metavar="PATH"
        ),
    ],
    maximum=0,
)


def main(words: list[str]) -> int:
    values, _ = parse(VERB, words)
    path = values["input"] or "-"
    if path == "-" and os.isatty(0):
        raise UsageError(
            "cannot read from terminal, use command-line redirection or the --input flag"
        )
    from sampan.cli.progress import show
    from sampan.engine import events
    from sampan.engine.load import load

    engine = make_engine()
    with show(values["quiet"]) as progress:
        loaded = load(engine, path, progress)
    events.of_arrival(engine, "loadfromarchive", path)
    for one in loaded:
        for name in one.names or [one.image.id]:
            print(f"Loaded image: {name}", flush=True)
    return 0
