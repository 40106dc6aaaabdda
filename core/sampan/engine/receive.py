"""Receiving: from the manifest at a source to a listed image whose layers are unpacked.

A source is a registry, an OCI layout or a directory; whatever it is, nothing of it is trusted.  The
order is the safety: the manifest and the configuration are received, verified and validated whole
before a layer is asked for; each layer is verified before the unpacker sees it; the image is listed
last.  Until then a lease keeps the blobs, so whatever ends it early leaves at most blobs for the next
collection and partial downloads for the next try.  The unpacker forks its workers before the first
download thread starts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from sampan.engine.fetching import Fetcher, LayerWork, Progress, Source
from sampan.errors import CorruptError, LimitError, SampanError, UnsupportedError
from sampan.model import image as model
from sampan.model import platform as platforms
from sampan.model.platform import Platform
from sampan.registry.fetch import Fetched
from sampan.store.blobs import BlobStore
from sampan.store.images import Image, ImageStore
from sampan.store.layers import LayerSource, LayerStore
from sampan.store.leases import Lease

_NESTING = 3  # indexes within indexes


class ReceivingEngine(Protocol):
    """The part of the engine that receiving works on."""

    @property
    def images(self) -> ImageStore: ...

    @property
    def blobs(self) -> BlobStore: ...

    @property
    def layers(self) -> LayerStore: ...


class Receiving:
    """The transfer of one image.

    label: what messages call it; names: under which it is listed, full ones.  wanted: the platform,
    this machine's if None.
    """

    def __init__(
        self,
        engine: ReceivingEngine,
        source: Source,
        label: str,
        names: Sequence[str],
        tell: Progress,
        wanted: Platform | None = None,
    ) -> None:
        self.engine, self.source, self.tell = engine, source, tell
        self.wanted, self.chosen = wanted or platforms.host(), wanted is not None
        self.label, self.names = label, names
        self.keys: list[str] = []  # of the layers

    def run(self, fetched: Fetched) -> Image:
        """Receive the image of a manifest, or of the fitting entry of an index."""
        try:
            return self._run(fetched)
        except CorruptError:
            self.engine.images.collect()  # what came with it is of no use; a cut download would be
            raise

    def _run(self, fetched: Fetched) -> Image:
        with self.engine.images.lease() as lease:
            index_digest = ""
            parsed = self._parse(fetched)
            for _ in range(_NESTING):
                if isinstance(parsed, model.Manifest):
                    break
                index_digest = index_digest or fetched.digest
                self.engine.blobs.put(fetched.data, lease)
                fetched = self._fetch_entry(parsed)
                parsed = self._parse(fetched)
            if isinstance(parsed, model.Index):
                raise LimitError(f"cannot pull {self.label}", "its indexes are nested too deep")
            _check_types(parsed, self.label)
            lease.add(parsed.config.digest, *(layer.digest for layer in parsed.layers))
            config = self._config(parsed)
            self._check_platform(config)
            self._layers(parsed, config, lease)
            digest = self.engine.blobs.put(fetched.data, lease)
            return self._list(digest, config, index_digest)

    def _parse(self, fetched: Fetched) -> model.Manifest | model.Index:
        parsed = model.parse_manifest(fetched.data, fetched.media_type)
        body = model.load_document(fetched.data, model.MANIFEST_LIMIT, "the manifest")
        inside = body.get("mediaType")
        if inside and parsed.media_type != inside:
            self.tell.note(f"the source calls the {inside} of {self.label} {fetched.media_type}")
        return parsed

    def _fetch_entry(self, index: model.Index) -> Fetched:
        """The manifest of the platform that is wanted."""
        entry = platforms.choose(index, self.wanted, self.label)
        if entry.size > model.MANIFEST_LIMIT:
            raise LimitError(f"cannot pull {self.label}", f"a manifest of {entry.size} bytes")
        fetched = self.source.manifest(entry.digest)
        if len(fetched.data) != entry.size:
            raise CorruptError(
                f"the manifest {entry.digest} is refused",
                f"its descriptor says {entry.size} bytes and it has {len(fetched.data)}",
            )
        return fetched

    def _config(self, manifest: model.Manifest) -> model.ImageConfig:
        """The configuration, valid before it has a name in the store."""
        fetcher = Fetcher(self.engine.blobs, self.source, self.tell)
        parsed: list[model.ImageConfig] = []

        def check(fd: int) -> None:
            data = os.pread(fd, model.CONFIG_LIMIT + 1, 0)
            parsed.append(model.parse_config(data, len(manifest.layers)))

        fetcher.blob(manifest.config, "config", check)
        return parsed[-1]

    def _check_platform(self, config: model.ImageConfig) -> None:
        has = Platform(config.os, config.architecture, config.variant)
        if (
            not config.architecture
            or platforms.fits(self.wanted, has.os, has.architecture, has.variant) is not None
        ):
            return
        machine = "" if self.chosen else " of this machine"
        self.tell.note(f"warning: image {self.label} is {has}, not {self.wanted}{machine}")

    def _layers(self, manifest: model.Manifest, config: model.ImageConfig, lease: Lease) -> None:
        """Every blob in the store, every layer unpacked."""
        chain = [
            LayerSource(diff_id, layer.digest, layer.media_type, layer.size)
            for diff_id, layer in zip(config.diff_ids, manifest.layers, strict=True)
        ]
        self.keys = self.engine.layers.keys(config.diff_ids)
        lease.add(*(f"layer:{key}" for key in self.keys))
        missing = self.engine.layers.missing(chain)
        work: dict[str, LayerWork] = {}
        for index, layer in enumerate(manifest.layers):
            entry = work.setdefault(layer.digest, LayerWork(layer, []))
            if entry.descriptor.size != layer.size:
                raise CorruptError(
                    f"the manifest of {self.label} is refused",
                    f"it gives {layer.digest} two sizes",
                )
            if index in missing:
                entry.indexes.append(index)
        fetcher = Fetcher(self.engine.blobs, self.source, self.tell)
        if not missing:
            fetcher.all(list(work.values()), None)
            return

        def unpacked(index: int) -> None:
            self.tell.end(chain[index].digest, "unpacked")

        with self.engine.layers.unpacker(chain, unpacked) as unpacker:
            fetcher.all(list(work.values()), unpacker.submit)
            for notice in unpacker.finish():
                self.tell.note(notice)

    def _list(self, digest: str, config: model.ImageConfig, index_digest: str) -> Image:
        for name in self.names:
            before = _named(self.engine.images, name)
            if before is not None and (before.os, before.architecture) != (
                config.os,
                config.architecture,
            ):
                self.tell.note(
                    f"{name} now names the image for {config.os}/{config.architecture}; the one for "
                    f"{before.os}/{before.architecture} is {before.id[7:19]}"
                )
        size = sum(int(self.engine.layers.record(key)["size"]) for key in self.keys)
        image = self.engine.images.add(
            digest, self.names, index_digest=index_digest, source=self.source.served_by, size=size
        )
        if self.names:
            image.name = self.names[0]  # of all its names the one that was asked for
        return image


def _named(images: ImageStore, name: str) -> Image | None:
    try:
        return images.resolve(name)
    except SampanError:
        return None  # whatever is wrong with it, the name moves to the new image


def _check_types(manifest: model.Manifest, name: str) -> None:
    """Only images are pulled: other artifacts have manifests of the same shape."""
    kind = manifest.config.media_type
    if kind and kind not in model.CONFIG_TYPES:
        raise UnsupportedError(f"{name} is not a container image", f"its config is {kind}")
    for layer in manifest.layers:
        if layer.media_type and layer.media_type not in model.LAYER_TYPES:
            raise UnsupportedError(
                f"{name} is not a container image", f"a layer of it is {layer.media_type}"
            )
