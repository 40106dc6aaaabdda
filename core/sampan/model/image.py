"""Image documents (descriptor, manifest, index, configuration), read from bytes of strangers.

Whoever wants such a document gets it from here, checked: a size budget, a depth budget, no key
twice (two readers of one document must not see two things), no document that is both a manifest
and an index (CVE-2021-41190), sizes that are sizes and digests that are digests.  So a digest
that left this module may be part of a path, and a list that left it is short enough to loop over.

Sources: image-spec v1.1 (descriptor.md, manifest.md, image-index.md, config.md) and Docker's
schema 2.
"""

from __future__ import annotations

from sampan import jsontext
from sampan.errors import CorruptError, LimitError, UnsupportedError
from sampan.model.reference import is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, TypeGuard

MANIFEST_LIMIT = 4 << 20  # bytes
CONFIG_LIMIT = 4 << 20
DEPTH_LIMIT = 64
LAYERS_LIMIT = 500
INDEX_LIMIT = 1000
URLS_LIMIT = 16
SIZE_LIMIT = 1 << 50  # a blob beyond a pebibyte is a mistake or a trap

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar"

INDEX_TYPES = frozenset((OCI_INDEX, DOCKER_LIST))
MANIFEST_TYPES = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
CONFIG_TYPES = frozenset((OCI_CONFIG, DOCKER_CONFIG))
LAYER_TYPES = frozenset(
    (
        OCI_LAYER,
        OCI_LAYER_GZIP,
        OCI_LAYER_ZSTD,
        DOCKER_LAYER,
        DOCKER_LAYER.removesuffix(".gzip"),
        DOCKER_LAYER.removesuffix(".gzip") + ".zstd",
        DOCKER_FOREIGN_LAYER,
        OCI_FOREIGN_LAYER,
        OCI_FOREIGN_LAYER + "+gzip",
        OCI_FOREIGN_LAYER + "+zstd",
    )
)
ACCEPT = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)


class Descriptor:
    """What a blob is; `size` in bytes, `document` the JSON object that it was read from."""

    __slots__ = ("digest", "document", "media_type", "size")

    def __init__(
        self, media_type: str, digest: str, size: int, document: Mapping[str, Any] | None = None
    ) -> None:
        self.media_type, self.digest, self.size = media_type, digest, size
        self.document = document or {"mediaType": media_type, "digest": digest, "size": size}

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.document.get("annotations") or {}

    @property
    def urls(self) -> Sequence[str]:
        """Other places that have the blob; never trusted with a credential."""
        return self.document.get("urls") or ()


class Manifest:
    """One image: its configuration's descriptor and its layers', bottom first."""

    __slots__ = ("annotations", "config", "layers", "media_type")

    def __init__(
        self,
        media_type: str,
        config: Descriptor,
        layers: list[Descriptor],
        annotations: Mapping[str, str],
    ) -> None:
        self.media_type, self.config, self.layers = media_type, config, layers
        self.annotations = annotations


class Index:
    """Manifests of several platforms (Docker: a manifest list)."""

    __slots__ = ("manifests", "media_type")

    def __init__(self, media_type: str, manifests: list[Descriptor]) -> None:
        self.media_type, self.manifests = media_type, manifests


class ImageConfig:
    """An image configuration: the whole document, and what the engine asks of it."""

    __slots__ = ("architecture", "created", "diff_ids", "document", "os", "variant")

    def __init__(self, document: dict[str, Any], diff_ids: list[str]) -> None:
        self.document, self.diff_ids = document, diff_ids
        self.os: str = document.get("os") or "linux"
        self.architecture: str = document.get("architecture") or ""
        self.variant: str = document.get("variant") or ""
        self.created: str = document.get("created") or ""


