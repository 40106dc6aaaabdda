"""sampan export."""

from __future__ import annotations

import os
import stat

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import Option, Verb, parse
from sampan.errors import UsageError

VERB = Verb(
    "export",
    "Write a container's file system as a tar archive",
    "CONTAINER",
    [Option("--output -o", help="Write to a file instead of standard output", metavar="FILE")],
    minimum=1,
    maximum=1,
)


def main(words: list[str]) -> int:
    values, (name,) = parse(VERB, words)
    if not values["output"] and os.isatty(1):
        raise UsageError(
            "sampan export", "refusing to export to terminal", "use --output FILE, or redirect"
        )
    from sampan.cli.progress import meter
    from sampan.engine import archive, events

    engine = make_engine()
    container = engine.containers.get(name)
    target = archive.open_output(values["output"]) if values["output"] else 1
    try:
        with meter(f"Exporting {name}") as progress:
            archive.export(engine, container, target, progress)
    except BaseException:
        if values["output"] and stat.S_ISREG(os.fstat(target).st_mode):
            os.unlink(values["output"])  # half an archive is none
        raise
    events.of_container(engine, container.record, "export")
    return 0
