"""Unpacking as a whole: chains, digests, budgets, races, kills, and what is left behind."""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan import files
from sampan.errors import CorruptError, LimitError, NotFoundError, SampanError
from sampan.linux import libc, mounts, userns
from sampan.linux.userns import IdMap
from sampan.model.capabilities import NUMBERS
from sampan.store import records, unsynced
from sampan.store.confine import CAPABILITIES
from sampan.store.layers import LayerSource
from store.conftest import Store, make_store, own_map
from store.malformed import MALFORMED
from tarmaker import E, d, digest, f, gz, h, header, s, tar, wh


def test_the_well_known_empty_layer(store: Store) -> None:
    empty = bytes(1024)
    keys, notices = store.unpack(empty, empty, empty, blobs=[gz(empty)] * 3)
    assert len(set(keys)) == 3 and notices == [] and store.view(keys) == {}
    for other in (b"", bytes(10 << 10)):
        assert store.view(store.unpack(other)[0]) == {}


def test_one_layer_twice_in_a_chain(store: Store) -> None:
    first, second = tar(f("a", "1")), tar(wh("a"))
    keys, _ = store.unpack(first, second, first, blobs=[first, gz(second), gz(first)])
    assert keys[0] != keys[2]
    assert store.view(keys)[b"a"].content == b"1"
    assert store.view(keys[:2]) == {}


def test_only_what_is_missing_is_unpacked(store: Store) -> None:
    one, two = tar(f("a", "1")), tar(f("b", "2"))
    keys, _ = store.unpack(one)
    inode = os.stat(store.path / store.name / keys[0]).st_ino
    assert store.layers.missing(store.sources([one, two])) == [1]
    keys, _ = store.unpack(one, two)
    assert os.stat(store.path / store.name / keys[0]).st_ino == inode
    assert store.layers.missing(store.sources([one, two])) == []
    record = store.layers.record(keys[1])
    assert (record["parent"], record["entries"], record["size"]) == (keys[0], 1, len(two))
    assert record["diff_id"] == digest(two)


def test_trailing_bytes_are_noticed(store: Store) -> None:
    plain = tar(f("a", "1"))
    keys, notices = store.unpack(plain, blobs=[gz(plain) + b"1234567"])
    assert store.view(keys)[b"a"].content == b"1" and len(notices) == 1


def test_wrong_diff_id(store: Store) -> None:
    plain = tar(f("a", "1"))
    chain = [LayerSource(digest(b"other"), digest(plain), "", len(plain))]
    with pytest.raises(CorruptError, match="its content is sha256"):
        _submit(store, chain, [plain])
    assert os.listdir(store.path / store.name) == [] and store.leftovers() == []


def _submit(store: Store, chain: list[LayerSource], blobs: list[bytes]) -> list[str]:
    with store.layers.unpacker(chain) as unpacker:
        for index, blob in enumerate(blobs):
            with tempfile.TemporaryFile() as file:
                file.write(blob)
                file.flush()
                unpacker.submit(index, file.fileno())
        return unpacker.finish()


def test_a_broken_layer_keeps_those_that_are_whole(store: Store) -> None:
    one, two = tar(f("a", "1")), tar(f("b", "2"))
    with pytest.raises(CorruptError):
        store.unpack(one, two, blobs=[one, gz(two)[:-9]])
    assert store.leftovers() == []
    assert set(store.layers.missing(store.sources([one, two]))) >= {1}
    assert store.view(store.unpack(one, two)[0])[b"b"].content == b"2"


def test_a_layer_below_that_never_comes(store: Store) -> None:
    one, two = tar(f("a", "1")), tar(h("b", "a"))
    chain = store.sources([one, two])
    with pytest.raises(SampanError, match="a layer below"):
        with store.layers.unpacker(chain) as unpacker, tempfile.TemporaryFile() as file:
            file.write(two)
            file.flush()
            unpacker.submit(1, file.fileno())
            unpacker.finish()


