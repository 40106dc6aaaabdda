"""What a registry asks of a manifest: which content it needs, and what it says something about.

An image is one kind of artifact among many, so only the shape is read: descriptors in `config`, `layers`,
`blobs` and `manifests`, and `subject` (image-spec, manifest.md and image-index.md).  The bytes are never made anew.
"""

from __future__ import annotations

from sampan.errors import CorruptError, LimitError, UnsupportedError
from sampan.model import image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A document of few bytes can be many objects in memory: brackets and commas bound them before it is parsed.
NESTED_LIMIT = 50_000
VALUES_LIMIT = 200_000
TYPE_LIMIT = 255
_SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1"
_FOREIGN = ("nondistributable", "rootfs.foreign")


class Artifact:
    """blobs, manifests: the digests that it is made of; foreign: those of the blobs that lie elsewhere and need
    not be pushed.  subject: the digest of the manifest about which it says something, "" for none.
    """

    __slots__ = (
        "artifact_type",
        "blobs",
        "document",
        "foreign",
        "manifests",
        "media_type",
        "subject",
    )

    def __init__(self, document: dict[str, Any], media_type: str) -> None:
        self.document, self.media_type = document, media_type
        self.blobs: set[str] = set()
        self.foreign: set[str] = set()
        self.manifests: set[str] = set()
        self.subject = self.artifact_type = ""

    def description(self, digest: str, size: int) -> dict[str, Any]:
        """Its descriptor in a list of referrers."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": digest, "size": size}
        if self.artifact_type:
            found["artifactType"] = self.artifact_type
        if annotations := self.document.get("annotations"):
            found["annotations"] = annotations
        return found


def read(data: bytes, content_type: str = "") -> Artifact:
    """Read a manifest of any media type. CorruptError, LimitError, UnsupportedError say why it is refused."""
    nested, values = data.count(b"{") + data.count(b"["), data.count(b",")
    if nested > NESTED_LIMIT or values > VALUES_LIMIT:
        raise LimitError("the manifest is refused", "it has too many parts to be a manifest")
    document = image.load_document(data, image.MANIFEST_LIMIT, "the manifest")
    found = Artifact(document, _media_type(document, content_type))
    if found.media_type.startswith(_SCHEMA_1) or document.get("schemaVersion") == 1:
        raise UnsupportedError(
            "the manifest is refused",
            "it has Docker's schema 1",
            "push the image again with a client of this decade",
        )
    known = found.media_type in image.INDEX_TYPES | image.MANIFEST_TYPES
    if known and document.get("schemaVersion") != 2:
        raise CorruptError("the manifest is refused", "its schemaVersion is not 2")
    if known and "manifests" in document and ("layers" in document or "config" in document):
        raise CorruptError("the manifest is refused", "it is a manifest and an index at once")
    if found.media_type in image.MANIFEST_TYPES and "config" not in document:
        raise CorruptError("the manifest is refused", "it has no config")
    for key in ("config", "layers", "blobs", "manifests"):
        _take(found, key, strict=known)
    if document.get("subject") is not None:
        found.subject = image.parse_descriptor(document["subject"], "the manifest's subject").digest
    found.artifact_type = _artifact_type(document)
    annotations = document.get("annotations")
    if annotations and not (
        image.is_object(annotations) and image.all_strings(annotations.values())
    ):
        raise CorruptError("the manifest is refused", "its annotations are not texts")
    return found


def _media_type(document: dict[str, Any], content_type: str) -> str:
    said = image.normalise_type(content_type)
    inner: object = document.get("mediaType")
    if inner is not None and not isinstance(inner, str):
        raise CorruptError("the manifest is refused", "its mediaType is not a text")
    if inner and said and inner.lower() != said:
        raise CorruptError(
            "the manifest is refused",
            f"its mediaType is {inner[:80]} and its Content-Type {said[:80]}",
        )
    shape = image.OCI_INDEX if "manifests" in document else image.OCI_MANIFEST
    found = inner or said or shape
    if len(found) > TYPE_LIMIT or not (found.isascii() and found.isprintable()) or " " in found:
        raise CorruptError("the manifest is refused", "its media type is off")
    return found


def _take(found: Artifact, key: str, *, strict: bool) -> None:
    """Note the descriptors under a key; in a document of a type that nobody knows they may be anything else."""
    value: Any = found.document.get(key)
    if value is None:
        return
    rows: Any = [value] if key == "config" else value
    if not image.is_list(rows):
        if strict:
            raise CorruptError("the manifest is refused", f"its {key} is not a list")
        return
    into = found.manifests if key == "manifests" else found.blobs
    for row in rows:
        try:
            descriptor = image.parse_descriptor(row, f"the manifest's {key}")
        except CorruptError:
            if strict:
                raise
            continue
        into.add(descriptor.digest)
        if any(word in descriptor.media_type for word in _FOREIGN):
            found.foreign.add(descriptor.digest)


def _artifact_type(document: dict[str, Any]) -> str:
    """The type that referrers are filtered by: of an image without one it is its configuration's."""
    config = document.get("config")
    inner = config.get("mediaType") if image.is_object(config) else None
    found = document.get("artifactType") or inner or ""
    if not isinstance(found, str):
        raise CorruptError("the manifest is refused", "its artifactType is not a text")
    return found
