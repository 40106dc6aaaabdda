"""push: a stored image to a registry, or to a place of containers-transports(5).

An image goes as it is: its own blobs and, unless another form or compression is asked for, its own
manifest, so that its digest stays.  Blobs first and in parallel, the manifest last: what is listed is whole.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

from sampan.engine import Engine, events, pack
from sampan.engine.fetching import Progress, Silent
from sampan.engine.images import called, find
from sampan.engine.recompress import Compression, recompressed
from sampan.errors import UsageError
from sampan.model import convert, reference
from sampan.model import image as model
from sampan.model.image import Descriptor
from sampan.registry import config as registries
from sampan.registry.access import Access
from sampan.registry.upload import Upload
from sampan.store.images import Image
from sampan.store.leases import Lease
from sampan.transports import place
from sampan.transports.place import Place

THREADS = 3


def push(
    engine: Engine,
    word: str,
    destination: str = "",
    *,
    form: str = "",
    compression: Compression | None = None,
    access: Access = Access(),
    progress: Progress | None = None,
) -> str:
    """Push the image, without a destination to its own name; returns the digest that it has there.

    form: "oci" or "docker"; "" leaves it as it is.
    """
    image, tell = find(engine, word), progress or Silent()
    if not destination:
        destination = called(image, word) or ""
        if not destination:
            raise UsageError(
                f"cannot push {word}", "an id says not where to", "sampan push ID DESTINATION"
            )
    where = place.parse(destination)
    if where is not None:
        digest = _write(engine, image, where, tell)
    else:
        name = reference.parse(place.bare(destination))
        upload = Upload(name, registries.load(), access=access, note=tell.note)
        with engine.images.lease() as lease:
            lease.add(image.digest, image.id, *(layer.digest for layer in image.layers))
            data = manifest(engine, lease, image, form, compression, tell)
            pusher = Pusher(engine, upload, tell)
            pusher.blobs(data)
            digest = pusher.manifest(data, name.selector)
    events.of_image(engine, image, "push", destination)
    return digest


def manifest(
    engine: Engine,
    lease: Lease,
    image: Image,
    form: str,
    compression: Compression | None,
    tell: Progress,
) -> bytes:
    """The manifest as it is to be pushed, its blobs in the store: the image's own, unless something is changed."""
    own = engine.blobs.read(image.digest, model.MANIFEST_LIMIT)
    now = convert.form_of(image.media_type)
    document = model.load_document(own, model.MANIFEST_LIMIT, f"the manifest of {image.name}")
    if compression is not None:
        if compression.algorithm == "zstd" and (form or now) == "docker":
            if form:
                convert.layer_type(model.OCI_LAYER_ZSTD, form)  # says why it cannot be
            tell.note("zstd needs a manifest of OCI's form: it is made one")
            form = "oci"
        layers = recompressed(engine, lease, pack.sources(image), image.layers, compression, tell)
        document = {**document, "layers": [dict(layer.document) for layer in layers]}
        return pack.encode(convert.manifest(document, form or now))
    return own if form in ("", now) else pack.encode(convert.manifest(document, form))


class Pusher:
    """Brings images of the store to one repository."""

    def __init__(self, engine: Engine, upload: Upload, tell: Progress) -> None:
        self._engine, self._upload, self._tell = engine, upload, tell
        self._origins: dict[str, list[str]] | None = None
        self._stop = threading.Event()

    def blobs(self, data: bytes) -> None:
        """All blobs of a manifest that the repository is to have."""
        parsed = model.parse_manifest(data)
        assert isinstance(parsed, model.Manifest)
        layers = [layer for layer in parsed.layers if not convert.is_foreign(layer.media_type)]
        wanted = {one.digest: one for one in layers}
        work: list[Callable[[], None]] = [
            *(lambda one=one: self._blob(one, "blob") for one in wanted.values()),
            lambda: self._blob(parsed.config, "config"),
        ]
        self._origins = self._origins or _origins(self._engine, self._upload)
        with ThreadPoolExecutor(THREADS) as pool:
            futures = [pool.submit(one) for one in work]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def manifest(self, data: bytes, selector: str) -> str:
        """The manifest itself, under a tag or its digest; returns its digest."""
        self._tell.note("Writing manifest to image destination")
        document = model.load_document(data, model.MANIFEST_LIMIT, "the manifest")
        return self._upload.manifest(data, model.manifest_type(document), selector)

    def _blob(self, descriptor: Descriptor, kind: str) -> None:
        digest = descriptor.digest
        self._tell.begin(digest, descriptor.size, kind)

        def advance(sent: int) -> None:
            if self._stop.is_set():
                raise InterruptedError("another blob failed")
            self._tell.update(digest, sent)

        fd = self._engine.blobs.open(digest)
        try:
            origins = (self._origins or {}).get(digest, [])
            self._tell.end(digest, self._upload.blob(descriptor, fd, origins, advance))
        finally:
            os.close(fd)


def _origins(engine: Engine, upload: Upload) -> dict[str, list[str]]:
    """By blob: the repositories of the same registry from which the store's images with it have come."""
    domain, path = upload.name.domain, upload.name.path
    found: dict[str, list[str]] = {}
    for image in engine.images.list():
        paths = _paths(image.references, domain) - {path}
        if paths:
            for layer in (*image.layers, image.manifest.config):
                found.setdefault(layer.digest, []).extend(sorted(paths)[:2])
    return {digest: list(dict.fromkeys(paths))[:2] for digest, paths in found.items()}


def _paths(names: Iterable[str], domain: str) -> set[str]:
    parsed = [reference.parse(name) for name in names]
    return {name.path for name in parsed if name.domain == domain}


def _write(engine: Engine, image: Image, where: Place, tell: Progress) -> str:
    """Into an archive, layout or directory; the digest of the stored manifest."""
    from sampan.engine import save
    from sampan.transports.output import Tar

    names: Sequence[str] = [where.name] if where.name else []
    if where.transport == "docker-archive":
        names = [str(reference.parse(name)) for name in names]
    chosen = [save.Chosen(image, names)]
    kind = {"docker-archive": "docker", "dir": "dir"}.get(where.transport, "oci")
    if where.transport.endswith("-archive"):
        save.whole_file(
            where.path, lambda fd: save.write(engine, chosen, kind, Tar(fd), False, tell)
        )
    else:
        save.write(engine, chosen, kind, save.directory(where.path), False, tell)
    return image.digest
