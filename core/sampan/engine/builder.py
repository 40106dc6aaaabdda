"""builder: what the build cache takes of the disk, and its removal.

A part (a blob, or a layer's directory) counts once, for the first record that needs it: that of the shortest chain.
What an image needs too is shared, and to remove its record frees nothing.  A record never goes before those that
build on it, so what is left of a cache is always of use.
"""

from __future__ import annotations

import os

from sampan import files, jsontext
from sampan.engine.images import layer_keys, needed_layers
from sampan.errors import NotFoundError, UsageError
from sampan.linux import userns
from sampan.model import times
from sampan.store.buildcache import INTERNAL, MOUNT, BuildCache
from sampan.store.cachemounts import CacheMounts, open_mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sampan.engine import Engine
    from sampan.store.buildcache import Record
    from sampan.store.cachemounts import CacheMount

FLAGS = "inuse", "mutable", "immutable", "shared", "private"
KEYS = "id", "type", "description"


class Entry:
    """A result of a step, or a cache mount.

    kind: regular, source.local or exec.cachemount.  size: bytes on disk.  shared: an image has its own layer, too.
    in_use: a command has it mounted.  chain: the keys of its layers, bottom first.  parts: what it needs and no image
    has, with the bytes of each.
    """

    __slots__ = (
        "chain", "created", "description", "in_use", "key", "kind", "parent", "parts", "shared", "size", "used",
    )  # fmt: skip

    def __init__(self, item: Record | CacheMount, kind: str) -> None:
        self.key, self.description, self.kind = item.key, item.description, kind
        self.created, self.used = item.created, item.used
        self.size, self.parent = 0, ""
        self.chain: list[str] = []
        self.parts: dict[str, int] = {}
        self.shared = self.in_use = False

    @property
    def mutable(self) -> bool:
        return self.kind == MOUNT

    @property
    def reclaimable(self) -> bool:
        """Whether its removal makes room."""
        return not (self.shared or self.in_use)


def entries(engine: Engine, filters: Sequence[str] = ()) -> list[Entry]:
    """All that the cache holds, the last used first."""
    wanted = _tests(filters)
    found = [*_records(engine), *_mounts(engine)]
    return sorted(
        (one for one in found if all(test(one) for test in wanted)),
        key=lambda one: (-one.used, one.key),
    )


def _records(engine: Engine) -> list[Entry]:
    of_images: set[str] = set()
    for image in engine.images.list():
        of_images.update(layer_keys(image), (layer.digest for layer in image.layers))
    found = sorted(
        BuildCache(engine.root_fd).list(),
        key=lambda one: (len(one.layers), one.kind == INTERNAL, one.created),
    )
    known: dict[str, int] = {}
    claimed: set[str] = set()
    tops: dict[str, str] = {}  # the first record by the last layer of its chain
    made: list[Entry] = []
    for record in found:
        one = Entry(record, record.kind)
        one.chain = record.layer_keys
        rows = list(zip(one.chain, (layer.digest for layer in record.layers), strict=True))
        own = set(rows[-1]) if rows else set[str]()
        parts = [part for row in rows for part in row if part in own or part not in of_images]
        for part in parts:
            if part not in known:
                known[part] = _bytes(engine, part)
        sizes = {part: known[part] for part in parts}
        one.shared = bool(own) and one.chain[-1] in of_images
        one.size = sum(size for part, size in sizes.items() if part not in claimed)
        claimed.update(sizes)
        one.parts = {part: size for part, size in sizes.items() if part not in of_images}
        one.parent = next((tops[key] for key in one.chain[-2::-1] if key in tops), "")
        if own:
            tops.setdefault(one.chain[-1], one.key)
        made.append(one)
    return made


def _bytes(engine: Engine, part: str) -> int:
    """Bytes of a blob, or of a layer that is unpacked."""
    if part.startswith("sha256:"):
        return engine.blobs.size(part) or 0
    try:
        return int(engine.layers.record(part)["size"])
    except NotFoundError:
        return 0


def _mounts(engine: Engine) -> list[Entry]:
    mounts = open_mounts(engine.root_fd)
    if mounts is None:
        return []
    try:
        made = [Entry(mount, MOUNT) for mount in mounts.list()]
        sizes = _measured(engine, mounts, made)
        for one, size in zip(made, sizes, strict=True):
            one.size, one.in_use = size, mounts.in_use(one.key)
            one.parts = {one.key: size}
        return made
    finally:
        mounts.close()


def _measured(engine: Engine, mounts: CacheMounts, made: Sequence[Entry]) -> list[int]:
    """Bytes of each directory: parts of it may belong to subordinate ids."""
    from sampan.engine import mounted

    def measure(out: int) -> None:
        sizes: list[int] = []
        for one in made:
            top = files.open_directory(one.key, dir_fd=mounts.fd)
            sizes.append(files.usage(top))
            os.close(top)
        os.write(out, jsontext.dumps(sizes).encode())

    if not made:
        return []
    answer = b""
    with mounted.namespace(engine, measure) as reading:
        while data := reading.read():
            answer += data
    return [int(size) for size in jsontext.loads(answer)]


