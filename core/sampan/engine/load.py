"""load: the images of an archive or a directory, each verified and unpacked like one of a registry.

An archive that is compressed, or comes through a pipe, is first written to a file without a name, in
the store: its parts are read in another order than they come.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from sampan import files
from sampan.engine import pack
from sampan.engine.fetching import Silent
from sampan.engine.receive import Receiving
from sampan.errors import CorruptError, NotFoundError, SampanError
from sampan.model import platform as platforms
from sampan.model import reference
from sampan.store import inflate
from sampan.store.images import Image
from sampan.store.layers import LayerSource
from sampan.transports import docker_archive
from sampan.transports.oci import Flat, Layout, Listed
from sampan.transports.tree import Archive, Directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sampan.engine import Engine
    from sampan.engine.fetching import Progress
    from sampan.model.platform import Platform
    from sampan.store.leases import Lease
    from sampan.transports.docker_archive import Archived
    from sampan.transports.place import Place
    from sampan.transports.tree import Piece, Tree

_THREADS = 2
_READ = 1 << 12
_NO_FORMAT = "payload does not match any of the supported image formats:"  # podman's words


class Loaded(NamedTuple):
    """names: those that the archive gave it, full ones."""

    image: Image
    names: list[str]


def load(engine: Engine, path: str, progress: Progress | None = None) -> list[Loaded]:
    """All images of a file, a directory, or ("-") standard input, in whichever format it has."""
    label = "standard input" if path == "-" else path
    tree = (
        _directory(path) if path != "-" and os.path.isdir(path) else _archive(engine, path, label)
    )
    tell = progress or Silent()
    tried: list[str] = []
    try:
        for name, take in (("oci", _load_layout), ("docker", _load_docker), ("dir", _load_flat)):
            try:
                return take(engine, tree, tell)
            except _OtherFormat as error:
                tried.append(f"{name}: {error}")
    finally:
        tree.close()
    raise CorruptError(f"cannot load {label}", f"{_NO_FORMAT} {', '.join(tried)}")


def pull_place(
    engine: Engine, place: Place, *, platform: str | None = None, progress: Progress | None = None
) -> list[Image]:
    """The image of TRANSPORT:PATH[:NAME]; of an archive without a name all its images."""
    tell, wanted = progress or Silent(), platforms.parse(platform) if platform else None
    archive = place.transport.endswith("-archive")
    tree = _archive(engine, place.path, place.path) if archive else _directory(place.path)
    try:
        if place.transport == "docker-archive":
            chosen = [
                one for one in docker_archive.images(tree) if not place.name or _is(one, place.name)
            ]
            if not chosen:
                raise NotFoundError(f"{tree.label} has no image {place.name}")
            return [_docker_image(engine, tree, one, tell).image for one in chosen]
        if place.transport == "dir":
            flat = Flat(tree)
            return [_take(engine, flat, flat.find(), [_path_name(place.path)], tell, wanted).image]
        layout = Layout(tree)
        listed = layout.find(place.name)
        names = _names(listed.names) or [_path_name(place.path)]
        return [_take(engine, layout, listed, names, tell, wanted).image]
    finally:
        tree.close()


class _OtherFormat(Exception):
    """The tree has not the file that a format begins with."""


def _directory(path: str) -> Directory:
    try:
        return Directory(path)
    except OSError as error:
        raise SampanError(f"cannot read {path}", error.strerror or "") from None


def _archive(engine: Engine, path: str, label: str) -> Archive:
    what = f"cannot load {label}"
    if path.startswith(("http://", "https://")):
        return _fetched(engine, path, what)
    try:
        fd = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.read(fd, 0)
    except OSError as error:
        raise SampanError(what, error.strerror or "") from None
    try:
        seeks = os.lseek(fd, 0, os.SEEK_CUR) == 0
        head = os.pread(fd, 16, 0)
    except OSError:
        seeks, head = False, b""
    try:
        if not seeks or inflate.is_compressed(head):
            spooled = _spooled(engine, inflate.reader(fd), what)
            os.close(fd)
            fd = spooled
    except BaseException:
        os.close(fd)
        raise
    return _indexed(fd, label, what)


def _fetched(engine: Engine, url: str, what: str) -> Archive:
    from sampan.engine.importing import download

    read, close = download(url)
    try:
        return _indexed(_spooled(engine, read, what), url, what)
    finally:
        close()


def _indexed(fd: int, label: str, what: str) -> Archive:
    try:
        return Archive(fd, label)
    except BaseException as error:
        os.close(fd)
        if isinstance(error, CorruptError):
            raise CorruptError(
                what, f"{_NO_FORMAT} no tar archive ({error.why or error.what})"
            ) from None
        raise


def _spooled(engine: Engine, compressed: Callable[[], bytes], what: str) -> int:
    """A file without a name that has the archive uncompressed."""
    read = inflate.inflated(compressed, what)
    spooled = files.nameless(engine.root_fd)
    try:
        while chunk := read():
            files.write_all(spooled, chunk)
    except BaseException:
        os.close(spooled)
        raise
    return spooled


def _load_layout(engine: Engine, tree: Tree, tell: Progress) -> list[Loaded]:
    _need(tree, "oci-layout")
    layout = Layout(tree)
    images = layout.images()
    if not images:
        raise CorruptError(f"cannot load {tree.label}", "its index.json lists no image")
    return [_take(engine, layout, one, _names(one.names), tell, None) for one in images]


def _load_docker(engine: Engine, tree: Tree, tell: Progress) -> list[Loaded]:
    _need(tree, "manifest.json")
    with tree.open("manifest.json") as piece:
        if not piece.pread(_READ, 0).lstrip().startswith(b"["):
            raise _OtherFormat("manifest.json is no list")
    return [_docker_image(engine, tree, one, tell) for one in docker_archive.images(tree)]


def _load_flat(engine: Engine, tree: Tree, tell: Progress) -> list[Loaded]:
    _need(tree, "manifest.json")
    flat = Flat(tree)
    return [_take(engine, flat, flat.find(), [], tell, None)]


def _need(tree: Tree, name: str) -> None:
    try:
        tree.open(name).close()
    except NotFoundError:
        raise _OtherFormat(f"it has no {name}") from None


def _take(
    engine: Engine,
    source: Layout | Flat,
    listed: Listed,
    names: list[str],
    tell: Progress,
    wanted: Platform | None,
) -> Loaded:
    label = names[0] if names else f"{listed.digest[:19]} of {source.served_by}"
    receiving = Receiving(engine, source, label, names, tell, wanted)
    return Loaded(receiving.run(source.manifest(listed.digest)), names)


def _docker_image(engine: Engine, tree: Tree, archived: Archived, tell: Progress) -> Loaded:
    """Plain layers are unpacked from where they are, and become blobs meanwhile."""
    diff_ids = archived.config.diff_ids
    chain = [LayerSource(diff_id, diff_id, "", 0) for diff_id in diff_ids]
    with engine.images.lease() as lease, engine.layers.unpacker(chain) as unpacker:
        lease.add(*(f"layer:{key}" for key in engine.layers.keys(diff_ids)))
        for at in engine.layers.missing(chain):
            with tree.open(archived.layers[at]) as piece:
                unpacker.submit(at, piece.fd, (piece.offset, piece.size))
        layers = _packed(engine, lease, tree, archived, tell)
        for notice in unpacker.finish():
            tell.note(notice)
        size = sum(int(engine.layers.record(key)["size"]) for key in engine.layers.keys(diff_ids))
        descriptors = [
            {"mediaType": one.media_type, "digest": one.digest, "size": one.size} for one in layers
        ]
        names, data = _names(archived.names), archived.data
        image = pack.image(engine, lease, data, descriptors, names, size, source=tree.label)
        return Loaded(image, names)


def _packed(
    engine: Engine, lease: Lease, tree: Tree, archived: Archived, tell: Progress
) -> list[LayerSource]:
    """The layers as blobs, each file once; a layer that the store has is not packed again."""
    known = _known(engine)
    wanted = dict(zip(archived.layers, archived.config.diff_ids, strict=True))

    def one(name: str) -> LayerSource:
        with tree.open(name) as piece:
            tell.begin(wanted[name], piece.size, "blob")
            layer = _stored(engine, lease, known.get(wanted[name]))
            if layer is None:
                layer = _pack(
                    engine, lease, piece, f"cannot load {name} of {tree.label}", tell, wanted[name]
                )
            tell.end(wanted[name], "done")
            return layer

    with ThreadPoolExecutor(_THREADS) as pool:
        found = dict(zip(wanted, pool.map(one, wanted), strict=True))
    return [found[name] for name in archived.layers]


def _stored(engine: Engine, lease: Lease, layer: LayerSource | None) -> LayerSource | None:
    """The layer if its blob is in the store, which keeps it from now on."""
    if layer is not None:
        lease.add(layer.digest)
        if engine.blobs.has(layer.digest):
            return layer
    return None


def _pack(
    engine: Engine, lease: Lease, piece: Piece, what: str, tell: Progress, diff_id: str
) -> LayerSource:
    read = inflate.inflated(_reader(piece), what)
    layer = pack.pack(engine, lease, read, lambda done: tell.update(diff_id, done))
    if layer.diff_id != diff_id:
        raise CorruptError(what, f"its digest is {layer.diff_id}, its image says {diff_id}")
    return layer


def _reader(piece: Piece) -> Callable[[], bytes]:
    at = 0

    def read() -> bytes:
        nonlocal at
        chunk = piece.pread(inflate.CHUNK if at else inflate.READ, at)
        at += len(chunk)
        return chunk

    return read


def _known(engine: Engine) -> dict[str, LayerSource]:
    """The layers of all stored images by diff_id."""
    found: dict[str, LayerSource] = {}
    for image in engine.images.list():
        try:
            found.update({layer.diff_id: layer for layer in pack.sources(image)})
        except (SampanError, ValueError):
            continue  # a damaged image has nothing to give
    return found


def _names(texts: Sequence[str]) -> list[str]:
    """Full names: a bare one is of this machine, what is no name is left out."""
    from sampan.engine.images import full_name

    found: list[str] = []
    for text in texts:
        try:
            found.append(full_name(text))
        except SampanError:
            continue
    return list(dict.fromkeys(found))


def _path_name(path: str) -> str:
    """The name of an image that has only a path, as podman makes it."""
    return str(reference.parse(f"localhost/{os.path.abspath(path).strip('/').lower()}"))


def _is(archived: Archived, name: str) -> bool:
    return name in archived.names or any(one == name for one in _names(archived.names))
