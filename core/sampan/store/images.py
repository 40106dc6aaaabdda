"""Images: the tags of the OCI layout, and what an image is once a name is resolved.

`index.json` is the truth.  It has one descriptor for each name (annotation
org.opencontainers.image.ref.name, the full name, so that `skopeo copy oci:STORE:NAME` finds it),
and one without a name for an image that has none.  Annotations of our own repeat what a lookup or
a list asks about (id, creation, sizes), so that neither reads the documents of every image; where
they are missing, because another tool wrote the entry, the documents are read.  Changes are made
under the store's short lock and replace the file whole; readers take no lock.
"""

from __future__ import annotations

from sampan import files, jsontext
from sampan.errors import CorruptError, NotFoundError
from sampan.model import image as model
from sampan.model import reference
from sampan.store.blobs import BlobStore
from sampan.store.entries import (
    CREATED,
    ID,
    LIST,
    SIZE,
    SOURCE,
    annotations_of,
    history_of,
    name_of,
    repository_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from sampan.model.image import Descriptor, Manifest
    from sampan.store.leases import Lease

INDEX = "index.json"
INDEX_LIMIT = 64 << 20


class Image:
    """A stored image; what is not an attribute is read from the blobs when first asked for.

    id: the digest of its configuration; digest: of its manifest; size: bytes of its unpacked
    layers, or of the blobs if another tool stored it; names: full names with a tag; references:
    names, and what was pulled by digest; repo_digests: REPOSITORY@DIGEST; created: RFC 3339 or
    "".
    """

    __slots__ = (
        "_blobs",
        "_config",
        "_manifest",
        "architecture",
        "created",
        "digest",
        "id",
        "index_digest",
        "media_type",
        "name",
        "names",
        "names_history",
        "os",
        "references",
        "repo_digests",
        "size",
        "source",
        "variant",
    )

    def __init__(self, blobs: BlobStore, entry: Mapping[str, Any], names: Sequence[str]) -> None:
        annotations: Mapping[str, str] = entry["annotations"]
        platform: Mapping[str, str] = entry["platform"]
        self._blobs = blobs
        self._manifest: Manifest | None = None
        self._config: dict[str, Any] | None = None
        self.digest: str = entry["digest"]
        self.media_type: str = entry.get("mediaType") or ""
        self.id = annotations[ID]
        self.created = annotations.get(CREATED, "")
        self.size = int(annotations.get(SIZE, "0"))
        self.index_digest = annotations.get(LIST, "")
        self.source = annotations.get(SOURCE, "")
        self.os = platform.get("os", "")
        self.architecture = platform.get("architecture", "")
        self.variant = platform.get("variant", "")
        self.references = list(names)
        self.names = [name for name in names if "@" not in name]
        self.name = self.names[0] if self.names else self.id  # or by which it was found
        self.names_history = history_of(entry)
        digests = [digest for digest in (self.digest, self.index_digest) if digest]
        repositories = dict.fromkeys(repository_of(name) for name in names)
        self.repo_digests = [f"{name}@{digest}" for name in repositories for digest in digests]

    @property
    def manifest(self) -> Manifest:
        if self._manifest is None:
            self._manifest = read_manifest(self._blobs, self.digest)
        return self._manifest

    @property
    def config(self) -> dict[str, Any]:
        """The image configuration, the whole document."""
        if self._config is None:
            data = self._read(self.id, model.CONFIG_LIMIT)
            document: dict[str, Any] = jsontext.loads(data)
            self._config = document
        return self._config

    @property
    def layers(self) -> list[Descriptor]:
        return self.manifest.layers

    @property
    def diff_ids(self) -> list[str]:
        return model.stored_config(self.config).diff_ids

    @property
    def labels(self) -> dict[str, str]:
        inner: Mapping[str, Any] = self.config.get("config") or {}
        return inner.get("Labels") or {}

    def _read(self, digest: str, limit: int) -> bytes:
        try:
            return self._blobs.read(digest, limit)
        except NotFoundError as error:
            raise CorruptError(
                f"image {self.name} is incomplete", f"{digest} is lost", "pull it again"
            ) from error


class ImageStore:
    """The images under one root. `root_fd` stays the caller's."""

    __slots__ = ("blobs", "root_fd")

    def __init__(self, root_fd: int) -> None:
        self.root_fd = root_fd
        self.blobs = BlobStore(root_fd)

    def resolve(self, name: str) -> Image:
        """The image of a full or short name, NAME@DIGEST, an id or the beginning of one."""
        from sampan.store.lookup import find

        entries = self.entries()
        entry = find(self, entries, name)
        image = self._image(entry, entries)
        image.name = name_of(entry) or image.name
        return image

    def by_digest(self, digest: str) -> Image:
        """The image of a manifest's digest. NotFoundError."""
        entries = self.entries()
        for entry in entries:
            if entry["digest"] == digest:
                return self._image(entry, entries)
        raise NotFoundError(f"no such image: {digest}", "it is not in the store")

    def exists(self, name: str) -> bool:
        try:
            self.resolve(name)
        except NotFoundError:
            return False
        return True

    def list(self) -> list[Image]:
        """Every image, the newest first. One whose documents are lost is left out."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for entry in self.entries():
            try:
                described = self.described(entry)
                groups.setdefault(described["annotations"][ID], []).append(described)
            except (CorruptError, NotFoundError):
                continue  # `resolve` by its name tells what is wrong with it
        seen = {image_id: self._image(group[0], group) for image_id, group in groups.items()}
        return sorted(seen.values(), key=lambda image: image.created, reverse=True)

    def lease(self) -> Lease:
        """`with images.lease() as lease:` keeps blobs that no image refers to yet."""
        from sampan.store.leases import Lease

        return Lease(self.root_fd)

    def leased(self) -> set[str]:
        """What operations in progress want to keep: digests, and `layer:KEY`."""
        from sampan.store import leases

        with leases.store_lock(self.root_fd):
            return leases.leased(self.root_fd)

    def add(
        self,
        digest: str,
        names: Iterable[str],
        *,
        index_digest: str = "",
        source: str = "",
        size: int | None = None,
    ) -> Image:
        """List the image whose manifest and configuration are stored; the names move to it.

        size: the bytes of its unpacked layers, if they are known.
        """
        from sampan.store import tags

        entry = self.described({"digest": digest, "mediaType": ""})
        known = "" if size is None else str(size)
        for key, value in ((LIST, index_digest), (SOURCE, source), (SIZE, known)):
            if value:
                entry["annotations"][key] = value
        tags.add(self, entry, list(names))
        return self.by_digest(digest)

    def tag(self, image: Image, name: str) -> None:
        """Give the image another name, taken from whichever image had it."""
        from sampan.store import tags

        tags.tag(self, image.digest, name)

    def untag(self, name: str) -> None:
        """Take a (full) name away; the image stays. NotFoundError."""
        from sampan.store import tags

        tags.untag(self, name)

    def remove(self, image: Image) -> Sequence[str]:
        """Unlist the image with all its names and drop the blobs that nothing else needs."""
        from sampan.store import tags

        return tags.remove(self, image.id)

    def collect(self) -> Sequence[str]:
        """Drop the blobs that no image and no live lease needs; returns their digests."""
        from sampan.store import tags

        return tags.collect(self)

    def entries(self) -> Sequence[dict[str, Any]]:
        """The descriptors of index.json."""
        try:
            data = files.read(self.root_fd, INDEX, INDEX_LIMIT)
        except FileNotFoundError:
            return []
        try:
            entries: Sequence[dict[str, Any]] = jsontext.loads(data)["manifests"]
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptError(f"{INDEX} of the image store is damaged", str(error)) from error
        return [entry for entry in entries if reference.is_digest(entry.get("digest"))]

    def described(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The entry with our annotations and its platform, read from the documents where
        missing.
        """
        annotations: dict[str, str] = dict(entry.get("annotations") or {})
        described: dict[str, Any] = dict(entry, annotations=annotations)
        if reference.is_digest(annotations.get(ID)) and "platform" in entry:
            return described
        manifest = read_manifest(self.blobs, entry["digest"])
        data = self.blobs.read(manifest.config.digest, model.CONFIG_LIMIT)
        config = model.parse_config(data, len(manifest.layers))
        annotations[ID] = manifest.config.digest
        annotations[CREATED] = config.created
        annotations[SIZE] = str(manifest.config.size + sum(layer.size for layer in manifest.layers))
        described["mediaType"] = manifest.media_type
        described["size"] = self.blobs.size(entry["digest"])
        described["platform"] = {"os": config.os, "architecture": config.architecture}
        if config.variant:
            described["platform"]["variant"] = config.variant
        return described

    def _image(self, entry: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> Image:
        """The image of one entry, with the names of all entries that have the same id."""
        chosen = self.described(entry)
        image_id = chosen["annotations"][ID]
        names: list[str] = []
        for other in entries:
            same = annotations_of(other).get(ID) == image_id or other["digest"] == chosen["digest"]
            if same and name_of(other):
                names.append(name_of(other))
        return Image(self.blobs, chosen, names)


def read_manifest(blobs: BlobStore, digest: str) -> Manifest:
    """A stored manifest. NotFoundError, CorruptError."""
    parsed = model.parse_manifest(blobs.read(digest, model.MANIFEST_LIMIT))
    if isinstance(parsed, model.Index):
        raise CorruptError(f"{digest} is refused", "it is an index where a manifest was expected")
    return parsed
