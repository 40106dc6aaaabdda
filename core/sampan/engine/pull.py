"""pull: from a name to a listed image whose layers are unpacked.

The order is the safety: the manifest and the configuration are received, verified and validated
whole before a layer is asked for; each layer is verified before the unpacker sees it; the image
is listed last.  Until then a lease keeps the blobs, so whatever ends the pull early leaves at
most blobs for the next collection and partial downloads for the next try.  The unpacker forks its
workers before the first download thread starts.
"""

from __future__ import annotations

import os
from typing import Protocol

from sampan.engine.fetching import Fetcher, LayerWork
from sampan.errors import (
    CorruptError,
    LimitError,
    NotFoundError,
    SampanError,
    UnsupportedError,
    UsageError,
)
from sampan.model import image as model
from sampan.model import platform as platforms
from sampan.model.platform import Platform
from sampan.model.reference import Reference
from sampan.registry import config as registries
from sampan.registry.errors import RegistryError
from sampan.registry.fetch import Fetched, Remote
from sampan.store.blobs import BlobStore
from sampan.store.images import Image, ImageStore
from sampan.store.layers import LayerSource, LayerStore
from sampan.store.leases import Lease

POLICIES = ("always", "missing", "newer", "never")
_NESTING = 3  # indexes within indexes
_OTHER_TRANSPORTS = frozenset(
    ("docker-archive", "docker-daemon", "oci", "oci-archive", "dir", "containers-storage", "ostree")
)


class Progress(Protocol):
    """What a pull tells while it works. Called from several threads."""

    def note(self, text: str) -> None:
        """A line for the user."""
        ...

    def begin(self, digest: str, size: int, kind: str) -> None:
        """A blob is about to be received; kind: "blob" or "config"."""
        ...

    def update(self, digest: str, received: int) -> None: ...

    def end(self, digest: str, outcome: str) -> None:
        """outcome: "done", "exists" (nothing to fetch) or "unpacked"."""
        ...


class Silent:
    """A Progress that tells nothing."""

    def note(self, text: str) -> None: ...

    def begin(self, digest: str, size: int, kind: str) -> None: ...

    def update(self, digest: str, received: int) -> None: ...

    def end(self, digest: str, outcome: str) -> None: ...


class PullEngine(Protocol):
    """The part of the engine that a pull works on."""

    @property
    def images(self) -> ImageStore: ...

    @property
    def blobs(self) -> BlobStore: ...

    @property
    def layers(self) -> LayerStore: ...


def pull(
    engine: PullEngine,
    name: str,
    *,
    platform: str | None = None,
    policy: str = "always",
    tls_verify: bool | None = None,
    progress: Progress | None = None,
) -> Image:
    """The image of that name, fetched according to the policy: always, missing, newer or never."""
    tell = progress or Silent()
    name = _plain_name(name)
    if policy not in POLICIES:
        raise UsageError(
            f'unknown pull policy "{policy}"', f"one of {', '.join(POLICIES)} is wanted"
        )
    wanted = platforms.parse(platform) if platform else None
    local = None if policy == "always" else _local(engine, name, wanted)
    if policy == "never" and local is None:
        raise NotFoundError(name, "image not known")
    if local is not None and policy != "newer":
        return local
    try:
        remote, fetched = _find(name, tls_verify, tell)
    except RegistryError as error:
        if local is None:
            raise
        tell.note(f"using the stored {name}: {error}")
        return local
    if local is not None and fetched.digest in (local.digest, local.index_digest):
        return local
    try:
        return _Pull(engine, remote, tell, wanted or platforms.host(), wanted is not None).run(
            fetched
        )
    except CorruptError:
        engine.images.collect()  # what came with it is of no use; a cut download would be
        raise


def _plain_name(name: str) -> str:
    name = name.removeprefix("docker://")
    transport, colon, _ = name.partition(":")
    if colon and transport in _OTHER_TRANSPORTS:
        raise UnsupportedError(
            f"cannot pull {name}", f"{transport}: is not a registry", "use load for archives"
        )
    return name