def load_document(data: bytes, limit: int, what: str) -> dict[str, Any]:
    """The JSON object in `data`, within the budgets and with no key twice."""
    if len(data) > limit:
        raise LimitError(f"{what} is refused", f"{len(data)} bytes, at most {limit} are read")
    if data.count(b"[") + data.count(b"{") > DEPTH_LIMIT:
        _check_depth(data, what)
    import json

    try:
        document = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        if b"\\u" in data:  # a lone surrogate is no text: it could never be written anywhere
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # UnicodeError is a ValueError
        raise CorruptError(f"{what} is refused", f"bad JSON: {_brief(error)}") from error
    if not is_object(document):
        raise CorruptError(f"{what} is refused", "it is not a JSON object")
    return document


def parse_manifest(data: bytes, content_type: str = "") -> Manifest | Index:
    """A manifest or an index: the header, then the body's media type, then the shape decides."""
    document = load_document(data, MANIFEST_LIMIT, "the manifest")
    kind = manifest_type(document, content_type)
    annotations = _strings(document.get("annotations"), "the manifest", "annotations")
    if kind in INDEX_TYPES:
        return Index(kind, _descriptors(document, "manifests", INDEX_LIMIT, "the index"))
    config = parse_descriptor(document.get("config"), "the manifest's config")
    if config.size > CONFIG_LIMIT:
        raise LimitError(
            "the manifest is refused",
            f"its image configuration has {config.size} bytes, at most {CONFIG_LIMIT} are read",
        )
    layers = _descriptors(document, "layers", LAYERS_LIMIT, "the manifest")
    return Manifest(kind, config, layers, annotations)


def manifest_type(document: Mapping[str, Any], content_type: str = "") -> str:
    """Which of the four media types a document is; one that could be two kinds is refused."""
    if document.get("schemaVersion") == 1 or "fsLayers" in document:
        raise UnsupportedError(
            "the manifest is refused",
            "it has Docker's schema 1, which names layers without verifiable sizes",
            "push the image again with a client of this decade",
        )
    if document.get("schemaVersion") != 2:
        raise CorruptError("the manifest is refused", "its schemaVersion is not 2")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise CorruptError("the manifest is refused", "it is a manifest and an index at once")
    body = document.get("mediaType")
    known = INDEX_TYPES | MANIFEST_TYPES
    if body is not None and (not isinstance(body, str) or body not in known):
        raise UnsupportedError("the manifest is refused", f"unknown media type {_brief(body)}")
    shape = OCI_INDEX if "manifests" in document else OCI_MANIFEST
    header = normalise_type(content_type)
    kind = header if header in known else body or shape
    if (kind in INDEX_TYPES) != (shape == OCI_INDEX) or (
        body and (body in INDEX_TYPES) != (shape == OCI_INDEX)
    ):
        raise CorruptError("the manifest is refused", f"it is called {kind} and has another shape")
    return str(kind)


