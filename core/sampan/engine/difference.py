"""diff: what a container changed of its image, or one image of another."""

from __future__ import annotations

import os

from sampan.drivers import Change
from sampan.engine import mounted, unpack
from sampan.errors import InUseError, NotFoundError, UnsupportedError
from sampan.linux import compare, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sampan.engine import Engine
    from sampan.model.mount import Snapshot
    from sampan.store.containers import Container
    from sampan.store.images import Image

# What the engine puts into the way of every container; podman does not tell it either.
PLACES = frozenset(
    (
        b"dev", b"etc/hostname", b"etc/hosts", b"etc/mtab", b"etc/resolv.conf", b"proc", b"run",
        b"run/.containerenv", b"run/notify", b"run/secrets", b"sys",
    )
)  # fmt: skip


def changes(engine: Engine, container: Container) -> list[Change]:
    """What the container changed, sorted by path."""
    storage = container.record["storage"]
    driver = engine.driver("storage", storage["driver"])
    with mounted.namespace(
        engine, lambda out: _tell(out, driver.changes(storage["key"], storage["chain"]))
    ) as reading:
        return _told(reading)


def diff(engine: Engine, word: str, other: str = "") -> list[Change]:
    """The differences of a container or an image to what it was made from, or to another image."""
    try:
        container = engine.containers.get(word)
    except NotFoundError:
        return _images(engine, word, other)
    if not other:
        return [one for one in changes(engine, container) if one.path and one.path not in PLACES]
    if container.live:
        raise InUseError(
            f"cannot compare container {container.id[:12]} with an image",
            "it runs",
            f"sampan stop {word}",
        )
    storage = container.record["storage"]
    if storage["driver"] != engine.storage.name:
        raise UnsupportedError(
            f"cannot compare container {container.id[:12]} with an image",
            f"its storage driver is {storage['driver']}",
            f"sampan --storage-driver {storage['driver']} diff",
        )
    mine = engine.storage.prepare(storage["key"], storage["chain"])
    found = _compare(engine, [mine], [_chain(engine, _image(engine, other))])
    return [one for one in found if one.path not in PLACES]


def _image(engine: Engine, word: str) -> Image:
    try:
        return engine.images.resolve(word)
    except NotFoundError:
        raise NotFoundError(f"{word} not found", "no such container or image") from None


def _chain(engine: Engine, image: Image) -> list[str]:
    unpack.ready(engine, image)
    return unpack.chain(image)


def _images(engine: Engine, word: str, other: str) -> list[Change]:
    chain = _chain(engine, _image(engine, word))
    below = _chain(engine, _image(engine, other)) if other else chain[:-1]
    return _compare(engine, [], [chain, below]) if chain else []


def _compare(
    engine: Engine, ready: list[Snapshot], chains: Sequence[Sequence[str]]
) -> list[Change]:
    """The differences of the first tree to the second; a chain without layers is an empty tree."""
    keys = [f"d{os.urandom(8).hex()}" for _ in chains]
    made = [
        engine.storage.prepare(key, chain, readonly=True)
        for key, chain in zip(keys, chains, strict=True)
        if chain
    ]

    def produce(roots: list[int], out: int) -> None:
        if len(roots) == 1:
            _tell(out, compare.everything(roots[0], b""))
        else:
            _tell(out, compare.trees(roots[0], roots[1]))

    try:
        with mounted.snapshots(engine, [*ready, *made], produce) as reading:
            found = [change for change in _told(reading) if change.path]
    finally:
        userns.run(engine.idmap, lambda: _remove(engine, keys))
    return sorted(found, key=lambda change: change.path)


def _remove(engine: Engine, keys: Sequence[str]) -> None:
    for key in keys:
        engine.storage.remove(key)


def _tell(out: int, found: Iterable[tuple[str, bytes]]) -> None:
    with open(out, "wb", buffering=1 << 16, closefd=False) as file:
        for kind, path in found:
            file.write(kind.encode() + path + b"\0")


def _told(reading: mounted.Reading) -> list[Change]:
    parts: list[bytes] = []
    while data := reading.read():
        parts.append(data)
    rows = b"".join(parts).split(b"\0")[:-1]
    return [Change(chr(row[0]), row[1:]) for row in rows]
