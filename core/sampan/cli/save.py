"""sampan save."""

from __future__ import annotations

import os

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import UsageError

VERB = Verb(
    "save",
    "Write images to an archive or a directory",
    "IMAGE [IMAGE...]",
    [
        Option(
            "--compress", FLAG, "Compress the layers of docker-dir (they are, as they were pulled)"
        ),
        Option(
            "--format",
            help="docker-archive, oci-archive, oci-dir or docker-dir",
            default="docker-archive",
        ),
        Option("--multi-image-archive -m", FLAG, "Several images (they may be named without it)"),
        Option(
            "--output -o", help="The file or directory; standard output without", metavar="PATH"
        ),
        Option("--quiet -q", FLAG, "Do not show what is copied"),
        Option("--uncompressed", FLAG, "Write plain layers into an OCI archive or directory"),
    ],
    minimum=1,
)


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    path = values["output"] or "-"
    if path == "-" and os.isatty(1):
        raise UsageError(
            "refusing to save to terminal. Use -o flag or redirect",
        )
    if values["compress"] and values["format"] != "docker-dir":
        raise UsageError("--compress can only be set when --format is 'docker-dir'")
    from sampan.cli.progress import show
    from sampan.engine.save import save

    with show(values["quiet"] or path == "-") as progress:
        save(
            make_engine(),
            names,
            path,
            values["format"],
            plain=values["uncompressed"],
            progress=progress,
        )
    return 0