def test_layers_in_any_order_and_from_threads(store: Store) -> None:
    layers = [tar(f(f"f{n}", str(n)), f("top", str(n)), f("d/x", "1")) for n in range(12)]
    layers.append(tar(h("last", "f0"), h("first", "top")))
    chain, done = store.sources(layers), list[int]()
    blobs = [tempfile.TemporaryFile() for _ in layers]
    for blob, data in zip(blobs, layers, strict=True):
        blob.write(gz(data))
        blob.flush()
    with store.layers.unpacker(chain, done.append) as unpacker:
        threads = [
            threading.Thread(target=unpacker.submit, args=(index, blobs[index].fileno()))
            for index in reversed(range(len(layers)))
        ]
        for thread in threads:
            thread.start()
            thread.join()
        unpacker.finish()
    seen = store.view(store.layers.keys([source.diff_id for source in chain]))
    assert sorted(done) == list(range(13))
    assert seen[b"last"].content == b"0" and seen[b"first"].content == b"11"


def test_125_layers_below_a_long_path(tmp_path: Path) -> None:
    place = tmp_path / ("long" * 50)
    place.mkdir()
    store = make_store(place / "store", own_map())
    keys, _ = store.unpack(*([f(f"f{n:03}", str(n))] for n in range(125)))
    snapshot = store.driver.prepare("c-x", keys)
    assert len(",".join(["lowerdir=" + ":".join(snapshot["mounts"][0]["lower"])])) < 3800
    assert len(store.view(keys)) == 125
    store.destroy()


def test_given_up(store: Store) -> None:
    chain = store.sources([tar(f("a", "1"))])
    with pytest.raises(KeyboardInterrupt):
        with store.layers.unpacker(chain):
            raise KeyboardInterrupt
    with store.layers.unpacker(chain):
        pass
    assert store.layers.present() == [] and store.leftovers() == []


def big_layer(count: int = 3000) -> bytes:
    return tar(*(f(f"d{n % 50}/f{n}", b"x" * 3000) for n in range(count)))


CHILD = """
import os, sys
from pathlib import Path
from store.conftest import make_store, own_map
from store.malformed import MALFORMED
from tarmaker import digest
from sampan.store.confine import CAPABILITIES
from sampan.store.layers import LayerSource
path, blob = sys.argv[1:]
store = make_store(Path(path), own_map())
data = open(blob, "rb")
chain = [LayerSource(digest(data.read()), "sha256:0", "", os.fstat(data.fileno()).st_size)]
with store.layers.unpacker(chain) as unpacker:
    for index in store.layers.missing(chain):
        unpacker.submit(index, data.fileno())
    print("submitted", flush=True)
    unpacker.finish()
print("finished", flush=True)
"""


