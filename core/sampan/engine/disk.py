"""system df: what images, containers, volumes and the build cache take of the disk, and what could be had back.

A layer counts once, however many images have it: its unpacked bytes, and those of its blob.  What images share is
told beside what each has for itself.  Sizes of snapshots are measured in the store's user namespace, for parts of
them belong to subordinate ids.
"""

from __future__ import annotations

from sampan.engine.images import layer_keys
from sampan.engine.usage import snapshot_sizes
from sampan.errors import NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.engine import Engine
    from sampan.engine.builder import Entry
    from sampan.store.containers import Container
    from sampan.store.images import Image


class Usage:
    """One image, container, entry of the build cache or (by name) volume.

    size: bytes on disk; shared: how many of them others need too; active: who uses it.
    """

    __slots__ = ("active", "item", "shared", "size")

    def __init__(
        self, item: Image | Container | Entry | str, size: int, shared: int, active: int
    ) -> None:
        self.item, self.size, self.shared, self.active = item, size, shared, active


def images(engine: Engine) -> tuple[list[Usage], int]:
    """Each image with the number of its containers, and the bytes of all together."""
    found = engine.images.list()
    users: dict[str, int] = {}
    for container in engine.containers.all():
        image_id = container.record["image"]["id"]
        users[image_id] = users.get(image_id, 0) + 1
    parts = {image.id: _parts(engine, image) for image in found}
    holders: dict[str, int] = {}
    for of_image in parts.values():
        for part in of_image:
            holders[part] = holders.get(part, 0) + 1
    total: dict[str, int] = {}
    told: list[Usage] = []
    for image in found:
        mine = parts[image.id]
        total.update(mine)
        shared = sum(size for part, size in mine.items() if holders[part] > 1)
        told.append(Usage(image, sum(mine.values()), shared, users.get(image.id, 0)))
    return told, sum(total.values())


def _parts(engine: Engine, image: Image) -> dict[str, int]:
    """The blobs and layers of an image, with their bytes."""
    sizes: dict[str, int] = {}
    for digest in (image.digest, image.id, *(layer.digest for layer in image.layers)):
        sizes[digest] = engine.blobs.size(digest) or 0
    for key in layer_keys(image):
        try:
            sizes[key] = int(engine.layers.record(key)["size"])
        except NotFoundError:
            continue  # it is not unpacked
    return sizes


def containers(engine: Engine) -> list[Usage]:
    """Each container with the bytes that it has written; active is 1 while it runs."""
    found = list(engine.containers.all())
    sizes = snapshot_sizes(engine, found)
    return [
        Usage(one, size, 0, int(one.run is not None))
        for one, size in zip(found, sizes, strict=True)
    ]


def volumes(engine: Engine) -> list[Usage]:
    """Each volume with the bytes that its driver tells; active is the number of its containers."""
    if not engine.has_volumes():
        return []
    from sampan.engine.volumes import usages, users

    using = users(engine)
    return [Usage(name, size, 0, len(using.get(name, ()))) for name, size in usages(engine)]


def builds(engine: Engine) -> list[Usage]:
    """Each entry of the build cache; what an image has, too, counts as the image's."""
    from sampan.engine.builder import entries

    return [
        Usage(one, 0 if one.shared else one.size, 0, int(one.in_use)) for one in entries(engine)
    ]


def reclaimable(found: Sequence[Usage]) -> int:
    """The bytes that nobody uses."""
    return sum(one.size - one.shared for one in found if not one.active)