def normalise_type(content_type: str) -> str:
    """A Content-Type header without parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def parse_descriptor(document: Any, where: str) -> Descriptor:
    """A descriptor whose digest may be part of a path and whose size is one."""
    if not is_object(document):
        raise CorruptError(f"{where} is refused", "it is not a descriptor")
    digest, size = document.get("digest"), document.get("size")
    media_type = document.get("mediaType") or ""
    if not isinstance(digest, str) or not is_digest(digest):
        raise CorruptError(f"{where} is refused", f"bad digest {_brief(digest)}")
    if type(size) is not int or not 0 <= size <= SIZE_LIMIT:
        raise CorruptError(f"{where} is refused", f"bad size {_brief(size)} of {digest}")
    if not isinstance(media_type, str) or len(media_type) > 255:
        raise CorruptError(f"{where} is refused", f"bad media type of {digest}")
    _strings(document.get("annotations"), where, "annotations")
    urls: Any = document.get("urls") or []
    if not is_list(urls) or len(urls) > URLS_LIMIT or not all_strings(urls):
        raise CorruptError(f"{where} is refused", f"bad urls of {digest}")
    platform = document.get("platform")
    if platform is not None and not is_object(platform):
        raise CorruptError(f"{where} is refused", f"bad platform of {digest}")
    return Descriptor(media_type, digest, size, document)


def parse_config(data: bytes, layers: int | None = None) -> ImageConfig:
    """An image configuration; with `layers` the number of diff_ids must be that one."""
    what = "the image configuration"
    document = load_document(data, CONFIG_LIMIT, what)
    _check_config(document, what)
    config = stored_config(document)
    if len(config.diff_ids) > LAYERS_LIMIT:
        raise LimitError(f"{what} is refused", f"more than {LAYERS_LIMIT} layers")
    if layers is not None and len(config.diff_ids) != layers:
        raise CorruptError(
            f"{what} is refused",
            f"it names {len(config.diff_ids)} layers and the manifest {layers}",
        )
    return config


def stored_config(document: dict[str, Any]) -> ImageConfig:
    """The configuration in a document that was checked before it came into the store."""
    rootfs = document.get("rootfs")
    diff_ids: Any = (rootfs.get("diff_ids") or []) if is_object(rootfs) else []
    if not is_list(diff_ids) or not all(is_digest(diff_id) for diff_id in diff_ids):
        raise CorruptError("the image configuration is refused", "its rootfs.diff_ids are off")
    return ImageConfig(document, diff_ids)


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)  # JSON has no other keys than strings


def is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def all_strings(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _check_config(document: dict[str, Any], what: str) -> None:
    """The types of everything that the engine reads: no later step meets a number for a name."""
    inner: Any = document.get("config")
    if inner is None:
        inner = {}
    if not is_object(inner):
        raise CorruptError(f"{what} is refused", "its config is not an object")
    for holder, names, kind in (
        (document, ("os", "architecture", "variant", "created", "author"), str),
        (inner, ("User", "WorkingDir", "StopSignal"), str),
        (inner, ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell"), list),
        (inner, ("Labels", "ExposedPorts", "Volumes", "Healthcheck"), dict),
        (document, ("history",), list),
    ):
        for name in names:
            value: Any = holder.get(name)
            if value is not None and not isinstance(value, kind):
                raise CorruptError(f"{what} is refused", f"{name} is not of type {kind.__name__}")
            if kind is list and name != "history" and not all_strings(holder.get(name) or ()):
                raise CorruptError(f"{what} is refused", f"{name} holds what is not text")
    _strings(inner.get("Labels"), what, "Labels")
    if not all(is_object(entry) for entry in document.get("history") or ()):
        raise CorruptError(f"{what} is refused", "history holds what is not an object")


def _descriptors(document: Mapping[str, Any], key: str, limit: int, what: str) -> list[Descriptor]:
    entries = document.get(key)
    if not is_list(entries):
        raise CorruptError(f"{what} is refused", f"its {key} are not a list")
    if len(entries) > limit:
        raise LimitError(f"{what} is refused", f"{len(entries)} {key}, at most {limit} are taken")
    return [parse_descriptor(entry, f"{what}'s {key}[{at}]") for at, entry in enumerate(entries)]


def _strings(value: Any, what: str, name: str) -> Mapping[str, str]:
    if value is None:
        return {}
    if not is_object(value) or not all_strings(value.values()):
        raise CorruptError(f"{what} is refused", f"its {name} are not texts by name")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f'the key "{twice[:80]}" is there twice')
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_depth(data: bytes, what: str) -> None:
    """Measured before parsing: the parser's own limit differs between interpreters."""
    import re

    depth = 0
    for match in re.finditer(rb'"(?:[^"\\]|\\.)*"|[\[{\]}]', data, re.DOTALL):
        character = match.group()[:1]
        if character in b"[{":
            depth += 1
            if depth > DEPTH_LIMIT:
                raise LimitError(f"{what} is refused", f"nested deeper than {DEPTH_LIMIT}")
        elif character in b"]}":
            depth -= 1


def _brief(value: object) -> str:
    text = str(value) if isinstance(value, Exception) else jsontext.dumps(value)
    return text if len(text) <= 120 else f"{text[:120]}..."
