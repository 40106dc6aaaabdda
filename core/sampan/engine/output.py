"""`build -o`: where a built image goes besides the store.

`local` and `tar` are its file system, merged from its layers.  A directory is written as `cp` writes one: by a child
that has it as its root, so no link in it leads anywhere else.  What is written belongs to the user, so no file in it
is set-id.  `oci` and `docker` are archives (or a layout), as `save` writes them; `image` gives further names,
`registry` pushes.
"""

from __future__ import annotations

import contextlib
import os

from sampan.errors import UnsupportedError, UsageError, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

    from sampan.engine import Engine, mounted
    from sampan.engine.fetching import Progress
    from sampan.registry.access import Access
    from sampan.store.images import Image
    from sampan.store.truth import Owners

KEYS: dict[str, tuple[str, ...]] = {  # by type
    "local": ("dest",),
    "tar": ("dest",),
    "oci": ("dest", "name", "tar"),
    "docker": ("dest", "name", "tar"),
    "image": ("name", "push"),
    "registry": ("name", "push"),
    "cacheonly": (),
}
SOMEBODY = 1, 1  # an owner whose files may not be set-id when they become the user's


def check(outputs: Sequence[Mapping[str, str]], tags: Sequence[str]) -> None:
    """Before a build: that each output can be had. UsageError, UnsupportedError."""
    for one in outputs:
        kind = one["type"]
        if kind not in KEYS:
            raise UnsupportedError(
                f"output type {kind!r} is not supported", "", f"one of {', '.join(KEYS)}"
            )
        unknown = set(one) - {"type", *KEYS[kind]}
        if unknown:
            raise UnsupportedError(f"output type {kind} has no {min(unknown)!r}")
        if kind == "local" and not one.get("dest"):
            raise UsageError("cannot write output type local", "dest= is missing", "dest=DIR")
        if _on_stdout(one) and os.isatty(1):
            raise UsageError(
                f"cannot write output type {kind}", "a terminal is no place for it", "dest=FILE"
            )
        if _is_pushed(one) and not _names(one, tags):
            raise UsageError("cannot push the image", "it has no name", "-t NAME")
        if one.get("tar") == "false" and (kind != "oci" or not one.get("dest")):
            raise UnsupportedError(
                f"output type {kind} is no directory", "", "type=oci,tar=false,dest=DIR is one"
            )


def to_stdout(outputs: Sequence[Mapping[str, str]]) -> bool:
    """Whether standard output is taken."""
    return any(_on_stdout(one) for one in outputs)


def _on_stdout(one: Mapping[str, str]) -> bool:
    if one["type"] == "docker":
        return one.get("dest") == "-"  # without one it is the store
    return one["type"] in ("tar", "oci") and one.get("dest", "-") == "-"


def _is_pushed(one: Mapping[str, str]) -> bool:
    return one["type"] == "registry" or one.get("push", "false").lower() in ("true", "1")


def _names(one: Mapping[str, str], tags: Sequence[str]) -> list[str]:
    from sampan.engine.images import full_name

    given = [name for name in one.get("name", "").split(",") if name]
    return [full_name(name) for name in given] or list(tags)


def is_for_the_store(one: Mapping[str, str]) -> bool:
    """Whether the image is to be listed for this output's sake."""
    return one["type"] in ("image", "registry") or (one["type"] == "docker" and "dest" not in one)


def write(
    engine: Engine,
    image: Image,
    outputs: Sequence[Mapping[str, str]],
    tags: Sequence[str],
    *,
    access: Access,
    progress: Progress,
) -> None:
    """Write the image to each place."""
    for one in outputs:
        kind = one["type"]
        if kind == "local":
            to_directory(engine, image, one["dest"])
        elif kind == "tar":
            to_tar(engine, image, one.get("dest", "-"))
        elif kind in ("oci", "docker") and not is_for_the_store(one):
            _save(engine, image, one, tags, progress)
        elif kind in ("image", "registry"):
            _name_and_push(engine, image, one, tags, access, progress)


