"""Changes of the image store: adding, naming, removing and collecting.

Each change reads `index.json`, and writes it whole, under the store's short lock.  A manifest
that loses its last name keeps a descriptor without one: the image is untagged, not gone.  Blobs
go after the index is on disk, so a crash leaves blobs too many and never an image with too few.
"""

from __future__ import annotations

import json
import os

from sampan import files
from sampan.errors import CorruptError, NotFoundError
from sampan.model import image as model
from sampan.store import ingest, leases, links, lists
from sampan.store.buildcache import BuildCache
from sampan.store.entries import HISTORY, ID, LIST, annotations_of, history_of, name_of, named
from sampan.store.images import INDEX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sampan.store.entries import Entry
    from sampan.store.images import ImageStore

_PARTIAL_SECONDS = 7 * 86400.0  # how long a download that was cut may be resumed
_HISTORY = 64  # names that are remembered
_NESTING = 3  # indexes within indexes that are followed


def add(store: ImageStore, entry: Entry, names: Sequence[str]) -> None:
    """List an image under the names; without any it is listed untagged."""
    with leases.store_lock(store.root_fd):
        entries = _without_names(store.entries(), names)
        for other in entries:
            if other["digest"] == entry["digest"]:
                for key in (LIST, HISTORY):  # what this pull need not know
                    if annotations_of(other).get(key):
                        entry["annotations"].setdefault(key, annotations_of(other)[key])
        mine = [named(entry, name) for name in names] or [named(entry, None)]
        # What is now known of the image replaces what its other entries say.
        for other in entries:
            if other["digest"] == entry["digest"] and name_of(other):
                mine.append(named(entry, name_of(other)))
        _write(store, [one for one in entries if one["digest"] != entry["digest"]] + mine)


def tag(store: ImageStore, digest: str, name: str) -> None:
    with leases.store_lock(store.root_fd):
        entries = store.entries()
        source = next((entry for entry in entries if entry["digest"] == digest), None)
        if source is None:
            raise NotFoundError(f"no such image: {digest}", "it was removed meanwhile")
        added = named(source, name)
        _write(store, [*_without_names(entries, [name], keep=digest), added])


def untag(store: ImageStore, name: str) -> None:
    with leases.store_lock(store.root_fd):
        entries = store.entries()
        if not any(name_of(entry) == name for entry in entries):
            raise NotFoundError(f"no such tag: {name}", "no image has that name")
        _write(store, _without_names(entries, [name]))


def remove(store: ImageStore, image_id: str) -> list[str]:
    """Unlist all entries of the image and collect."""
    with leases.store_lock(store.root_fd):
        entries = store.entries()
        gone = {entry["digest"] for entry in entries if _id(store, entry) == image_id}
        left = [entry for entry in entries if entry["digest"] not in gone]
        _write(store, left)
        return _collect(store, left)


def collect(store: ImageStore) -> list[str]:
    with leases.store_lock(store.root_fd):
        return _collect(store, store.entries())


def _collect(store: ImageStore, entries: Iterable[Entry]) -> list[str]:
    """Unlink the blobs that nothing refers to. The lock is held, so no lease can be added
    meanwhile.
    """
    keep = leases.leased(store.root_fd)
    keep.update(links.kept(store.root_fd))
    keep.update(BuildCache(store.root_fd).kept())
    for entry in entries:
        _mark(store, entry["digest"], keep, _NESTING)
        index = annotations_of(entry).get(LIST)
        if index:
            keep.add(index)
    for one in lists.read_all(store.root_fd):
        for listed in one.entries:
            _mark(store, listed["digest"], keep, _NESTING)
    gone = [digest for digest in store.blobs.digests() if digest not in keep]
    for digest in gone:
        store.blobs.remove(digest)
    directory = store.blobs.directory()
    try:
        files.sweep(directory)
    finally:
        os.close(directory)
    ingest.sweep(store.root_fd, _PARTIAL_SECONDS)
    return gone


def _mark(store: ImageStore, digest: str, keep: set[str], nesting: int) -> None:
    """Keep a manifest with its blobs, or an index with its manifests."""
    keep.add(digest)
    try:
        parsed = model.parse_manifest(store.blobs.read(digest, model.MANIFEST_LIMIT))
    except (NotFoundError, CorruptError):
        return  # of a lost or damaged manifest nothing more is known
    if isinstance(parsed, model.Manifest):
        keep.add(parsed.config.digest)
        keep.update(layer.digest for layer in parsed.layers)
    elif nesting > 0:
        for entry in parsed.manifests:
            _mark(store, entry.digest, keep, nesting - 1)


def _without_names(entries: Iterable[Entry], names: Sequence[str], keep: str = "") -> list[Entry]:
    """The entries without these names; what had no other name goes on untagged, except `keep`."""
    entries = list(entries)
    left = [entry for entry in entries if name_of(entry) not in names or not name_of(entry)]
    listed = {entry["digest"] for entry in left} | {keep}
    for entry in entries:
        if entry["digest"] not in listed:
            listed.add(entry["digest"])
            left.append(named(entry, None))
    return left


def _write(store: ImageStore, entries: Iterable[Entry]) -> None:
    entries = _remember_names(list(entries))
    with_names = {entry["digest"] for entry in entries if name_of(entry)}
    document = {
        "schemaVersion": 2,
        "mediaType": model.OCI_INDEX,
        "manifests": [
            entry for entry in entries if name_of(entry) or entry["digest"] not in with_names
        ],
    }
    os.close(store.blobs.directory())  # completes the layout in a new store
    files.write_atomic(store.root_fd, INDEX, json.dumps(document, separators=(",", ":")).encode())


def _remember_names(entries: list[Entry]) -> list[Entry]:
    """Every entry of an image knows the names that the image has and had."""
    histories: dict[str, list[str]] = {}
    for entry in entries:
        histories.setdefault(entry["digest"], []).append(name_of(entry))
    for entry in entries:  # the present names come first
        histories[entry["digest"]].extend(history_of(entry))
    remembered: list[Entry] = []
    for entry in entries:
        annotations = dict(annotations_of(entry))
        names = [name for name in dict.fromkeys(histories[entry["digest"]]) if name]
        annotations[HISTORY] = ",".join(names[:_HISTORY])
        remembered.append(dict(entry, annotations=annotations))
    return remembered


def _id(store: ImageStore, entry: Entry) -> str:
    noted = annotations_of(entry).get(ID)
    if noted:
        return noted
    try:
        return str(store.described(entry)["annotations"][ID])
    except (NotFoundError, CorruptError):
        return ""
