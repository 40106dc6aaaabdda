"""Building: a builder is loaded, and given what it needs of the engine's stores."""

from __future__ import annotations

import contextlib
import os
import time

from sampan import files
from sampan.drivers import BaseImage, BuildRequest, Layer
from sampan.engine import pack
from sampan.engine.build_cache import Cache
from sampan.errors import CorruptError, NotFoundError, SampanError, UnsupportedError
from sampan.linux import userns
from sampan.model.layer import layer_keys
from sampan.registry.access import Access
from sampan.store.layers import LayerSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from typing import Any

    from sampan.drivers import (
        BuildCache,
        Builder,
        Cached,
        Checker,
        Command,
        Digests,
        Layers,
        LayerTar,
        Notes,
        Output,
    )
    from sampan.engine import Engine
    from sampan.engine.build_pull import Fetching
    from sampan.engine.mounted import Reading
    from sampan.store.images import Image
    from sampan.store.leases import Lease
    from sampan.store.truth import Truth

    Listener = Callable[[Mapping[str, Any]], object]

PLACE = "building"  # directories in which layers are made
CHUNK = 1 << 20


def build(
    engine: Engine, name: str, request: BuildRequest, progress: Listener = lambda event: None
) -> Image:
    """The image that the builder of that name makes of the request."""
    from sampan.engine import tidy

    tidy.builds(engine)
    builder: Builder = engine.driver("build", name)
    with engine.images.lease() as lease:
        image_id = builder.build(request, Host(engine, lease, progress, request.options))
        return engine.images.resolve(image_id)


def check(engine: Engine, name: str, request: BuildRequest) -> Collection[Mapping[str, Any]]:
    """What the builder of that name finds wrong with the request, without building."""
    builder: Checker = engine.driver("build", name)
    if not hasattr(builder, "check"):
        raise UnsupportedError(f"builder {name} checks nothing", "", "leave out --check")
    with engine.images.lease() as lease:
        return builder.check(request, Host(engine, lease, lambda event: None, request.options))


def build_host_image(
    engine: Engine, words: str, tell: Callable[[str], object] = lambda text: None
) -> Image:
    """The image of programs of this machine ("sh,ls"); made again only when one of them changed."""

    def listen(event: Mapping[str, Any]) -> None:
        if event["kind"] == "say":
            tell(event["text"])

    return build(engine, "host", BuildRequest(words, (), {}), listen)


