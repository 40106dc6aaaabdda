"""sampan import."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse

VERB = Verb(
    "import",
    "Make an image of a tar archive of a file system",
    "FILE|URL|- [IMAGE]",
    [
        Option("--arch", help="Architecture of the image"),
        Option(
            "--change -c", LIST, "Change the configuration (CMD, ENV, LABEL, ...)", "INSTRUCTION"
        ),
        Option("--message -m", help="Comment of the history", metavar="TEXT"),
        Option("--os", help="Operating system of the image"),
        Option("--quiet -q", FLAG, "Show no progress"),
        Option("--variant", help="Variant of the architecture"),
    ],
    minimum=1,
    maximum=2,
)


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    from sampan.cli.progress import meter, notices
    from sampan.engine.importing import import_image

    with meter(f"Importing {names[0]}", quiet=values["quiet"]) as progress:
        image = import_image(
            make_engine(),
            names[0],
            (*names, "")[1],
            changes=values["change"],
            message=values["message"] or "",
            platform=(values["os"] or "", values["arch"] or "", values["variant"] or ""),
            progress=progress,
            tell=notices(values["quiet"]),
        )
    print(image.id)
    return 0
