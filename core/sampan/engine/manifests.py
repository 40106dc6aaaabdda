"""Manifest lists: images of several platforms under one name, made here and pushed as one.

An entry is an image of the store, or one of a registry of which only the manifest is fetched; its blobs
are fetched when the list is pushed with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sampan.engine import Engine, pack
from sampan.engine.fetching import Fetcher, LayerWork, Progress, Silent
from sampan.engine.images import UnknownImageError, full_name
from sampan.engine.images import find as find_image
from sampan.engine.pull import find as find_remote
from sampan.engine.push import Pusher
from sampan.errors import NotFoundError, UnsupportedError, UsageError
from sampan.model import convert, reference
from sampan.model import image as model
from sampan.model import platform as platforms
from sampan.registry import config as registries
from sampan.registry.access import Access
from sampan.registry.fetch import Fetched, Remote
from sampan.registry.upload import Upload
from sampan.store.blobs import digest_of
from sampan.store.leases import Lease
from sampan.store.lists import Lists, ManifestList
from sampan.transports import place


class Marks(NamedTuple):
    """What the user says of an entry; what is empty stays as it is."""

    platform: Mapping[str, Any] = {}
    annotations: Mapping[str, str] = {}


NO_MARKS = Marks()


def create(
    engine: Engine,
    name: str,
    images: Sequence[str],
    *,
    everything: bool = False,
    amend: bool = False,
    access: Access = Access(),
    progress: Progress | None = None,
) -> ManifestList:
    """A list with these images. What goes wrong leaves no list behind that was not there."""
    lists, name = Lists(engine.root_fd), full_name(name)
    there = lists.exists(name)
    if engine.images.exists(name):
        raise UsageError(f"cannot make the list {name}", "an image has that name")
    lists.create(name, amend=amend)
    try:
        for image in images:
            add(engine, name, image, everything=everything, access=access, progress=progress)
    except BaseException:
        if not there:
            lists.remove(name)
        raise
    return lists.get(name)


def add(
    engine: Engine,
    name: str,
    word: str,
    *,
    everything: bool = False,
    marks: Marks = NO_MARKS,
    access: Access = Access(),
    progress: Progress | None = None,
) -> ManifestList:
    """Add an image, of an index all of its images with `everything`, else the one of this machine."""
    tell = progress or Silent()
    with engine.images.lease() as lease:
        entries, source = _entries(engine, lease, word, everything, access, tell)
        marked = [_marked(entry, marks) for entry in entries]

        def change(found: ManifestList) -> None:
            new = {entry["digest"] for entry in marked}
            found.document["manifests"] = [
                e for e in found.entries if e["digest"] not in new
            ] + marked
            for digest in new if source else ():
                found.sources[digest] = source

        return Lists(engine.root_fd).change(full_name(name), change)


def annotate(engine: Engine, name: str, word: str, marks: Marks) -> ManifestList:
    """Change what the list says of an entry, named by its digest or by an image of the store."""
    digest = word if reference.is_digest(word) else find_image(engine, word).digest

    def change(found: ManifestList) -> None:
        _need(found, digest)
        found.document["manifests"] = [
            _marked(entry, marks) if entry["digest"] == digest else entry for entry in found.entries
        ]

    return Lists(engine.root_fd).change(full_name(name), change)


def remove(engine: Engine, name: str, digest: str) -> ManifestList:
    """Take an entry out of the list."""

    def change(found: ManifestList) -> None:
        _need(found, digest)
        found.document["manifests"] = [e for e in found.entries if e["digest"] != digest]
        found.sources.pop(digest, None)

    return Lists(engine.root_fd).change(full_name(name), change)


def document(engine: Engine, name: str, access: Access, progress: Progress) -> dict[str, Any]:
    """The index of a list of the store, else of that name in a registry."""
    lists = Lists(engine.root_fd)
    bare = place.bare(name)
    if not name.startswith(place.DOCKER) and lists.exists(full_name(bare)):
        return lists.get(full_name(bare)).document
    _, fetched = find_remote(bare, access, progress)
    return model.load_document(fetched.data, model.MANIFEST_LIMIT, f"the manifest of {name}")


def push(
    engine: Engine,
    name: str,
    destination: str = "",
    *,
    everything: bool = False,
    form: str = "oci",
    access: Access = Access(),
    progress: Progress | None = None,
) -> str:
    """Push the list, with `everything` its images too; returns the digest that it has there."""
    tell = progress or Silent()
    found = Lists(engine.root_fd).get(full_name(name))
    if place.parse(destination) is not None:
        raise UnsupportedError(f"cannot push {name} to {destination}", "lists go to registries")
    target = reference.parse(place.bare(destination) or found.name)
    upload = Upload(target, registries.load(), access=access, note=tell.note)
    pusher = Pusher(engine, upload, tell)
    with engine.images.lease() as lease:
        for entry in found.entries if everything else ():
            lease.add(entry["digest"])
            data = engine.blobs.read(entry["digest"], model.MANIFEST_LIMIT)
            _bring(engine, lease, data, found.sources.get(entry["digest"], ""), access, tell)
            pusher.blobs(data)
            pusher.manifest(data, entry["digest"])
    kind = model.OCI_INDEX if form == "oci" else model.DOCKER_LIST
    return pusher.manifest(pack.encode({**found.document, "mediaType": kind}), target.selector)


def identity(found: ManifestList) -> str:
    """The digest of the list as it is now, without sha256:."""
    return digest_of(pack.encode(found.document)).removeprefix("sha256:")


def _entries(
    engine: Engine, lease: Lease, word: str, everything: bool, access: Access, tell: Progress
) -> tuple[list[dict[str, Any]], str]:
    """The descriptors of an image's manifests, which are stored, and where its blobs are ("": here)."""
    if not word.startswith(place.DOCKER):
        try:
            image = find_image(engine, word)
        except UnknownImageError:
            pass
        else:
            lease.add(image.digest)
            platform = {"architecture": image.architecture, "os": image.os}
            if image.variant:
                platform["variant"] = image.variant
            data = engine.blobs.read(image.digest, model.MANIFEST_LIMIT)
            return [_descriptor(data, image.media_type, platform)], ""
    remote, fetched = find_remote(place.bare(word), access, tell)
    source = f"{remote.name.repository}@{fetched.digest}"
    parsed = model.parse_manifest(fetched.data, fetched.media_type)
    if isinstance(parsed, model.Manifest):
        engine.blobs.put(fetched.data, lease)
        return [
            _descriptor(
                fetched.data, parsed.media_type, _platform(remote, engine, lease, parsed, tell)
            )
        ], source
    chosen = parsed.manifests
    if not everything:
        chosen = [platforms.choose(parsed, platforms.host(), word)]
    for entry in chosen:
        engine.blobs.put(_fetch(remote, entry.digest, entry.size).data, lease)
    return [dict(entry.document) for entry in chosen], source


