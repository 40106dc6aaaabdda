"""A build cache for others: written to a registry, a directory or into an image, and read from there.

It is an OCI artifact whose configuration holds the records (key, layers, what is known of the step) and whose
layers are those of all records.  With `inline` the records stand in the image's own configuration, and its layers
are theirs.  What is read is trusted as much as whoever is named with --cache-from; layers are verified by their
digests and fetched when a step needs them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sampan.drivers import Cached, Layer, Layers
from sampan.engine.fetching import Fetcher, LayerWork, Silent
from sampan.errors import CorruptError, SampanError, UnsupportedError, UsageError
from sampan.model import image as model
from sampan.model import reference
from sampan.model.image import Descriptor, is_list, is_object

if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.engine.fetching import Source
    from sampan.registry.access import Access
    from sampan.registry.fetch import Fetched
    from sampan.store.leases import Lease

CONFIG = "application/vnd.sampan.buildcache.config.v1+json"
INLINE = "sampan.buildcache.v1"  # in an image's configuration
TYPES = ("registry", "local", "inline")

Records = Mapping[str, Cached]


def document(records: Records) -> dict[str, Any]:
    """The records as JSON values."""
    rows = {
        key: {"layers": [list(layer) for layer in found.layers], "about": dict(found.about)}
        for key, found in records.items()
    }
    return {"records": rows}


def parse(body: Any, where: str) -> dict[str, Cached]:
    """The records of such a document; CorruptError for any other."""
    rows = body.get("records") if is_object(body) else None
    if not is_object(rows):
        raise CorruptError(f"{where} is refused", "it holds no build cache")
    return {key: _record(row, where) for key, row in rows.items() if len(key) == 64}


def _record(row: Any, where: str) -> Cached:
    layers = row.get("layers") if is_object(row) else None
    about = row.get("about") if is_object(row) else None
    if not (is_list(layers) and is_object(about) and is_list(about.get("outcomes"))):
        raise CorruptError(f"{where} is refused", "a record of it has another shape")
    return Cached(tuple(_layer(one, where) for one in layers), about)


def _layer(row: Any, where: str) -> Layer:
    if not is_list(row) or len(row) != 4 or not all(map(reference.is_digest, row[:2])):
        raise CorruptError(f"{where} is refused", "a layer of it has another shape")
    diff_id, digest, media_type, size = row
    found = model.parse_descriptor({"digest": digest, "mediaType": media_type, "size": size}, where)
    return Layer(diff_id, digest, found.media_type, found.size)


class Exporter:
    """Writes records where --cache-to says."""

    def __init__(self, engine: Engine, lease: Lease, access: Access) -> None:
        self._engine, self._lease, self._access = engine, lease, access

    def write(self, target: Mapping[str, str], records: Records) -> None:
        """target: type=registry with ref, type=local with dest."""
        config = json.dumps(document(records), separators=(",", ":")).encode()
        if len(config) > model.CONFIG_LIMIT:
            raise SampanError(
                "cannot export the build cache", f"{len(config)} bytes of records", "use mode=min"
            )
        layers = {layer.digest: layer for found in records.values() for layer in found.layers}
        manifest = {
            "schemaVersion": 2,
            "mediaType": model.OCI_MANIFEST,
            "artifactType": CONFIG,
            "config": {
                "mediaType": CONFIG,
                "digest": self._engine.blobs.put(config, self._lease),
                "size": len(config),
            },
            "layers": [
                {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
                for layer in layers.values()
            ],
        }
        data = json.dumps(manifest, separators=(",", ":")).encode()
        if target["type"] == "registry":
            self._push(_need(target, "ref"), data)
        else:
            self._save(_need(target, "dest"), data)

    def _push(self, name: str, data: bytes) -> None:
        from sampan.engine.push import Pusher
        from sampan.registry import config as registries
        from sampan.registry.upload import Upload

        parsed = reference.parse(name)
        upload = Upload(parsed, registries.load(), access=self._access, note=lambda text: None)
        pusher = Pusher(self._engine, upload, Silent())
        pusher.blobs(data)
        pusher.manifest(data, parsed.selector)

    def _save(self, path: str, data: bytes) -> None:
        from sampan.engine import save

        output = save.directory(path)
        parsed = model.parse_manifest(data)
        assert isinstance(parsed, model.Manifest)
        for one in (*parsed.layers, parsed.config):
            name = f"blobs/sha256/{one.digest.removeprefix('sha256:')}"
            if not output.has(name):
                fd = self._engine.blobs.open(one.digest)
                try:
                    output.copy(name, fd, one.size, lambda done: None)
                finally:
                    os.close(fd)
        digest = self._engine.blobs.put(data, self._lease)
        output.put(f"blobs/sha256/{digest.removeprefix('sha256:')}", data)
        entry = {"mediaType": model.OCI_MANIFEST, "digest": digest, "size": len(data)}
        index = {"schemaVersion": 2, "mediaType": model.OCI_INDEX, "manifests": [entry]}
        output.put("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        output.put("index.json", json.dumps(index).encode())
        output.finish()


class Importer:
    """The records of one --cache-from, and where their layers are."""

    def __init__(
        self, engine: Engine, lease: Lease, target: Mapping[str, str], access: Access
    ) -> None:
        self._engine, self._lease = engine, lease
        self._source, fetched = _source(target, access)
        self.records = self._read(fetched)

    def get(self, key: str) -> Cached | None:
        """The record of a key, its layers brought into the store."""
        found = self.records.get(key)
        if found is None:
            return None
        fetcher = Fetcher(self._engine.blobs, self._source, Silent())
        missing = [layer for layer in found.layers if not self._engine.blobs.has(layer.digest)]
        wanted = {
            layer.digest: Descriptor(layer.media_type, layer.digest, layer.size)
            for layer in missing
        }
        self._lease.add(*wanted)
        fetcher.all([LayerWork(one, []) for one in wanted.values()], None)
        return found

    def _read(self, fetched: Fetched) -> dict[str, Cached]:
        parsed = model.parse_manifest(fetched.data, fetched.media_type)
        where = f"the build cache of {self._source.served_by}"
        if isinstance(parsed, model.Index):
            raise UnsupportedError(
                f"cannot read {where}", "it is a list of images", "name one image by its digest"
            )
        bodies: list[dict[str, Any]] = []

        def read(fd: int) -> None:
            data = os.pread(fd, model.CONFIG_LIMIT + 1, 0)
            bodies.append(model.load_document(data, model.CONFIG_LIMIT, where))

        self._lease.add(parsed.config.digest)
        Fetcher(self._engine.blobs, self._source, Silent()).blob(parsed.config, "config", read)
        body = bodies[0]
        return parse(body if parsed.config.media_type == CONFIG else body.get(INLINE), where)


def _source(target: Mapping[str, str], access: Access) -> tuple[Source, Fetched]:
    if target["type"] == "registry":
        from sampan.engine.pull import find

        return find(_need(target, "ref"), access, Silent())
    from sampan.transports import tree
    from sampan.transports.oci import Layout

    path = _need(target, "src")
    try:
        layout = Layout(tree.Directory(path))
    except OSError as error:
        raise SampanError(f"cannot read the build cache {path}", error.strerror or "") from None
    return layout, layout.manifest(layout.find("").digest)


def _need(target: Mapping[str, str], key: str) -> str:
    if not target.get(key):
        raise UsageError(
            f"a build cache of type={target['type']}",
            f"it has no {key}=",
            f"type={target['type']},{key}=...",
        )
    return target[key]


def inline(records: Records, layers: Layers) -> dict[str, Any]:
    """What the image's configuration holds of the steps that its own layers are the result of."""
    own = {
        key: found for key, found in records.items() if found.layers == layers[: len(found.layers)]
    }
    return {INLINE: document(own)}


def check(targets: Sequence[Mapping[str, str]], option: str) -> None:
    """Refuse what cannot be done before anything is."""
    for target in targets:
        if target.get("type") not in TYPES:
            raise UnsupportedError(
                f"{option} type={target.get('type')}", "no such cache", f"one of {', '.join(TYPES)}"
            )
        if target["type"] == "registry":
            reference.parse(_need(target, "ref"))
        elif target["type"] == "local":
            _need(target, "dest" if option == "--cache-to" else "src")
