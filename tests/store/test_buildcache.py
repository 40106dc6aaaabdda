"""Records of build steps: what they keep, what damages them, and who waits for whom."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagemaker import digest
from sampan.drivers import Layer
from sampan.errors import CorruptError
from sampan.model.image import OCI_LAYER_GZIP
from sampan.model.layer import chain_ids, layer_key
from sampan.store.buildcache import BuildCache
from sampan.store.cachemounts import open_mounts
from sampan.store.images import ImageStore

A, B = "a" * 64, "b" * 64
ABOUT = {"description": "RUN make", "kind": "regular", "outcomes": [["now", True]]}


@pytest.fixture
def images(tmp_path: Path) -> Iterator[ImageStore]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield ImageStore(fd)
    os.close(fd)


@pytest.fixture
def cache(images: ImageStore) -> BuildCache:
    return BuildCache(images.root_fd)


def layer(images: ImageStore, data: bytes) -> Layer:
    return Layer(digest(data + b"plain"), images.blobs.put(data), OCI_LAYER_GZIP, len(data))


def get(images: ImageStore, cache: BuildCache, key: str = A) -> tuple[Layer, ...] | None:
    with images.lease() as lease:
        found = cache.get(key, lease)
        return found.layers if found else None


def test_what_was_put_is_found(images: ImageStore, cache: BuildCache) -> None:
    assert get(images, cache) is None and cache.list() == [] and cache.kept() == set()
    below, top = layer(images, b"one"), layer(images, b"two")
    cache.put(A, (below, top), ABOUT)
    assert get(images, cache) == (below, top) and get(images, cache, B) is None
    (record,) = cache.list()
    assert (record.key, record.about, record.description) == (A, ABOUT, "RUN make")
    assert abs(record.created - time.time()) < 60
    assert cache.kept() == {below.digest, top.digest}
    keys = [layer_key(one) for one in chain_ids([below.diff_id, top.diff_id])]
    assert record.layer_keys == keys and cache.kept_layers() == set(keys)


def test_a_use_is_noted(images: ImageStore, cache: BuildCache, tmp_path: Path) -> None:
    cache.put(A, (), ABOUT)
    os.utime(tmp_path / f"build/{A}.json", (5, 5))
    assert cache.list()[0].used == 5
    assert get(images, cache) == ()
    assert time.time() - cache.list()[0].used < 60


def test_a_lost_blob_is_a_miss(images: ImageStore, cache: BuildCache) -> None:
    one = layer(images, b"one")
    cache.put(A, (one,), ABOUT)
    images.blobs.remove(one.digest)
    assert get(images, cache) is None


def test_a_collection_keeps_what_records_and_leases_name(
    images: ImageStore, cache: BuildCache
) -> None:
    kept, leased, gone = (layer(images, data) for data in (b"kept", b"leased", b"gone"))
    cache.put(A, (kept,), ABOUT)
    cache.put(B, (leased,), ABOUT)
    with images.lease() as lease:
        assert cache.get(B, lease) is not None
        cache.remove([B])
        assert images.collect() == [gone.digest]
        assert f"layer:{layer_key(chain_ids([leased.diff_id])[0])}" in images.leased()
    assert images.collect() == [leased.digest]
    assert images.blobs.has(kept.digest)
    cache.remove([A, B])
    assert images.collect() == [kept.digest]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 40, b"[]", b"null", b"{}", b"\xff", b'{"layers": 5}',
        b'{"about": [], "layers": [], "created": "x"}',
        b'{"about": {}, "created": 1, "layers": [["sha256:x", "sha256:y", "t", 1]]}',
        json.dumps({"about": {}, "created": 1, "layers": [[digest(b""), digest(b""), 7, 1]]}).encode(),
        json.dumps({"about": {}, "created": 1, "layers": [[digest(b""), "sha256:../../../x", "t", 1]]}).encode(),
    ],
)  # fmt: skip
def test_a_damaged_record_is_absent_and_swept(
    images: ImageStore, cache: BuildCache, tmp_path: Path, content: bytes
) -> None:
    cache.put(A, (), ABOUT)
    cache.put(B, (), ABOUT)
    (tmp_path / f"build/{A}.json").write_bytes(content)
    assert get(images, cache) is None and [one.key for one in cache.list()] == [B]
    assert cache.kept() == set()
    cache.sweep()
    assert os.listdir(tmp_path / "build") == [f"{B}.json"]


@pytest.mark.parametrize("kind", ["directory", "link", "fifo"])
def test_a_record_that_is_no_file_is_absent(
    images: ImageStore, cache: BuildCache, tmp_path: Path, kind: str
) -> None:
    cache.put(B, (), ABOUT)
    path = tmp_path / f"build/{A}.json"
    if kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(f"{B}.json")
    else:
        os.mkfifo(path)
    assert get(images, cache) is None and [one.key for one in cache.list()] == [B]


@pytest.mark.parametrize("key", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 65, "é" * 64])
def test_nothing_but_a_key_becomes_a_path(images: ImageStore, cache: BuildCache, key: str) -> None:
    with pytest.raises(CorruptError):
        cache.put(key, (), ABOUT)
    with pytest.raises(CorruptError), cache.flight(key, print):
        pass


def test_sweep_takes_what_killed_processes_left(cache: BuildCache, tmp_path: Path) -> None:
    cache.put(A, (), ABOUT)
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    (tmp_path / f"build/.tmp-{int(done.stdout)}-0-ab").write_text("half")
    (tmp_path / "build/locks").mkdir()
    (tmp_path / f"build/locks/{B}").write_text("")
    with cache.flight(A, print):
        cache.sweep()
        assert os.listdir(tmp_path / "build/locks") == [A], "one that is held stays"
    assert os.listdir(tmp_path / "build/locks") == []
    assert sorted(os.listdir(tmp_path / "build")) == [f"{A}.json", "locks"]


FLIGHT = """
import os, sys, time
from sampan.store.buildcache import BuildCache
fd = os.open(sys.argv[1], os.O_RDONLY)
with BuildCache(fd).flight(sys.argv[2], lambda text: print(text, flush=True)):
    print("mine", flush=True)
    sys.stdin.read()
    print("done", time.monotonic(), flush=True)
