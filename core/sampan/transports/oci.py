"""Reading an OCI image layout (image-spec, image-layout.md), in a directory or in an archive."""

from __future__ import annotations

from typing import Any, NamedTuple

from sampan.errors import CorruptError, NotFoundError
from sampan.model import image as model
from sampan.model.image import Descriptor, is_list, is_object
from sampan.registry.fetch import Advance, Fetched
from sampan.store.blobs import digest_of
from sampan.store.ingest import Ingest
from sampan.transports.tree import Tree

NAME = "org.opencontainers.image.ref.name"
FULL_NAME = "io.containerd.image.name"  # containerd's and Docker's: `NAME` is but the tag there
_LIMIT = 4 << 20
_CHUNK = 1 << 20


class Listed(NamedTuple):
    """An image of a layout: the texts that name it, as they are written there, and its manifest."""

    names: tuple[str, ...]
    digest: str


class Layout:
    """A source of images, as `registry.fetch.Remote` is one. Safe for threads."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.served_by = tree.label
        document = model.load_document(
            self._read("index.json"), _LIMIT, f"index.json of {tree.label}"
        )
        entries: Any = document.get("manifests")
        if not is_list(entries) or len(entries) > model.INDEX_LIMIT:
            raise CorruptError(f"{tree.label} is refused", "index.json lists no manifests")
        self._entries = [model.parse_descriptor(entry, "index.json") for entry in entries]

    def images(self) -> list[Listed]:
        """Every image once, with all its names."""
        found: dict[str, list[str]] = {}
        for entry in self._entries:
            names = found.setdefault(entry.digest, [])
            name = entry.annotations.get(FULL_NAME) or entry.annotations.get(NAME)
            if name:
                names.append(name)
        return [Listed(tuple(names), digest) for digest, names in found.items()]

    def find(self, name: str) -> Listed:
        """The image of that name; without one, the only image. NotFoundError."""
        images = self.images()
        if not name and len(images) == 1:
            return images[0]
        for entry in self._entries:
            if name and name in (entry.annotations.get(NAME), entry.annotations.get(FULL_NAME)):
                return Listed((name,), entry.digest)
        known = [name for image in images for name in image.names]
        raise NotFoundError(
            f"{self.tree.label} has no image {name}"
            if name
            else f"{self.tree.label} has {len(images)} images",
            f"it names {', '.join(known) or 'none'}",
        )

    def manifest(self, selector: str) -> Fetched:
        """The manifest or index of a digest, verified."""
        data = self._read(_blob(selector))
        if digest_of(data) != selector:
            raise CorruptError(
                f"{selector} is refused", f"its bytes have the digest {digest_of(data)}"
            )
        kinds = [entry.media_type for entry in self._entries if entry.digest == selector]
        return Fetched(data, kinds[0] if kinds else "", selector)

    def blob(
        self, descriptor: Descriptor, ingest: Ingest, advance: Advance, *, mirrors: bool = True
    ) -> None:
        """Copy all bytes of a blob; the caller verifies them."""
        copy(self.tree, _blob(descriptor.digest), ingest, advance)

    def _read(self, name: str) -> bytes:
        return self.tree.open(name).read(_LIMIT, f"{name} of {self.tree.label}")


class Flat:
    """Reading `dir:` of containers-transports(5): manifest.json, and blobs by their hex digits."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.served_by = tree.label
        self._data = tree.open("manifest.json").read(_LIMIT, f"manifest.json of {tree.label}")
        if not is_object(model.load_document(self._data, _LIMIT, f"manifest.json of {tree.label}")):
            raise CorruptError(f"{tree.label} is refused", "manifest.json is no manifest")

    def find(self) -> Listed:
        return Listed((), digest_of(self._data))

    def manifest(self, selector: str) -> Fetched:
        if selector == digest_of(self._data):
            return Fetched(self._data, "", selector)
        hexadecimal = selector.removeprefix("sha256:")
        data = self.tree.open(f"{hexadecimal}.manifest.json").read(_LIMIT, selector)
        return Fetched(data, "", digest_of(data))

    def blob(
        self, descriptor: Descriptor, ingest: Ingest, advance: Advance, *, mirrors: bool = True
    ) -> None:
        copy(self.tree, descriptor.digest.removeprefix("sha256:"), ingest, advance)


def copy(tree: Tree, name: str, ingest: Ingest, advance: Advance) -> None:
    """One file of the tree into the ingest file, from its beginning."""
    with tree.open(name) as piece:
        ingest.restart()
        at = 0
        while chunk := piece.pread(_CHUNK, at):
            at += len(chunk)
            ingest.write(chunk)
            advance(at)


def _blob(digest: str) -> str:
    algorithm, _, hexadecimal = digest.partition(":")
    return f"blobs/{algorithm}/{hexadecimal}"
