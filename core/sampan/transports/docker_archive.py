"""Reading what `docker save` and `podman save` write: manifest.json, configurations, plain layers.

Docker, image/spec/v1.2.md, and the layers' files as they are found: named by hash or by id, links to
one another, compressed although the format does not say so.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sampan.errors import CorruptError
from sampan.model import image as model
from sampan.model.image import ImageConfig, all_strings, is_list, is_object
from sampan.transports.tree import Tree

_LIMIT = 16 << 20
_IMAGES = 1000


class Archived(NamedTuple):
    """One image: its configuration's bytes, its names, and the files of its layers, bottom first."""

    config: ImageConfig
    data: bytes
    names: tuple[str, ...]
    layers: tuple[str, ...]


def images(tree: Tree) -> list[Archived]:
    """The images in the order of the archive, each validated. NotFoundError without manifest.json."""
    what = f"manifest.json of {tree.label}"
    data = tree.open("manifest.json").read(_LIMIT, what)
    try:
        entries: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{what} is refused", f"bad JSON: {error}"[:200]) from None
    if not is_list(entries) or not 0 < len(entries) <= _IMAGES:
        raise CorruptError(f"{what} is refused", "it is not a list of images")
    return [_image(tree, entry, what) for entry in entries]


def _image(tree: Tree, entry: Any, what: str) -> Archived:
    if not is_object(entry):
        raise CorruptError(f"{what} is refused", "an entry is not an object")
    config: Any = entry.get("Config")
    names: Any = entry.get("RepoTags") or []
    layers: Any = entry.get("Layers") or []
    lists = all(is_list(one) and all_strings(one) for one in (names, layers))
    if not isinstance(config, str) or not lists:
        raise CorruptError(f"{what} is refused", "an entry lacks Config, RepoTags or Layers")
    data = tree.open(config).read(model.CONFIG_LIMIT, f"{config} of {tree.label}")
    return Archived(model.parse_config(data, len(layers)), data, tuple(names), tuple(layers))
