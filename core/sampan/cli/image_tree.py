"""sampan image tree."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.images import human_size
from sampan.cli.parse import FLAG, Option, Verb, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERB = Verb(
    "image tree",
    "Show the layers of an image",
    "IMAGE",
    [
        Option("--format", help="json", metavar="FORMAT"),
        Option("--whatrequires", FLAG, "Show the images that are built on this one"),
    ],
    minimum=1,
    maximum=1,
)


def main(words: list[str]) -> int:
    values, (name,) = parse(VERB, words)
    from sampan.engine.image_tree import tree

    found = tree(make_engine(), name, values["whatrequires"])
    if values["format"] == "json":
        import json

        print(json.dumps(found))
        return 0
    print(f"Image ID: {found['Id'][:12]}")
    print(f"Tags:     [{' '.join(found['Tags'])}]")
    print(f"Size:     {human_size(found['Size'])}")
    print("Image Layers" if not values["whatrequires"] else f"Image {found['Id'][:12]}")
    rows: list[dict[str, Any]] = found["Images"] if values["whatrequires"] else found["Layers"]
    for at, row in enumerate(rows):
        mark = "└── " if at == len(rows) - 1 else "├── "
        tags = f" Top Layer of: [{' '.join(row['Tags'])}]" if row["Tags"] else ""
        print(f"{mark}ID: {row['Id'][:12]} Size: {human_size(row['Size']):>7}{tags}")
    return 0