def _local(engine: PullEngine, name: str, wanted: Platform | None) -> Image | None:
    try:
        image = engine.images.resolve(name)
    except NotFoundError:
        return None
    if wanted is None:
        return image
    rank = platforms.fits(wanted, image.os, image.architecture, image.variant)
    return None if rank is None else image


def _find(name: str, tls_verify: bool | None, tell: Progress) -> tuple[Remote, Fetched]:
    """The first of the names that `name` can stand for which a registry has."""
    conf = registries.load()
    candidates = conf.candidates(name)
    failures: list[SampanError] = []
    for candidate in candidates:
        if str(candidate) != name and candidate.familiar != candidate.repository:
            tell.note(f'Resolved "{name}" as {candidate}')
        tell.note(f"Trying to pull {candidate}...")
        try:
            remote = Remote(candidate, conf, tls_verify=tls_verify, note=tell.note)
            return remote, remote.manifest(candidate.selector)
        except (RegistryError, NotFoundError) as error:
            if len(candidates) == 1:
                raise
            failures.append(error)
    raise NotFoundError(f"no registry has {name}", "; ".join(str(one) for one in failures))


class _Pull:
    """One pull of a manifest that was found."""

    def __init__(
        self, engine: PullEngine, remote: Remote, tell: Progress, wanted: Platform, chosen: bool
    ) -> None:
        self.engine, self.remote, self.tell = engine, remote, tell
        self.wanted, self.chosen = wanted, chosen
        self.name = remote.name
        self.keys: list[str] = []  # of the layers

    def run(self, fetched: Fetched) -> Image:
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
                raise LimitError(f"cannot pull {self.name}", "its indexes are nested too deep")
            _check_types(parsed, self.name)
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
            self.tell.note(f"the registry calls the {inside} of {self.name} {fetched.media_type}")
        return parsed

    def _fetch_entry(self, index: model.Index) -> Fetched:
        """The manifest of the platform that is wanted."""
        entry = platforms.choose(index, self.wanted, str(self.name))
        if entry.size > model.MANIFEST_LIMIT:
            raise LimitError(f"cannot pull {self.name}", f"a manifest of {entry.size} bytes")
        fetched = self.remote.manifest(entry.digest)
        if len(fetched.data) != entry.size:
            raise CorruptError(
                f"the manifest {entry.digest} is refused",
                f"its descriptor says {entry.size} bytes and it has {len(fetched.data)}",
            )
        return fetched

    def _config(self, manifest: model.Manifest) -> model.ImageConfig:
        """The configuration, valid before it has a name in the store."""
        fetcher = Fetcher(self.engine.blobs, self.remote, self.tell)
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
        self.tell.note(f"warning: image {self.name} is {has}, not {self.wanted}{machine}")

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
                    f"the manifest of {self.name} is refused",
                    f"it gives {layer.digest} two sizes",
                )
            if index in missing:
                entry.indexes.append(index)
        fetcher = Fetcher(self.engine.blobs, self.remote, self.tell)
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
        name = str(self.name)
        before = _named(self.engine.images, self.name)
        if before is not None and (before.os, before.architecture) != (
            config.os,
            config.architecture,
        ):
            self.tell.note(
                f"{name} now names the image for {config.os}/{config.architecture}; the one for "
                f"{before.os}/{before.architecture} is {before.id[7:19]}"
            )
        size = sum(int(self.engine.layers.record(key)["size"]) for key in self.keys)
        return self.engine.images.add(
            digest, [name], index_digest=index_digest, source=self.remote.served_by, size=size
        )


def _named(images: ImageStore, name: Reference) -> Image | None:
    try:
        return images.resolve(str(name))
    except SampanError:
        return None  # whatever is wrong with it, the name moves to the new image


def _check_types(manifest: model.Manifest, name: Reference) -> None:
    """Only images are pulled: other artifacts have manifests of the same shape."""
    kind = manifest.config.media_type
    if kind and kind not in model.CONFIG_TYPES:
        raise UnsupportedError(f"{name} is not a container image", f"its config is {kind}")
    for layer in manifest.layers:
        if layer.media_type and layer.media_type not in model.LAYER_TYPES:
            raise UnsupportedError(
                f"{name} is not a container image", f"a layer of it is {layer.media_type}"
            )
