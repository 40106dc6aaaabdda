"""The layers of an image, which images end at each, and which images stand on this one."""

from __future__ import annotations

from sampan.engine.images import find, hex_id, layer_sizes
from sampan.model.layer import chain_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.images import Image


def tree(engine: Engine, name: str, required: bool = False) -> dict[str, Any]:
    """Id, Tags, Size, Layers (bottom first: Id, Size, Tags of the images that end there) or, if
    `required`, Images.
    """
    image = find(engine, name)
    chain = chain_ids(image.diff_ids)
    tops: dict[str, list[Image]] = {}
    above: list[Image] = []
    for other in engine.images.list():
        theirs = chain_ids(other.diff_ids)
        if theirs:
            tops.setdefault(theirs[-1], []).append(other)
        if len(theirs) > len(chain) and theirs[: len(chain)] == chain:
            above.append(other)
    found: dict[str, Any] = {"Id": hex_id(image), "Tags": image.names, "Size": image.size}
    if required:
        found["Images"] = [
            {"Id": hex_id(one), "Size": one.size, "Tags": one.names or ["<none>"]} for one in above
        ]
        return found
    sizes = layer_sizes(engine, image)
    found["Layers"] = [
        {
            "Id": identity.removeprefix("sha256:"),
            "Size": size,
            "Tags": [
                tag for one in tops.get(identity, ()) for tag in one.names or [hex_id(one)[:12]]
            ],
        }
        for identity, size in zip(chain, sizes, strict=True)
    ]
    return found