def _fetch(remote: Remote, digest: str, size: int) -> Fetched:
    fetched = remote.manifest(digest)
    if len(fetched.data) != size:
        raise NotFoundError(
            f"the manifest {digest} has {len(fetched.data)} bytes instead of {size}"
        )
    return fetched


def _platform(
    remote: Remote, engine: Engine, lease: Lease, manifest: model.Manifest, tell: Progress
) -> dict[str, str]:
    """Of an image that is in no index its configuration tells."""
    lease.add(manifest.config.digest)
    Fetcher(engine.blobs, remote, tell).blob(manifest.config, "config", None)
    data = engine.blobs.read(manifest.config.digest, model.CONFIG_LIMIT)
    config = model.parse_config(data, len(manifest.layers))
    found = {"architecture": config.architecture, "os": config.os}
    return {**found, "variant": config.variant} if config.variant else found


def _descriptor(data: bytes, media_type: str, platform: Mapping[str, Any]) -> dict[str, Any]:
    kind = media_type or convert.FORMS["oci"]
    return {
        "mediaType": kind,
        "digest": digest_of(data),
        "size": len(data),
        "platform": dict(platform),
    }


def _marked(entry: Mapping[str, Any], marks: Marks) -> dict[str, Any]:
    found = dict(entry)
    if marks.platform:
        found["platform"] = {**(entry.get("platform") or {}), **marks.platform}
    if marks.annotations:
        found["annotations"] = {**(entry.get("annotations") or {}), **marks.annotations}
    return found


def _need(found: ManifestList, digest: str) -> None:
    if all(entry["digest"] != digest for entry in found.entries):
        raise NotFoundError(
            f"{found.name} has no entry {digest}", "", "sampan manifest inspect shows them"
        )


def _bring(
    engine: Engine, lease: Lease, data: bytes, source: str, access: Access, tell: Progress
) -> None:
    """See that all blobs of a manifest are in the store, kept by the lease."""
    parsed = model.parse_manifest(data)
    if isinstance(parsed, model.Index):
        raise UnsupportedError("cannot push the list", "an entry of it is an index itself")
    layers = [layer for layer in parsed.layers if not convert.is_foreign(layer.media_type)]
    lease.add(parsed.config.digest, *(layer.digest for layer in layers))
    work = {one.digest: LayerWork(one, []) for one in (parsed.config, *layers)}
    missing = [one for one in work.values() if not engine.blobs.has(one.descriptor.digest)]
    if missing:
        remote = Remote(reference.parse(source), registries.load(), access=access, note=tell.note)
        Fetcher(engine.blobs, remote, tell).all(missing, None)
