"""save: stored images into an archive or a directory, and the places that a push may go to besides.

An OCI layout gets the blobs as they are; a Docker archive has plain layers, as `docker save` and podman
write them, so they are inflated on the way, the next while one is written.
"""

from __future__ import annotations

import json
import os

from sampan import files
from sampan.engine import events, pack
from sampan.errors import SampanError, UsageError
from sampan.model import convert
from sampan.model import image as model
from sampan.store.blobs import digest_of
from sampan.transports.oci import NAME
from sampan.transports.output import Directory, Tar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from sampan.engine import Engine
    from sampan.engine.fetching import Progress
    from sampan.store.images import Image
    from sampan.store.layers import LayerSource
    from sampan.transports.output import Output

FORMS = {  # --format: (transport, whether it is one file)
    "docker-archive": ("docker", True),
    "docker-dir": ("dir", False),
    "oci-archive": ("oci", True),
    "oci-dir": ("oci", False),
}
_FLAT_VERSION = b"Directory Transport Version: 1.1\n"


class Chosen:
    """An image and the names that it is written with, full ones."""

    __slots__ = ("image", "names")

    def __init__(self, image: Image, names: Sequence[str]) -> None:
        self.image, self.names = image, list(names)


def save(
    engine: Engine,
    words: Sequence[str],
    path: str,
    form: str,
    *,
    plain: bool = False,
    progress: Progress,
) -> None:
    """Write images to a file, a directory, or ("-") standard output. plain: layers are not compressed."""
    if form not in FORMS:
        raise UsageError(f'unknown format "{form}"', "", f"one of {', '.join(FORMS)}")
    kind, one_file = FORMS[form]
    if kind == "dir" and len(words) > 1:
        raise UsageError(
            "cannot save several images to docker-dir", "it holds one", "oci-archive holds many"
        )
    images = choose(engine, words)
    if path == "-":
        if not one_file:
            raise UsageError(
                f"cannot save {form} to standard output", "it is a directory", "-o DIR"
            )
        write(engine, images, kind, Tar(1), plain, progress)
    elif one_file:
        whole_file(path, lambda fd: write(engine, images, kind, Tar(fd), plain, progress))
    else:
        write(engine, images, kind, directory(path), plain, progress)
    for one in images:
        events.of_image(engine, one.image, "save", path)


def choose(engine: Engine, words: Sequence[str]) -> list[Chosen]:
    """The images, each once, with the names by which they were asked for."""
    from sampan.engine.images import called, find

    found: dict[str, Chosen] = {}
    for word in words:
        image = find(engine, word)
        name = called(image, word)
        chosen = found.setdefault(image.id, Chosen(image, ()))
        if name and "@" not in name and name not in chosen.names:
            chosen.names.append(name)
    return list(found.values())


def whole_file(path: str, fill: Callable[[int], object]) -> None:
    """A new file appears whole; what is no regular file (a pipe, a device) is written to."""
    parent, base = os.path.split(path)
    if os.path.exists(path) and not os.path.isfile(path):
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            fill(fd)
        finally:
            os.close(fd)
        return
    try:
        folder = files.open_directory(parent or ".")
    except OSError as error:
        raise SampanError(f"cannot write {path}", error.strerror or "") from None
    temporary = files.temporary_name()
    try:
        fd = _new_file(folder, temporary)
        try:
            fill(fd)
            if not os.fstat(fd).st_nlink:
                os.link(f"/proc/self/fd/{fd}", temporary, dst_dir_fd=folder, follow_symlinks=True)
        finally:
            os.close(fd)
        os.rename(temporary, base, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError as error:
        raise SampanError(f"cannot write {path}", error.strerror or "") from None
    finally:
        files.unlink(folder, temporary)
        os.close(folder)


def _new_file(folder: int, name: str) -> int:
    """One that gets its name when it is whole; where that cannot be had, one with a name for the time being."""
    try:
        return os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o666, dir_fd=folder)
    except OSError:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return os.open(name, flags, 0o666, dir_fd=folder)


def directory(path: str) -> Directory:
    try:
        return Directory(path)
    except OSError as error:
        raise SampanError(f"cannot write {path}", error.strerror or "") from None


def write(
    engine: Engine,
    images: Sequence[Chosen],
    kind: str,
    output: Output,
    plain: bool,
    progress: Progress,
) -> None:
    """kind: "docker", "oci" or "dir"."""
    writer = _Writer(engine, output, progress)
    with engine.images.lease() as lease:  # a removal meanwhile takes no blob away
        for one in images:
            lease.add(one.image.id, *(layer.digest for layer in one.image.layers))
        {"docker": writer.docker, "oci": writer.oci, "dir": writer.flat}[kind](images, plain)
    output.finish()