def settle(
    engine: Engine, image: Image, outputs: Sequence[Mapping[str, str]], before: Collection[str]
) -> bool:
    """Whether the image stays listed: not where it was made for other places, has no name, and was not there before."""
    from sampan.engine.images import delete

    if not outputs or any(map(is_for_the_store, outputs)) or image.id in before:
        return True
    image = engine.images.resolve(image.id)
    if image.references:
        return True
    delete(engine, image)
    return False


def _save(
    engine: Engine,
    image: Image,
    one: Mapping[str, str],
    tags: Sequence[str],
    progress: Progress,
) -> None:
    from sampan.engine import save
    from sampan.transports.output import Tar

    chosen, path = [save.Chosen(image, _names(one, tags))], one.get("dest", "-")
    if one.get("tar") == "false":
        save.write(engine, chosen, "oci", save.directory(path), False, progress)
    elif path == "-":
        save.write(engine, chosen, one["type"], Tar(1), False, progress)
    else:
        save.whole_file(
            path, lambda fd: save.write(engine, chosen, one["type"], Tar(fd), False, progress)
        )


def _name_and_push(
    engine: Engine,
    image: Image,
    one: Mapping[str, str],
    tags: Sequence[str],
    access: Access,
    progress: Progress,
) -> None:
    from sampan.engine.push import push

    names = _names(one, tags)
    for name in names:
        if name not in tags:
            engine.images.tag(image, name)
    for name in names if _is_pushed(one) else ():
        push(engine, name, access=access, progress=progress)


def to_directory(engine: Engine, image: Image, path: str) -> None:
    """The file system in a directory, over what is there."""
    from sampan.engine import warn
    from sampan.engine.copy import Choice, deliver
    from sampan.engine.copy_place import Place
    from sampan.engine.copy_write import Target

    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise from_os_error(f"cannot write {path}", error) from None
    choice = Choice(archive=False, follow=False, overwrite=True)
    target = Target(os.path.realpath(path), "")
    with _tree(engine, image, owners=lambda uid, gid: SOMEBODY) as reading:
        notices = deliver(reading, Place(engine, None, path), target, choice, lambda done: None)
    if notices.get("devices"):
        warn(f"{notices['devices']} devices were left out: your user cannot make any")


def to_tar(engine: Engine, image: Image, path: str) -> None:
    """The file system as one archive; - is standard output."""
    from sampan.engine.save import whole_file

    def fill(fd: int) -> None:
        with _tree(engine, image, fd) as reading:
            reading.read()

    if path == "-":
        fill(1)
    else:
        whole_file(path, fill)


@contextlib.contextmanager
def _tree(
    engine: Engine, image: Image, out: int = -1, owners: Owners | None = None
) -> Generator[mounted.Reading]:
    """A child that writes the image's tree as an archive to `out`, or to who reads."""
    from sampan.engine import archive, mounted, unpack
    from sampan.linux import userns
    from sampan.store.tarwriter import TarWriter
    from sampan.store.truth import Truth

    unpack.ready(engine, image)
    chain = unpack.chain(image)
    key = f"d{os.urandom(8).hex()}"
    snapshots = [engine.storage.prepare(key, chain, readonly=True)] if chain else []
    engine.layers.keys(())  # what a power cut has left is dropped before the child looks

    def inside(roots: list[int], pipe: int) -> None:
        target = pipe if out < 0 else out
        with open(target, "wb", buffering=archive.BUFFER, closefd=False) as file:
            truth = Truth(engine.layers.truth(chain), engine.idmap.single)
            writer = TarWriter(file.write, truth=truth, owners=owners, layer=False, holes=True)
            for root in roots:
                writer.tree(root)
            writer.close()
        archive.tell(writer)

    try:
        with mounted.snapshots(engine, snapshots, inside) as reading:
            yield reading
    finally:
        userns.run(engine.idmap, lambda: engine.storage.remove(key))