def start(store_path: Path, blob: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    words = [sys.executable, "-B", "-c", CHILD, str(store_path), str(blob)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE)


def tree_of(pid: int) -> list[int]:
    """The process and everything below it."""
    found = [pid]
    for parent in found:
        try:
            text = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except FileNotFoundError:
            continue
        found += [int(word) for word in text.split()]
    return found


def wait_gone(store: Store) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if all(files.is_abandoned(name) for name in store.leftovers()):
            return
        time.sleep(0.02)
    raise AssertionError("a worker outlives its caller")


@pytest.mark.parametrize("victim", ["all", "caller", "worker", "child"])
def test_kill_at_any_moment(tmp_path: Path, victim: str) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(big_layer())
    store = make_store(tmp_path / "store", own_map())
    for delay in (0.0, 0.01, 0.03, 0.08):
        process = start(store.path, blob)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        family = tree_of(process.pid)
        chosen = {"all": family, "caller": family[:1], "worker": family[1:2], "child": family[2:3]}
        for pid in chosen[victim]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.communicate(timeout=30)
        wait_gone(store)
    again = start(store.path, blob)
    assert again.communicate(timeout=60)[0].split() == [b"submitted", b"finished"]
    deadline = time.monotonic() + 10
    while store.leftovers():  # the worker of a killed caller may still be tidying up
        assert time.monotonic() < deadline
        time.sleep(0.02)
    [key] = store.layers.present()
    assert len(store.view([key])) == 3050
    store.destroy()


def test_two_processes_unpack_one_layer(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(big_layer())
    store = make_store(tmp_path / "store", own_map())
    for _ in range(2):
        processes = [start(store.path, blob) for _ in range(3)]
        for process in processes:
            assert process.communicate(timeout=60)[0].split() == [b"submitted", b"finished"]
        [key] = store.layers.present()
        assert len(store.view([key])) == 3050 and store.leftovers() == []
        store.layers.remove([key])
    store.destroy()


def test_lock_and_gc(store: Store) -> None:
    keys, _ = store.unpack([f("a")], [f("b", uid=3)], [f("c")])
    fd = records.open_lock(files.open_directory(f"layers/{store.name}", dir_fd=store.root_fd))
    assert not store.layers.in_use(keys[1])
    records.lock(fd, keys[1])
    assert store.layers.in_use(keys[1]) and not store.layers.in_use(keys[0])
    store.layers.remove(keys[1:2])
    assert keys[1] in store.layers.present()
    os.close(fd)
    assert set(store.layers.gc(keys[:1])) == set(keys[1:])
    assert store.layers.present() == keys[:1]
    assert [name for name in os.listdir(store.path / store.name) if name in keys] == keys[:1]
    with pytest.raises(NotFoundError):
        store.layers.record(keys[1])
    with pytest.raises(NotFoundError, match=keys[2]):
        store.driver.prepare("c-y", keys)


def test_a_lost_directory_is_unpacked_again(store: Store) -> None:
    layer = [f("a", "1")]
    keys, _ = store.unpack(layer)
    userns.run(store.idmap, lambda: store.driver.remove(keys[0]))
    assert store.layers.missing(store.sources([layer])) == [0]
    assert store.view(store.unpack(layer)[0])[b"a"].content == b"1"


def test_a_directory_without_a_record_is_replaced(store: Store) -> None:
    layer = [f("a", "1")]
    key = store.layers.keys([digest(tar(*layer))])[0]
    os.mkdir(store.path / store.name / key)
    (store.path / store.name / key / "half").write_bytes(b"")
    assert set(store.view(store.unpack(layer)[0])) == {b"a"}


def test_layers_of_a_boot_that_ended_too_soon_are_dropped(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", own_map())
    keys, _ = store.unpack([f("a", "1")], [f("b", "2")])
    place = store.path / "layers" / store.name / unsynced.PLACE
    deadline = time.monotonic() + 30
    assert not unsynced.any_lost(store.root_fd, store.name)
    while os.listdir(place):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (place / "1-x").write_text(json.dumps({"boot": "another", "keys": keys[1:]}))
    assert unsynced.any_lost(store.root_fd, store.name)
    again = make_store(tmp_path / "store", own_map())
    assert again.layers.missing(again.sources([[f("a", "1")], [f("b", "2")]])) == [1]
    assert os.listdir(place) == [] and keys[1] not in os.listdir(store.path / store.name)
    store.destroy()


def test_a_bomb_is_refused_in_time(store: Store) -> None:
    blob = gz(header(b"zeros", size=3 << 30) + bytes(1 << 28)) + gz(bytes(1 << 28)) * 6
    source = [LayerSource(digest(b""), digest(blob), "", len(blob))]

    def refuse() -> None:
        with pytest.raises(LimitError):
            _submit(store, source, [blob])

    before = time.monotonic()
    assert peak_growth(refuse) < 100 << 10
    assert time.monotonic() - before < 10
    assert store.leftovers() == []


def test_a_caller_with_much_address_space(store: Store) -> None:
    """Threads of the caller's cost it address space and nothing else; a reader has room of its own."""
    blob = gz(header(b"file", size=8 << 20) + os.urandom(8 << 20))
    source = [LayerSource(digest(b"other"), digest(blob), "", len(blob))]
    with mmap.mmap(-1, 3 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS):
        with pytest.raises(CorruptError, match="its content is"):  # it was read to its end
            _submit(store, source, [blob])
    assert store.leftovers() == []


def peak_growth(action: Callable[[], None]) -> int:
    """By how many KiB the largest process below `action` outgrew what it was forked from.

    In a child of its own, since what earlier tests' children needed counts for this process.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        with open("/proc/self/statm", "rb") as file:
            base = int(file.read().split()[1]) * resource.getpagesize() >> 10
        try:
            action()
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
            os.write(write_end, str(max(0, peak - base)).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    told = os.read(read_end, 32)
    os.close(read_end)
    os.waitpid(pid, 0)
    assert told, "the action failed"
    return int(told)


def test_deep_directories(store: Store) -> None:
    deep = "/".join(["d"] * 2000)
    keys, _ = store.unpack([f(deep + "/x", "1"), d(deep + "/y")])
    store.layers.remove(keys)
    with pytest.raises(CorruptError, match="too deep"):
        store.unpack([f(deep + "/x", "1"), s("s", deep), f("s/" + "e/" * 1900 + "y", "2")])
    assert os.listdir(store.path / store.name) == []


def test_a_path_at_the_limit_with_a_link_at_the_end(store: Store, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    step = "d" * 247
    entries: list[E | bytes] = []
    path = ""
    for letter in "abcdefghijklmnop":
        entries += [d(f"{path}{step}"), s(f"{path}{letter}", step)]
        path += f"{letter}/"
    entries += [s(f"{path}l", "../" * 20), f(f"{path}l{host}/pwn", "x")]
    store.unpack(entries)
    assert os.listdir(host) == []


def test_a_second_process_swaps_a_link(tmp_path: Path) -> None:
    """The directory that is written flips to a link to the host and back: nothing gets out."""
    store = make_store(tmp_path / "store", own_map())
    host = tmp_path / "canary"
    host.mkdir(mode=0o777)
    (host / "kept").write_bytes(b"kept")
    layer = tar(
        *(E for n in range(1500) for E in (d("s"), f(f"s/f{n}/x", b"x" * 100), f(f"s/g{n}")))
    )
    stop = False

    def swap() -> None:
        count = 0
        while not stop:
            for name in store.leftovers():
                top = store.path / store.name / name
                count += 1
                try:
                    os.rename(top / "s", top / f"aside{count}")
                    os.symlink(host, top / "s")
                    time.sleep(0.0005)
                    os.unlink(top / "s")
                except OSError:
                    pass

    thread = threading.Thread(target=swap)
    process = _forked(store, layer, thread)
    stop = True
    thread.join()
    assert process in (0, 1)
    assert os.listdir(host) == ["kept"] and (host / "kept").read_bytes() == b"kept"
    store.destroy()


def _forked(store: Store, layer: bytes, thread: threading.Thread) -> int:
    """Unpack in a child that has one thread, while a thread of ours interferes."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            store.unpack(layer)
            status = 0
        finally:
            os._exit(status)
    thread.start()
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def test_the_reader_sees_only_its_layer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hijacked reader could reach: looked at from inside the confined child."""
    from sampan.store import apply

    told = tempfile.TemporaryFile()
    where = told.fileno()
    original = apply.Applier.run

    def spy(self: apply.Applier, reader: object) -> None:
        found = {
            "root": sorted(os.listdir("/")),
            "links": sorted(os.listdir("/") + os.listdir("..")),
            "cwd": os.getcwd(),
            "limits": resource.getrlimit(resource.RLIMIT_CORE),
            "open": [fd for fd in range(200) if _open(fd)],
            "bounding": [name for name, n in NUMBERS.items() if _bounding(n)],
        }
        os.symlink(json.dumps(found), "told")
        original(self, reader)  # type: ignore[arg-type]

    def _bounding(number: int) -> bool:
        try:
            return bool(libc.prctl(23, number))  # PR_CAPBSET_READ
        except OSError:
            return False

    def _open(fd: int) -> bool:
        try:
            os.fstat(fd)
        except OSError:
            return False
        return True

    monkeypatch.setattr(apply.Applier, "run", spy)
    keys, _ = store.unpack([f("a", "1")])
    found = json.loads(os.readlink(store.path / store.name / keys[0] / "told"))
    assert found["root"] == [] and found["links"] == [] and found["cwd"] == "/"
    assert set(found["bounding"]) == set(CAPABILITIES)
    assert where not in found["open"] and len(found["open"]) <= 8


def test_changes_and_usage(store: Store) -> None:
    if store.name != "overlay":
        pytest.skip("written as the kernel's overlay writes it")
    keys, _ = store.unpack([d("etc"), f("etc/a", "1"), f("etc/b", "2"), d("o"), f("o/x"), f("o/y")])
    store.driver.prepare("c-1", keys)

    def write() -> None:
        top = files.open_directory("overlay/c-1/diff", dir_fd=store.root_fd)
        with store.driver.layer("unused", None) as writer:
            os.mkdir("etc", dir_fd=top)
            etc = files.open_directory("etc", dir_fd=top)
            os.close(os.open("a", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=etc))
            os.close(os.open("new", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=etc))
            writer.whiteout(etc, b"b")
            os.mkdir("o", dir_fd=top)
            opaque = files.open_directory("o", dir_fd=top)
            writer.opaque(opaque)
            os.close(os.open("y", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=opaque))

    userns.run(store.idmap, write)
    changes = store.inside(lambda: [tuple(c) for c in store.driver.changes("c-1", keys)])
    assert changes == [
        ("C", b"etc"), ("C", b"etc/a"), ("D", b"etc/b"), ("A", b"etc/new"), ("C", b"o"), ("D", b"o/x"),
        ("C", b"o/y"),
    ]  # fmt: skip
    assert store.inside(lambda: store.driver.usage(keys[0])) > 0


def test_malformed_layers_leave_nothing(store: Store) -> None:
    def refuse() -> None:
        for name, data in MALFORMED.items():
            before = time.monotonic()
            with pytest.raises(CorruptError):
                store.unpack(data, blobs=[gz(data)])
            assert time.monotonic() - before < 2, name
            assert os.listdir(store.path / store.name) == [] and store.leftovers() == [], name

    assert peak_growth(refuse) < 100 << 10


def test_a_full_disk_is_told_and_freed(tmp_path: Path) -> None:
    """On a file system of 2 MiB: by what is known before, and by what the kernel says at the end."""

    def inside() -> None:
        userns.enter(IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),)))
        libc.unshare(libc.CLONE_NEWNS)
        mounts.classic("tmpfs", "tmpfs", str(tmp_path), 0, "size=2m,mode=700")
        (tmp_path / "store").mkdir(mode=0o700)
        store = Store(tmp_path / "store", IdMap(((0, 0, 1),), ((0, 0, 1),)))
        small = [f("small", bytes(1 << 19))]
        keys, _ = store.unpack(small)
        for layer in ([f("big", bytes(4 << 20))], [f(f"n{n}", bytes(100)) for n in range(900)]):
            with pytest.raises(SampanError, match="no space left"):
                store.unpack(layer)
            assert store.leftovers() == [] and store.layers.present() == keys
        status = os.statvfs(tmp_path)
        filler = os.open(tmp_path / "filler", os.O_CREAT | os.O_WRONLY, 0o600)
        with pytest.raises(OSError, match="No space"):
            while True:
                os.write(filler, bytes(4096))
        store.layers.remove(keys)
        assert os.statvfs(tmp_path).f_bavail * status.f_frsize >= 1 << 19
        os.close(filler)
        os.unlink(tmp_path / "filler")
        store.unpack(small)

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            inside()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