class _Writer:
    def __init__(self, engine: Engine, output: Output, progress: Progress) -> None:
        self.engine, self.output, self.progress = engine, output, progress

    def docker(self, images: Sequence[Chosen], plain: bool) -> None:
        """Docker, image/spec/v1.2.md."""
        listed: list[dict[str, Any]] = []
        for one in images:
            names: list[str] = []
            for source in pack.sources(one.image):
                names.append(f"{source.diff_id[7:]}.tar")
                if not self.output.has(names[-1]):
                    self._inflated(one.image, source, names[-1])
            config = f"{one.image.id[7:]}.json"
            self._config(one.image, config)
            listed.append({"Config": config, "RepoTags": one.names, "Layers": names})
        self.output.put("manifest.json", json.dumps(listed).encode())

    def oci(self, images: Sequence[Chosen], plain: bool) -> None:
        """image-spec, image-layout.md; a layout that is there is added to."""
        before = self.output.read("index.json")
        listed: list[dict[str, Any]] = json.loads(before)["manifests"] if before else []
        for one in images:
            document = convert.manifest(self._document(one.image), "oci")
            for at, source in enumerate(pack.sources(one.image)):
                if plain and source.media_type not in (model.OCI_LAYER, *_DOCKER_PLAIN):
                    size = self._inflated(one.image, source, f"blobs/sha256/{source.diff_id[7:]}")
                    document["layers"][at] = {
                        "mediaType": model.OCI_LAYER,
                        "digest": source.diff_id,
                        "size": size,
                    }
                else:
                    self._blob(source.digest, source.size, f"blobs/sha256/{source.digest[7:]}")
            self._config(one.image, f"blobs/sha256/{one.image.id[7:]}")
            listed = _listed(listed, self._manifest(document), one)
        self.output.put("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "mediaType": model.OCI_INDEX, "manifests": listed}
        self.output.put("index.json", json.dumps(index).encode())

    def flat(self, images: Sequence[Chosen], plain: bool) -> None:
        """containers-transports(5), dir: the manifest is the stored one, byte for byte."""
        (one,) = images
        self.output.put("version", _FLAT_VERSION)
        for source in pack.sources(one.image):
            self._blob(source.digest, source.size, source.digest[7:])
        self._config(one.image, one.image.id[7:])
        self.output.put("manifest.json", self.engine.blobs.read(one.image.digest))

    def _document(self, image: Image) -> dict[str, Any]:
        data = self.engine.blobs.read(image.digest, model.MANIFEST_LIMIT)
        return model.load_document(data, model.MANIFEST_LIMIT, f"the manifest of {image.name}")

    def _manifest(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Write it; returns its descriptor."""
        data = pack.encode(document)
        digest = digest_of(data)
        self.output.put(f"blobs/sha256/{digest[7:]}", data)
        return {"mediaType": model.OCI_MANIFEST, "digest": digest, "size": len(data)}

    def _config(self, image: Image, name: str) -> None:
        if not self.output.has(name):
            data = self.engine.blobs.read(image.id, model.CONFIG_LIMIT)
            self.progress.begin(image.id, len(data), "config")
            self.output.put(name, data)
            self.progress.end(image.id, "done")

    def _blob(self, digest: str, size: int, name: str) -> None:
        self.progress.begin(digest, size, "blob")
        if self.output.has(name):
            return self.progress.end(digest, "exists")
        fd = self.engine.blobs.open(digest)
        try:
            self.output.copy(name, fd, size, lambda done: self.progress.update(digest, done))
        finally:
            os.close(fd)
        self.progress.end(digest, "done")

    def _inflated(self, image: Image, source: LayerSource, name: str) -> int:
        """The layer's plain tar; its length."""
        from sampan.store.decompress import Source

        fd = self.engine.blobs.open(source.digest)
        plain = Source(fd, model.SIZE_LIMIT)
        try:
            size = self._length(image, source, fd)
            self.progress.begin(source.diff_id, size, "blob")
            plain.start()
            self.output.stream(name, size, plain.read)
            if plain.diff_id() != source.diff_id:
                raise SampanError(
                    f"cannot save {image.name}",
                    f"its blob {source.digest} is damaged",
                    "pull it again",
                )
            self.progress.end(source.diff_id, "done")
            return size
        finally:
            plain.close()
            os.close(fd)

    def _length(self, image: Image, source: LayerSource, fd: int) -> int:
        """Bytes of the tar: on record if the layer is unpacked, else counted."""
        from sampan.store.decompress import Source

        at = image.diff_ids.index(source.diff_id)
        keys = self.engine.layers.keys(image.diff_ids[: at + 1])
        if keys[-1] in self.engine.layers.present():
            return int(self.engine.layers.record(keys[-1])["size"])
        counted = Source(fd, model.SIZE_LIMIT)
        counted.drain()
        return counted.size


_DOCKER_PLAIN = (model.DOCKER_LAYER.removesuffix(".gzip"),)


def _listed(
    entries: Sequence[dict[str, Any]], descriptor: dict[str, Any], one: Chosen
) -> list[dict[str, Any]]:
    """index.json's entries with this image under its names, which no other keeps."""
    left: list[dict[str, Any]] = []
    for entry in entries:
        annotations: dict[str, str] = entry.get("annotations") or {}
        name = annotations.get(NAME)
        if name not in one.names and (name or entry["digest"] != descriptor["digest"]):
            left.append(entry)
    platform = {"os": one.image.os, "architecture": one.image.architecture}
    entry = {**descriptor, "platform": platform}
    named = [{**entry, "annotations": {NAME: name}} for name in one.names]
    return [*left, *(named or [entry])]
