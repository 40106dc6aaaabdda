"""Archives of images as others write them, and as nobody should (L32): read confined, or refused with the reason."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from engine.standin import StandIn
from imagemaker import MadeImage, digest, layer_tar
from sampan.engine.load import load
from sampan.errors import CorruptError, SampanError
from sampan.transports import docker_archive
from sampan.transports.tree import Archive, Directory


class Tar:
    """An archive in the making."""

    def __init__(self) -> None:
        self.buffer = io.BytesIO()
        self.archive = tarfile.open(fileobj=self.buffer, mode="w")

    def file(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self.archive.addfile(member, io.BytesIO(data))

    def link(self, name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        self.archive.addfile(member)

    def data(self) -> bytes:
        self.archive.close()
        return self.buffer.getvalue()

    def write(self, path: Path) -> str:
        path.write_bytes(self.data())
        return str(path)


def docker(
    image: MadeImage, names: list[str] | None, tar: Tar | None = None
) -> tuple[Tar, dict[str, Any]]:
    """A Docker archive of the image, and its entry in manifest.json, which is not written yet."""
    tar = tar or Tar()
    layers = [f"{digest(one)[7:]}.tar" for one in image.tars]
    for name, one in zip(layers, image.tars, strict=True):
        tar.file(name, one)
    config = f"{image.id[7:]}.json"
    tar.file(config, image.blobs[image.id])
    return tar, {"Config": config, "RepoTags": names, "Layers": layers}


@pytest.fixture
def engine(tmp_path: Path) -> StandIn:
    (tmp_path / "store").mkdir()
    return StandIn(tmp_path / "store")


def loaded(engine: StandIn, path: str) -> list[tuple[str, list[str]]]:
    return [(one.image.id, one.names) for one in load(engine, path)]  # type: ignore[arg-type]


def test_two_images_and_names_with_a_registry(engine: StandIn, tmp_path: Path) -> None:
    one, two = (
        MadeImage([layer_tar({"a": b"1"})]),
        MadeImage([layer_tar({"a": b"1"}), layer_tar({"b": b"2"})]),
    )
    tar, first = docker(one, ["quay.io/team/one:1", "localhost:5000/x:y"])
    tar, second = docker(two, ["two"], tar)
    tar.file("manifest.json", json.dumps([first, second]).encode())
    assert loaded(engine, tar.write(tmp_path / "a.tar")) == [
        (one.id, ["quay.io/team/one:1", "localhost:5000/x:y"]),
        (two.id, ["localhost/two:latest"]),
    ]
    assert engine.images.resolve("localhost:5000/x:y").id == one.id
    assert not engine.leftovers()


@pytest.mark.parametrize("target", ["../shared/layer.tar", "shared/layer.tar", "/shared/layer.tar"])
def test_a_layer_that_is_a_link(engine: StandIn, tmp_path: Path, target: str) -> None:
    """Relative to its directory, to the root of the archive, and absolute: inside the archive each time."""
    image = MadeImage([layer_tar({"a": b"1"})])
    tar = Tar()
    tar.file("shared/layer.tar", image.tars[0])
    tar.link("image/layer.tar", target)
    tar.file("c.json", image.blobs[image.id])
    entry = {"Config": "c.json", "RepoTags": None, "Layers": ["image/layer.tar"]}
    tar.file("manifest.json", json.dumps([entry]).encode())
    assert loaded(engine, tar.write(tmp_path / "a.tar")) == [(image.id, [])]


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../etc/passwd", "image/layer.tar"])
def test_a_link_leads_nowhere_else(engine: StandIn, tmp_path: Path, target: str) -> None:
    image = MadeImage([layer_tar({"a": b"1"})])
    tar = Tar()
    tar.link("image/layer.tar", target)
    tar.file("c.json", image.blobs[image.id])
    entry = {"Config": "c.json", "RepoTags": None, "Layers": ["image/layer.tar"]}
    tar.file("manifest.json", json.dumps([entry]).encode())
    with pytest.raises(SampanError):
        loaded(engine, tar.write(tmp_path / "a.tar"))
    assert not engine.images.list() and not engine.leftovers()


def test_a_link_in_a_directory_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "manifest.json").symlink_to("../secret")
    os.mkfifo(tmp_path / "image" / "fifo")
    tree = Directory(str(tmp_path / "image"))
    with pytest.raises(SampanError):
        tree.open("manifest.json")
    with pytest.raises(CorruptError, match="regular"):
        tree.open("fifo")
    tree.close()


def test_compressed_layers_and_a_compressed_archive(engine: StandIn, tmp_path: Path) -> None:
    """Some write gzip into files that should be plain, and some compress all of it."""
    image = MadeImage([layer_tar({"a": os.urandom(300_000)})])
    tar = Tar()
    tar.file("l", image.layers[0])
    tar.file("c", image.blobs[image.id])
    tar.file("manifest.json", json.dumps([{"Config": "c", "Layers": ["l"]}]).encode())
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(tar.data()[:1000]) + gzip.compress(tar.data()[1000:]))
    assert loaded(engine, str(path)) == [(image.id, [])]


def test_a_layer_that_is_not_the_image_s(engine: StandIn, tmp_path: Path) -> None:
    image = MadeImage([layer_tar({"a": b"1"})])
    tar, entry = docker(image, ["x"])
    tar.file(
        entry["Layers"][0], layer_tar({"a": b"other"})
    )  # the last of a name is the one that counts
    tar.file("manifest.json", json.dumps([entry]).encode())
    with pytest.raises(CorruptError, match="its image says"):
        loaded(engine, tar.write(tmp_path / "a.tar"))
    assert not engine.images.list() and not engine.leftovers()


def layout(
    directory: Path, image: MadeImage, annotations: list[dict[str, str]], **index: Any
) -> Path:
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for name, data in [*image.blobs.items(), (digest(image.manifest), image.manifest)]:
        (blobs / name[7:]).write_bytes(data)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": digest(image.manifest),
        "size": len(image.manifest),
    }
    entries = [{**entry, "annotations": one} for one in annotations]
    (directory / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": entries, **index})
    )
    return directory


NAME = "org.opencontainers.image.ref.name"


def test_a_layout_with_two_names_for_one_image(engine: StandIn, tmp_path: Path) -> None:
    image = MadeImage()
    annotations = [
        {NAME: "quay.io/a/b:1"},
        {NAME: "2", "io.containerd.image.name": "docker.io/library/c:2"},
    ]
    path = layout(tmp_path / "l", image, annotations)
    assert loaded(engine, str(path)) == [(image.id, ["quay.io/a/b:1", "docker.io/library/c:2"])]


def test_a_layout_in_an_archive(engine: StandIn, tmp_path: Path) -> None:
    image = MadeImage()
    path = layout(tmp_path / "l", image, [{}])
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(path, arcname=".")
    assert loaded(engine, str(tmp_path / "a.tar")) == [(image.id, [])]


def test_a_damaged_blob(engine: StandIn, tmp_path: Path) -> None:
    image = MadeImage()
    path = layout(tmp_path / "l", image, [{NAME: "x:1"}])
    for name in (digest(image.layers[0]), image.id, digest(image.manifest)):
        blob = path / "blobs" / "sha256" / name[7:]
        data = blob.read_bytes()
        blob.write_bytes(data[:-1] + b"\x07")
        with pytest.raises(SampanError, match="refused"):
            loaded(engine, str(path))
        blob.write_bytes(data)
    assert not engine.images.list() and not engine.leftovers()
    assert loaded(engine, str(path))


def test_which_check_of_which_format_failed(engine: StandIn, tmp_path: Path) -> None:
    tar = Tar()
    tar.file("hello", b"world")
    with pytest.raises(
        CorruptError, match=r"oci: it has no oci-layout, docker: it has no manifest\.json"
    ):
        loaded(engine, tar.write(tmp_path / "a.tar"))
    (tmp_path / "b").write_text("no archive at all")
    with pytest.raises(
        CorruptError, match="payload does not match any of the supported image formats"
    ):
        loaded(engine, str(tmp_path / "b"))
    (tmp_path / "c").write_bytes(b"")
    with pytest.raises(SampanError):
        loaded(engine, str(tmp_path / "c"))


MALFORMED: list[Any] = [
    {}, [], [1], [{}], [{"Config": 1}], [{"Config": "c", "Layers": "l"}], [{"Config": "c", "Layers": [1]}],
    [{"Config": "c", "RepoTags": {"a": 1}}], [{"Config": "none", "Layers": []}], None, "x",
]  # fmt: skip


@pytest.mark.parametrize("document", MALFORMED)
def test_a_malformed_manifest_json(tmp_path: Path, document: Any) -> None:
    tar = Tar()
    tar.file("c", MadeImage().blobs[MadeImage().id])
    tar.file("manifest.json", json.dumps(document).encode())
    path = tar.write(tmp_path / "a.tar")
    tree = Archive(os.open(path, os.O_RDONLY), path)
    with pytest.raises(SampanError):
        docker_archive.images(tree)
    tree.close()


def test_a_cut_archive(engine: StandIn, tmp_path: Path) -> None:
    image = MadeImage([layer_tar({"a": os.urandom(100_000)})])
    tar, entry = docker(image, ["x"])
    tar.file("manifest.json", json.dumps([entry]).encode())
    data = tar.data()
    for length in (100, 512, 5_000, 60_000, 100_600):
        (tmp_path / "a.tar").write_bytes(data[:length])
        with pytest.raises(SampanError):
            loaded(engine, str(tmp_path / "a.tar"))
    assert not engine.images.list() and not engine.leftovers()


def test_links_in_a_circle(tmp_path: Path) -> None:
    tar = Tar()
    tar.link("a", "b")
    tar.link("b", "a")
    path = tar.write(tmp_path / "a.tar")
    tree = Archive(os.open(path, os.O_RDONLY), path)
    with pytest.raises(CorruptError, match="circle"):
        tree.open("a")
    tree.close()