def _tests(filters: Sequence[str]) -> list[Callable[[Entry], bool]]:
    """KEY=VALUE, or one of FLAGS alone; all must hold."""
    tests: list[Callable[[Entry], bool]] = []
    for text in filters:
        key, equals, value = text.partition("=")
        if key in FLAGS and value in ("", "true", "1", "false", "0"):
            tests.append(_flag(key, value not in ("false", "0")))
        elif equals and key in KEYS:
            tests.append(_text(key, value))
        elif equals and key in ("until", "unused-for"):
            tests.append(_unused(value))
        else:
            known = ", ".join([*(f"{one}=" for one in (*KEYS, "until")), *FLAGS])
            raise UsageError(f"invalid filter {text!r}", "", f"known: {known}")
    return tests


def _flag(key: str, wanted: bool) -> Callable[[Entry], bool]:
    def test(one: Entry) -> bool:
        facts = {"inuse": one.in_use, "mutable": one.mutable, "shared": one.shared}
        opposite = {"immutable": "mutable", "private": "shared"}
        return (facts[opposite.get(key, key)] == wanted) != (key in opposite)

    return test


def _text(key: str, value: str) -> Callable[[Entry], bool]:
    if key == "type":
        return lambda one: one.kind == value
    return lambda one: value in (one.key if key == "id" else one.description)


def _unused(value: str) -> Callable[[Entry], bool]:
    limit = times.moment(value)
    return lambda one: one.used < limit


def totals(found: Iterable[Entry]) -> dict[str, int]:
    """Bytes: Shared, Private, Reclaimable and Total, as `docker buildx du` has them."""
    found = list(found)
    total = sum(one.size for one in found)
    shared = sum(one.size for one in found if one.shared)
    return {
        "Shared": shared,
        "Private": total - shared,
        "Reclaimable": sum(one.size for one in found if one.reclaimable),
        "Total": total,
    }


def prune(
    engine: Engine, *, everything: bool = False, filters: Sequence[str] = (), keep: int = 0
) -> tuple[list[Entry], int]:
    """Remove what no image uses, or with `everything` all; what is mounted stays.

    keep: bytes that may stay; then the least recently used go first, until no more is left.  Returns what is gone,
    and the bytes that this gave back.
    """
    from sampan.engine import tidy

    tidy.builds(engine)
    BuildCache(engine.root_fd).sweep()
    wanted = _tests(filters)
    whole = entries(engine)
    doomed = [
        one
        for one in _in_order(whole)
        if not one.in_use and (everything or not one.shared) and all(test(one) for test in wanted)
    ]
    if keep:
        doomed = _beyond(whole, doomed, keep)
    gone = _remove(engine, doomed)
    return gone, _freed(engine, gone)


def _in_order(found: Sequence[Entry]) -> list[Entry]:
    """The least recently used first, and what others build on after them."""
    latest: dict[str, float] = {}
    for one in found:
        for key in one.chain:
            latest[key] = max(latest.get(key, 0.0), one.used)
    return sorted(
        found,
        key=lambda one: (latest[one.chain[-1]] if one.chain else one.used, -len(one.chain)),
    )


def _beyond(whole: Sequence[Entry], doomed: Sequence[Entry], keep: int) -> list[Entry]:
    """The first of those whose removal leaves no more than `keep` bytes that no image has."""
    users: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for one in whole:
        for part, size in one.parts.items():
            users[part], sizes[part] = users.get(part, 0) + 1, size
    total = sum(sizes.values())
    chosen: list[Entry] = []
    for one in doomed:
        if total <= keep:
            break
        chosen.append(one)
        for part in one.parts:
            users[part] -= 1
            total -= 0 if users[part] else sizes[part]
    return chosen


def _remove(engine: Engine, doomed: Sequence[Entry]) -> list[Entry]:
    """Remove records and mounts, and collect what they needed; what is used by now stays."""
    BuildCache(engine.root_fd).remove(one.key for one in doomed if not one.mutable)
    gone = [one for one in doomed if not one.mutable]
    mounts = open_mounts(engine.root_fd)
    if mounts is not None:
        try:
            gone += _remove_mounts(engine, mounts, [one for one in doomed if one.mutable])
        finally:
            mounts.close()
    engine.images.collect()
    engine.layers.gc(needed_layers(engine))
    return gone


def _remove_mounts(engine: Engine, mounts: CacheMounts, doomed: Sequence[Entry]) -> list[Entry]:
    aside = {one.key: mounts.put_aside(one.key) for one in doomed}
    names = [*filter(None, aside.values()), *mounts.abandoned()]

    def remove() -> None:
        for name in names:
            files.remove_tree(mounts.fd, name)

    if names:
        userns.run(engine.idmap, remove)
    return [one for one in doomed if aside[one.key]]


def _freed(engine: Engine, gone: Iterable[Entry]) -> int:
    """The bytes of the parts that are there no more."""
    left = {*engine.layers.present(), *engine.blobs.digests()}
    parts = {part: size for one in gone for part, size in one.parts.items()}
    return sum(size for part, size in parts.items() if part not in left)
