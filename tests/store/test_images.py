"""The image store: names, ids, and collections that run into other processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagemaker import MadeImage, digest
from sampan import files
from sampan.errors import CorruptError, InUseError, LimitError, NotFoundError, UsageError
from sampan.store import leases, locks
from sampan.store.blobs import path_of
from sampan.store.images import Image, ImageStore


@pytest.fixture
def images(tmp_path: Path) -> Iterator[ImageStore]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield ImageStore(fd)
    os.close(fd)


def add(images: ImageStore, *names: str, author: str = "") -> Image:
    made = MadeImage(config={"author": author})
    with images.lease() as lease:
        for data in made.blobs.values():
            images.blobs.put(data, lease)
        return images.add(images.blobs.put(made.manifest, lease), names)


X, Y = "docker.io/library/x:tag", "localhost/y:latest"


def test_resolve(images: ImageStore) -> None:
    image = add(images, X, Y)
    assert image.names == [X, Y]
    hexadecimal = image.id.removeprefix("sha256:")
    for name in (
        X, "x:tag", "docker.io/x:tag", "y", "localhost/y", image.id, hexadecimal, hexadecimal[:12],
        f"sha256:{hexadecimal[:12]}", f"x@{image.digest}", f"x:other@{image.digest}",
        f"localhost/y@{image.digest}",
    ):  # fmt: skip
        assert images.resolve(name).id == image.id, name
    for name in (
        "x", "other/x:tag", "quay.io/x:tag", "sha256:" + "0" * 64, f"z@{image.digest}",
        f"x@{digest(b'')}", hexadecimal[:2],
    ):  # fmt: skip
        with pytest.raises(NotFoundError):
            images.resolve(name)
    with pytest.raises(UsageError):
        images.resolve("X:tag")


def test_the_end_of_a_name(images: ImageStore) -> None:
    one = add(images, "quay.io/team/tool:1")
    assert images.resolve("tool:1").id == images.resolve("team/tool:1").id == one.id
    two = add(images, "ghcr.io/tool:1", author="b")
    with pytest.raises(UsageError, match=r"ghcr.io/tool:1, quay.io/team/tool:1"):
        images.resolve("tool:1")
    add(images, "docker.io/library/tool:1", author="c")
    assert images.resolve("tool:1").id not in (one.id, two.id)


def test_an_ambiguous_id(images: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sampan.store.lookup._PREFIX", 1)
    first: dict[str, Image] = {}
    for author in range(20):
        image = add(images, author=str(author))
        twin = first.setdefault(image.id[7], image)
        if twin is not image:
            with pytest.raises(UsageError, match="ambiguous"):
                images.resolve(image.id[7])
            return
    raise AssertionError("20 ids and 16 digits")


def test_names_move(images: ImageStore) -> None:
    old = add(images, X, author="old")
    new = add(images, X, author="new")
    assert images.resolve(X).id == new.id
    assert images.resolve(old.id).names == []
    images.tag(images.resolve(old.id), Y)
    assert images.resolve(Y).id == old.id
    assert images.resolve(Y).names_history == [Y, X]
    images.tag(images.resolve(new.id), Y)
    assert images.resolve(Y).names == [X, Y]
    images.untag(X)
    images.untag(Y)
    assert [image.names for image in images.list()] == [[], []]
    with pytest.raises(NotFoundError):
        images.untag(X)


def test_remove_keeps_what_is_shared(images: ImageStore) -> None:
    one, two = add(images, X, author="1"), add(images, Y, author="2")
    shared = one.layers[0].digest
    assert shared == two.layers[0].digest
    gone = images.remove(one)
    assert set(gone) == {one.id, one.digest}
    assert images.blobs.has(shared)
    images.remove(images.resolve(two.id))
    assert not list(images.blobs.digests()) and images.list() == []


def test_other_tools_read_and_write_it(images: ImageStore, tmp_path: Path) -> None:
    image = add(images, X)
    copy = tmp_path / "copy"
    subprocess.run(["skopeo", "copy", "-q", f"oci:{tmp_path}:{X}", f"oci:{copy}:z"], check=True)
    fd = os.open(copy, os.O_RDONLY)
    other = ImageStore(fd)
    assert other.list()[0].id == image.id
    found = other.resolve(image.id)
    assert (found.architecture, found.size) == ("amd64", image.size)
    assert other.resolve(found.id[7:19]).references == ["z"]
    other.remove(found)
    assert not other.list()
    os.close(fd)


def test_a_lost_blob_is_told(images: ImageStore) -> None:
    image = add(images, X)
    images.blobs.remove(image.id)
    with pytest.raises(CorruptError, match="pull it again"):
        _ = images.resolve(X).config
    (Path("/proc/self/fd") / str(images.root_fd) / "index.json").write_text("{")
    with pytest.raises(CorruptError, match="damaged"):
        images.list()


def test_paths_are_made_of_digests_only(images: ImageStore) -> None:
    for wrong in ("sha256:../../x", "sha256:" + "A" * 64, "md5:" + "a" * 32, ""):
        with pytest.raises(CorruptError):
            path_of(wrong)


def test_ingest(images: ImageStore, tmp_path: Path) -> None:
    data = b"x" * 1000
    with images.blobs.ingest(digest(data), 999) as ingest, pytest.raises(LimitError):
        ingest.write(data)
    with images.blobs.ingest(digest(data), 1000) as ingest, pytest.raises(CorruptError):
        ingest.write(b"y" * 1000)
        ingest.verify()
    assert not list((tmp_path / "ingest").iterdir())
    with images.blobs.ingest(digest(data), 1000) as ingest:
        ingest.write(data)
        fd = ingest.verify()
        ingest.commit()
        assert os.read(fd, 2000) == data
        os.close(fd)
    assert images.blobs.read(digest(data)) == data
    with images.blobs.ingest(digest(data), 1000) as ingest:
        assert ingest.complete
    with images.lease() as lease, images.blobs.writer(lease) as writer:
        writer.write(b"made here")
        assert writer.commit() == digest(b"made here")
        assert images.collect() == [digest(data)]
        assert images.blobs.has(digest(b"made here"))
    assert images.collect() == [digest(b"made here")]
    assert not list((tmp_path / "ingest").iterdir()) + list((tmp_path / "leases").iterdir())


def test_a_lease_dies_with_its_process(images: ImageStore) -> None:
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with images.lease() as lease:
                images.blobs.put(b"leased", lease)
                os.write(tell, b".")
                time.sleep(60)
        finally:
            os._exit(1)
    os.read(ready, 1)
    assert images.collect() == []
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert images.collect() == [digest(b"leased")]


def test_collections_against_pulls(images: ImageStore) -> None:
    """Processes add and remove while another collects: a listed image is always whole."""
    until = time.monotonic() + 1.5
    pids: list[int] = []
    for worker in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                turn = 0
                while time.monotonic() < until:
                    turn += 1
                    image = add(images, f"localhost/w{worker}:1", author=f"{worker}-{turn % 3}")
                    assert images.blobs.has(image.layers[0].digest)
                    assert image.config["author"]
                    if turn % 2:
                        images.remove(image)
                status = 0
            finally:
                os._exit(status)
        pids.append(pid)
    while time.monotonic() < until:
        images.collect()
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0, 0]
    for image in images.list():
        assert all(images.blobs.has(layer.digest) for layer in image.layers)


def test_collections_against_writers(images: ImageStore) -> None:
    """A collection that is on its way sees no file that its writer has not locked yet."""
    directory = Path(files.path_of(images.root_fd)) / "ingest"
    directory.mkdir(exist_ok=True)
    starts, start = os.pipe()
    ready, tell = os.pipe()
    with images.lease() as lease:
        pid = os.fork()
        if pid == 0:
            try:
                os.read(starts, 1)
                with images.blobs.writer(lease):
                    os.write(tell, b".")
                    time.sleep(60)
            finally:
                os._exit(1)
        try:
            with leases.store_lock(images.root_fd):
                os.write(start, b".")
                time.sleep(0.2)
                before = os.listdir(directory)
            os.read(ready, 1)
            images.collect()
            assert (len(before), len(os.listdir(directory))) == (0, 1)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    images.collect()
    assert not os.listdir(directory)


def test_a_lock_names_its_holder(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    notes: list[str] = []
    with locks.FileLock(fd, "lock", "the thing"):
        other = os.open(tmp_path / "lock", os.O_RDWR)
        assert locks.holder(other) == f"process {os.getpid()}"
        with pytest.raises(InUseError, match=f"process {os.getpid()} has held it"):
            locks.lock(other, "the thing", timeout=2.2, note=notes.append)
        os.close(other)
    assert notes == [f"waiting for the thing, which process {os.getpid()} holds"]
    os.close(fd)


def test_200_images_resolve_fast(images: ImageStore) -> None:
    for at in range(200):
        add(images, f"docker.io/library/i{at}:latest", author=str(at))
    begun = time.process_time()
    for _ in range(10):
        images.resolve("i77")
    assert (time.process_time() - begun) / 10 < 0.02
    document = json.loads((Path("/proc/self/fd") / str(images.root_fd) / "index.json").read_text())
    assert len(document["manifests"]) == 200
