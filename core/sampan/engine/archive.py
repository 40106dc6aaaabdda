"""A container as tar: its changes as a layer (commit), or all of its tree (export)."""

from __future__ import annotations

import os

from sampan.engine import mounted, pack, warn
from sampan.errors import SampanError
from sampan.store import changetar
from sampan.store.layers import LayerStore
from sampan.store.tarwriter import TarWriter
from sampan.store.truth import Truth, inside_owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sampan.drivers import Change
    from sampan.engine import Engine
    from sampan.store.containers import Container

BUFFER = 1 << 20
STEP = 8 << 20  # bytes between two words on the progress


def layer(
    engine: Engine, container: Container, changes: Sequence[Change], *, squash: bool = False
) -> mounted.Reading:
    """A child that gives the container's changes, or with `squash` its whole tree, as a layer."""

    def produce(root: int, out: int) -> None:
        write_changes(engine, container, root, changes, out, squash=squash)

    engine.layers.keys(())  # what a power cut has left is dropped before the child looks
    return mounted.container(engine, container, produce)


def write_changes(
    engine: Engine,
    container: Container,
    root: int,
    changes: Sequence[Change],
    out: int,
    *,
    squash: bool = False,
    latest: int | None = None,
    given: Mapping[bytes, tuple[int, int]] | None = None,
) -> TarWriter:
    """In a child that has the container's root: the layer of the changes, or of everything.

    latest: no time in it is later (seconds); None is what SOURCE_DATE_EPOCH says.
    """
    with open(out, "wb", buffering=BUFFER, closefd=False) as file:
        writer = _writer(
            engine, container, changes, file.write, layer=True, latest=latest, given=given
        )
        if squash:
            writer.root(root)
            writer.tree(root)
        else:
            changetar.write(writer, root, changes)
        writer.close()
    tell(writer)
    return writer


def export(
    engine: Engine,
    container: Container,
    target: int,
    progress: Callable[[int], object] = lambda done: None,
) -> None:
    """Write the container's tree to the descriptor: one flat archive, the same for the same tree."""
    from sampan.engine.difference import changes

    changed = changes(engine, container) if engine.idmap.single else []

    def produce(root: int, out: int) -> None:
        with open(target, "wb", buffering=BUFFER, closefd=False) as file:
            told = written = 0

            def write(data: bytes) -> None:
                nonlocal told, written
                file.write(data)
                written += len(data)
                if written - told >= STEP:
                    told = written
                    os.write(out, written.to_bytes(8, "big"))

            writer = _writer(engine, container, changed, write, layer=False)
            writer.tree(root)
            writer.close()
        tell(writer)

    engine.layers.keys(())
    with mounted.container(engine, container, produce) as reading:
        while data := reading.read(8):
            progress(int.from_bytes(data, "big"))


def _writer(
    engine: Engine,
    container: Container,
    changes: Sequence[Change],
    write: Callable[[bytes], object],
    *,
    layer: bool,
    latest: int | None = None,
    given: Mapping[bytes, tuple[int, int]] | None = None,
) -> TarWriter:
    storage = container.record["storage"]
    driver = engine.driver("storage", storage["driver"])
    notes = LayerStore(engine.root_fd, driver, engine.idmap).truth(storage["chain"])
    mapping = None
    if not container.live and not engine.idmap.single:
        mapping = container.record.get("idmap")
    return TarWriter(
        write,
        (pack.source_date_epoch() if latest is None else latest) if layer else None,
        truth=Truth(notes, engine.idmap.single, changes, given),
        owners=inside_owners(mapping) if mapping else None,
        layer=layer,
    )


def tell(writer: TarWriter) -> None:
    """What the user must know of what is not in the archive as it was."""
    from sampan.store.pax import show

    if writer.sockets:
        warn(f"{writer.sockets} sockets were left out: no archive can hold them")
    if writer.refused:
        warn(f"{writer.refused} files were left out: in a layer .wh. begins a whiteout's name")
    if writer.unsteady:
        more = f" and {len(writer.unsteady) - 1} more" if len(writer.unsteady) > 1 else ""
        warn(f"{show(writer.unsteady[0])}{more} changed while it was read")


def open_output(path: str) -> int:
    """The descriptor of a new file, or of what is there."""
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        return os.open(path, flags, 0o666)
    except OSError as error:
        raise SampanError(f"cannot write {path}", error.strerror or "") from None