class Host:
    """A `sampan.drivers.BuildHost` over the engine's stores; `lease` keeps its blobs until it ends."""

    def __init__(
        self, engine: Engine, lease: Lease, listen: Listener, options: Mapping[str, Any]
    ) -> None:
        """options: of the request; those that tell how registries are reached are read here."""
        self.idmap = engine.idmap
        self._cache = Cache(engine, lease)
        self._engine, self._lease, self._options = engine, lease, options
        self._latest: int | None = options.get("timestamp")
        self._listener = listen
        self._access: Access = options.get("access") or Access()
        self._inline: dict[str, Cached] = {}
        for option in ("cache_from", "cache_to"):
            if options.get(option):
                from sampan.engine import sharedcache

                sharedcache.check(options[option], f"--{option.replace('_', '-')}")
        for target in options.get("cache_from") or ():
            self._import(target)

    def _import(self, target: Mapping[str, str]) -> None:
        """A cache that cannot be had makes a build slower, and no error."""
        from sampan.engine import sharedcache

        try:
            self._cache.shared.append(
                sharedcache.Importer(self._engine, self._lease, target, self._access)
            )
        except SampanError as error:
            self.progress(
                {"kind": "warning", "text": f"no build cache: {error}", "file": "", "line": 0}
            )

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    def progress(self, event: Mapping[str, Any]) -> None:
        self._listener(event)

    @property
    def cache(self) -> BuildCache:
        return self._cache

    def find(self, name: str) -> str | None:
        """The id of the image of that name or id; None if there is none, or a damaged one."""
        try:
            image = self._engine.images.resolve(name)
            for layer in image.layers:
                if not self._engine.blobs.has(layer.digest):
                    return None
            return image.id
        except (NotFoundError, CorruptError):
            return None

    def image(self, name: str, platform: str = "", pull: str = "missing") -> BaseImage:
        from sampan.engine.obtain import obtain

        image = obtain(
            self._engine,
            name,
            policy=pull,
            platform=platform or None,
            access=self._access,
            progress=self._fetching,
        )
        layers = tuple(Layer(*_row(source)) for source in pack.sources(image))
        self._lease.add(image.digest, image.id)
        self._cache.hold(layers)
        return BaseImage(image.id, image.name, image.digest, layers, image.config)

    def _fetching(self) -> contextlib.nullcontext[Fetching]:
        from sampan.engine.build_pull import Fetching

        return contextlib.nullcontext(Fetching(self.progress))

    def run(self, chain: Layers, command: Command, output: Output) -> tuple[int, Layer | None]:
        from sampan.engine.build_run import Runner

        code, made = Runner(self._engine, self._lease, chain, command, self._latest).run(output)
        return code, self._held(chain, made)

    def tree(
        self, chains: Sequence[Layers], produce: Callable[[Sequence[int], LayerTar], object]
    ) -> Layer | None:
        from sampan.engine import archive
        from sampan.store.layertar import LayerTar as Tar
        from sampan.store.tarheader import SECOND

        def inside(roots: list[int], truths: list[Truth], out: int) -> None:
            now = time.time_ns() if self._latest is None else self._latest * SECOND
            below, source = [*truths, None, None][:2]
            wrote = False
            with open(out, "wb", buffering=CHUNK, closefd=False) as file:

                def write(data: bytes) -> None:
                    nonlocal wrote
                    wrote = True
                    file.write(data)

                tar = Tar(write, now, self._latest, below=below, source=source)
                produce(roots, tar)
                if wrote:
                    tar.close()
            archive.tell(tar)

        with self._mounted(chains, inside) as reading:
            below = chains[0] if chains else ()
            sources = [LayerSource(*layer) for layer in below]
            made = pack.onto(self._engine, self._lease, sources, reading.read, self._say)
        return self._held(below, made)

    def look(
        self,
        chains: Sequence[Layers],
        produce: Callable[[Sequence[int], Sequence[Notes]], bytes],
    ) -> bytes:
        def inside(roots: list[int], truths: list[Truth], out: int) -> None:
            files.write_all(out, produce(roots, truths))

        with self._mounted(chains, inside) as reading:
            return b"".join(iter(reading.read, b""))

    def _mounted(
        self,
        chains: Sequence[Layers],
        inside: Callable[[list[int], list[Truth], int], object],
    ) -> Reading:
        """A child that has the chains mounted, and knows what their disks could not hold."""
        from sampan.engine import build_mounts, mounted
        from sampan.store.truth import Truth

        engine = self._engine
        keys = [layer_keys([layer.diff_id for layer in chain]) for chain in chains]
        wanted = [build_mounts.snapshot_of(engine, chain) if chain else None for chain in chains]

        def child(roots: list[int], out: int) -> None:
            truths = [Truth(engine.layers.truth(one), engine.idmap.single) for one in keys]
            inside(roots, truths, out)

        return mounted.snapshots(engine, wanted, child)

    def layer(self, write: Callable[[int], None]) -> Layer:
        """A new layer of what `write` puts into an empty directory."""
        place = files.open_directory(PLACE, dir_fd=self._engine.root_fd, create=True)
        try:
            archive = files.nameless(place)
            try:
                userns.run(self.idmap, lambda: _fill(place, archive, write))
                os.lseek(archive, 0, os.SEEK_SET)
                made = pack.pack(self._engine, self._lease, lambda: os.read(archive, CHUNK))
            finally:
                os.close(archive)
        finally:
            os.close(place)
        return Layer(*_row(made))

    def unpack(self, archive: int, directory: int, what: str) -> None:
        from sampan.engine.extract import extract

        extract(archive, directory, what)

    def digests(self) -> contextlib.AbstractContextManager[Digests]:
        from sampan.store.digests import FileDigests

        return FileDigests(self._engine.root_fd)

    def share(self, own: Sequence[str], others: Sequence[str]) -> None:
        targets: Sequence[Mapping[str, str]] = self._options.get("cache_to") or ()
        if not targets:
            return
        from sampan.engine import sharedcache

        for target in targets:
            keys = [*own, *(others if target.get("mode") == "max" else ())]
            found = {key: one for key in keys if (one := self._cache.get(key))}
            if target["type"] == "inline":
                self._inline = found
            else:
                exporter = sharedcache.Exporter(self._engine, self._lease, self._access)
                exporter.write(target, found)
                self._say(f"exported the build cache: {target.get('ref') or target.get('dest')}")

    def commit(
        self,
        layers: Layers,
        config: Mapping[str, Any],
        tags: Sequence[str],
        *,
        form: str = "oci",
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        from sampan.model import convert, platform

        machine = platform.host()
        document: dict[str, Any] = {
            "architecture": machine.architecture,
            "os": machine.os,
            **config,
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        }
        if self._inline:
            from sampan.engine import sharedcache

            document |= sharedcache.inline(self._inline, layers)
        size = pack.unpack(self._engine, [LayerSource(*layer) for layer in layers], self._say)
        rows = [
            {
                "mediaType": convert.layer_type(layer.media_type, form),
                "digest": layer.digest,
                "size": layer.size,
            }
            for layer in layers
        ]
        data = pack.encode(document)
        made = pack.image(
            self._engine, self._lease, data, rows, tags, size, form, annotations=annotations
        )
        return made.id

    def _say(self, text: str) -> None:
        self.progress({"kind": "say", "text": text})

    def _held(self, below: Layers, made: LayerSource | None) -> Layer | None:
        """A new layer, kept until the build ends."""
        if made is None:
            return None
        layer = Layer(*_row(made))
        self._cache.hold((*below, layer))
        return layer


def _row(source: LayerSource) -> tuple[str, str, str, int]:
    return source.diff_id, source.digest, source.media_type, source.size


def _fill(place: int, archive: int, write: Callable[[int], None]) -> None:
    """In the user namespace: fill a directory and write it down as tar."""
    from sampan.store.tarwriter import TarWriter

    for name in os.listdir(place):
        if files.is_abandoned(name):
            files.remove_tree(place, name)
    os.umask(0o022)
    name = files.temporary_name()
    directory = files.open_directory(name, dir_fd=place, create=True)
    try:
        write(directory)
        with open(archive, "wb", buffering=CHUNK, closefd=False) as file:
            writer = TarWriter(file.write, pack.source_date_epoch())
            writer.tree(directory)
            writer.close()
    finally:
        os.close(directory)
        files.remove_tree(place, name)