"""


def maker(root: Path, key: str = A) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", FLIGHT, str(root), key], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_makes_a_key_and_others_are_told_who(tmp_path: Path) -> None:
    first = maker(tmp_path)
    assert line(first) == "mine"
    second, other = maker(tmp_path), maker(tmp_path, B)
    assert line(other) == "mine", "another key is nobody's business"
    told = line(second)
    assert told == f"waiting for build step {A[:12]}, which process {first.pid} holds"
    out, _ = first.communicate()
    assert line(second) == "mine"
    ended = float(out.split()[1])
    assert ended < time.monotonic()
    for process in (second, other):
        process.communicate()
        assert process.returncode == 0
    assert os.listdir(tmp_path / "build/locks") == []


def test_a_killed_maker_frees_its_key(tmp_path: Path) -> None:
    first, other = maker(tmp_path), maker(tmp_path, B)
    assert line(first) == line(other) == "mine"
    second = maker(tmp_path)
    for process in (first, other):
        process.kill()
        process.wait()
    assert line(second) == "mine"
    second.communicate()
    assert os.listdir(tmp_path / "build/locks") == []


def test_many_makers_of_a_key_are_never_two_at_once(tmp_path: Path) -> None:
    code = """
import os, sys
from sampan.store.buildcache import BuildCache
fd = os.open(sys.argv[1], os.O_RDONLY)
for _ in range(40):
    with BuildCache(fd).flight("a" * 64, print):
        os.mkdir("alone", dir_fd=fd)
        os.rmdir("alone", dir_fd=fd)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    makers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment)
        for _ in range(6)
    ]
    assert [process.wait(60) for process in makers] == [0] * 6


def test_cache_mounts(images: ImageStore, tmp_path: Path) -> None:
    assert open_mounts(images.root_fd) is None
    place = tmp_path / "build/mounts"
    for key in (A, B):
        (place / key).mkdir(parents=True)
    about = {"description": "cache mount /var/cache", "created": "2026-01-01T00:00:00Z"}
    (place / f"{A}.json").write_text(json.dumps(about))
    os.utime(place / f"{A}.json", (9, 9))
    (place / f"{B}.json").write_text("[")
    mounts = open_mounts(images.root_fd)
    assert mounts is not None
    first, second = mounts.list()
    assert (first.key, first.description, first.created, first.used) == (
        A, about["description"], 1767225600, 9,
    )  # fmt: skip
    assert (second.key, second.description) == (B, "") and time.time() - second.created < 60
    lock = os.open(place / f"{A}.lock", os.O_RDWR | os.O_CREAT)
    import fcntl

    fcntl.flock(lock, fcntl.LOCK_SH)
    assert mounts.in_use(A) and not mounts.in_use(B)
    assert mounts.put_aside(A) == "" and (place / A).exists()
    os.close(lock)
    aside = mounts.put_aside(A)
    assert aside and (place / aside).is_dir() and not (place / f"{A}.json").exists()
    assert [one.key for one in mounts.list()] == [B]
    assert mounts.abandoned() == [], "who puts one aside removes it"
    mounts.close()
