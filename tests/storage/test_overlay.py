"""The overlay driver: snapshots as data, mounted for real; the probe; what it costs to load."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan import files
from sampan.drivers import DriverContext
from sampan.errors import NotFoundError
from sampan.linux import compare, mounts, overlay, userns
from sampan_storage.overlay import sampan_config, sampan_probe, sampan_storage_driver
from store.conftest import Store, make_store, own_map, scan
from tarmaker import d, f, opq, wh


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path / "store", own_map())
    yield made
    made.destroy()


def in_snapshot(store: Store, snapshot: Any, action: Any, extra: tuple[Any, ...] = ()) -> Any:
    """Mount the snapshot as the monitor does, and run `action` with a descriptor of its root."""

    def run() -> Any:
        operation = snapshot["mounts"][0]
        os.chdir(snapshot["directory"])
        os.umask(0o022)
        options = [*map(tuple, operation["options"]), *extra]
        fd = mounts.overlay(operation["lower"], operation["upper"], operation["work"], options)
        return action(os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd))

    return store.inside(run)


def put(top: int, name: str, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644, dir_fd=top)
    os.write(fd, data)
    os.close(fd)


def test_snapshot_is_plain_data(store: Store) -> None:
    keys, _ = store.unpack([f("a", "1")], [f("b", "2")])
    snapshot = store.driver.prepare("c-1", keys)
    import json

    assert json.loads(json.dumps(snapshot))["mounts"][0]["options"] == [["userxattr", None]]
    assert snapshot["mounts"][0]["lower"] == keys[::-1]
    assert snapshot["directory"] == str(store.path / "overlay")
    assert store.driver.prepare("c-1", keys) == snapshot


def test_changes_stay_in_the_snapshot(store: Store) -> None:
    keys, _ = store.unpack([d("etc"), f("etc/a", "1"), f("test"), f("root/test", "r"), d("srv")])
    keys, _ = store.unpack(
        [d("etc"), f("etc/a", "1"), f("test"), f("root/test", "r"), d("srv")], [wh("test")]
    )
    snapshot = store.driver.prepare("c-1", keys)

    def change(top: int) -> list[str]:
        put(top, "srv/test", b"s")
        put(top, "etc/a", b"2")
        os.unlink("root/test", dir_fd=top)
        return sorted(os.listdir(top))

    assert in_snapshot(store, snapshot, change) == ["etc", "root", "srv"]
    seen = in_snapshot(store, store.driver.prepare("c-1", keys), scan)
    assert seen[b"srv/test"].content == b"s" and seen[b"etc/a"].content == b"2"
    assert b"root/test" not in seen and b"test" not in seen
    assert store.view(keys)[b"etc/a"].content == b"1"
    changes = store.inside(lambda: [tuple(c) for c in store.driver.changes("c-1", keys)])
    assert changes == [
        ("C", b"etc/a"), ("C", b"root"), ("D", b"root/test"), ("C", b"srv"), ("A", b"srv/test"),
    ]  # fmt: skip
    userns.run(store.idmap, lambda: store.driver.remove("c-1"))
    userns.run(store.idmap, lambda: store.driver.remove("c-1"))
    assert not (store.path / "overlay" / "c-1").exists()
    assert "srv/test" not in map(os.fsdecode, store.view(keys))


def test_rename_of_a_directory_of_the_image(store: Store) -> None:
    """rename(2) says EXDEV, as the kernel does without redirect_dir, and mv copies."""
    keys, _ = store.unpack([d("home"), d("home/d"), f("home/d/x", "x")])

    def rename(top: int) -> tuple[str, int | None]:
        try:
            os.rename("home/d", "home/e", src_dir_fd=top, dst_dir_fd=top)
        except OSError as error:
            return "refused", error.errno
        return "renamed", 0

    assert in_snapshot(store, store.driver.prepare("c-1", keys), rename) == ("refused", 18)


def test_the_mode_of_the_root_comes_from_the_layers_that_tell_it(store: Store) -> None:
    def mode(top: int) -> int:
        return os.fstat(top).st_mode & 0o7777

    for number, (layers, expected) in enumerate(
        (
            ([[f("a", "1")], [f("b", "2")]], 0o555),
            ([[d(".", mode=0o711)], [f("b", "2")]], 0o711),
            ([[d(".", mode=0o711)], [d(".", mode=0o750)], [f("c", "2")]], 0o750),
            ([[f("a", "1")], [d(".", mode=0o755)]], 0o755),
            ([], 0o555),
        )
    ):
        keys = store.unpack(*layers)[0] if layers else []
        snapshot = store.driver.prepare(f"c-{number}", keys)
        assert in_snapshot(store, snapshot, mode) == expected, layers


def test_image_without_layers(store: Store) -> None:
    snapshot = store.driver.prepare("c-1", [])
    in_snapshot(store, snapshot, lambda top: put(top, "x", b"y"))
    assert in_snapshot(store, snapshot, os.listdir) == ["x"]
    read_only = store.driver.prepare("c-2", [], readonly=True)
    assert read_only["mounts"][0]["upper"] == "" and not (store.path / "overlay" / "c-2").exists()


def test_root_has_the_mode_of_the_image(store: Store) -> None:
    keys, _ = store.unpack([d(".", 0o1777), f("a")], [f("b")])
    mask = os.umask(0o077)
    try:
        snapshot = store.driver.prepare("c-1", keys)
    finally:
        os.umask(mask)
    assert in_snapshot(store, snapshot, lambda top: os.fstat(top).st_mode & 0o7777) == 0o1777


def test_once_volatile(store: Store) -> None:
    keys, _ = store.unpack([f("a", "1")])
    snapshot = store.driver.prepare("c-1", keys)
    in_snapshot(store, snapshot, lambda top: put(top, "b", b"2"), (("volatile", None),))
    again = store.driver.prepare("c-1", keys)
    assert in_snapshot(store, again, lambda top: sorted(os.listdir(top))) == ["a", "b"]


def test_lost_layer_is_named(store: Store) -> None:
    keys, _ = store.unpack([f("a")], [f("b")])
    userns.run(store.idmap, lambda: store.driver.remove(keys[0]))
    with pytest.raises(NotFoundError, match=keys[0]):
        store.driver.prepare("c-1", keys)
    with pytest.raises(NotFoundError, match=keys[0]):
        store.driver.lower(keys)
    assert not (store.path / "overlay" / "c-1").exists()


def test_lower_is_topmost_first(store: Store) -> None:
    keys, _ = store.unpack([f("a", "1"), f("b", "1")], [f("a", "2"), wh("b")], [d("o"), f("c")])
    fds = store.driver.lower(keys)

    def look() -> list[Any]:
        found = overlay.lookup(fds, b"a", os.O_RDONLY)
        assert found is not None
        return [os.read(found, 9), overlay.lookup(fds, b"b"), sorted(overlay.names(fds))]

    assert store.inside(look) == [b"2", None, [b"a", b"c", b"o"]]


def test_lookup_stops_where_the_overlay_does(store: Store) -> None:
    keys, _ = store.unpack(
        [f("d/below"), f("e/below"), f("f/x")],
        [d("d"), opq("d"), f("d/own"), f("e/own"), f("f", "file")],
    )
    fds = store.driver.lower(keys)
    paths = [b"d/below", b"d/own", b"e/below", b"e/own", b"f/x", b"f", b"d", b"none", b"d/own/x"]
    seen = store.inside(lambda: [overlay.lookup(fds, path) is not None for path in paths])
    assert seen == [False, True, True, True, False, True, True, False, False]
    assert store.inside(lambda: overlay.names(fds, b"d")) == {b"own"}
    assert store.inside(lambda: overlay.names(fds, b"e")) == {b"own", b"below"}


def test_usage_counts_hard_links_once(store: Store) -> None:
    keys, _ = store.unpack([f("a", bytes(1 << 16)), f("b", b"x")])
    before = store.inside(lambda: store.driver.usage(keys[0]))
    os.link(store.path / "overlay" / keys[0] / "a", store.path / "overlay" / keys[0] / "c")
    assert store.inside(lambda: store.driver.usage(keys[0])) == before >= 1 << 16


def test_what_a_dead_writer_left_is_removed(store: Store) -> None:
    dead = subprocess.Popen(["/bin/true"])
    dead.wait()
    name = f"{files.TEMPORARY}{dead.pid}-0-abcd"
    (store.path / "overlay" / name / "x").mkdir(parents=True)
    alive = f"{files.TEMPORARY}{os.getpid()}-0-abcd"
    (store.path / "overlay" / alive).mkdir()
    store.unpack([f("a")])
    assert store.leftovers() == [alive]


def context(path: Path) -> DriverContext:
    return DriverContext(files.open_directory(str(path)), str(path), own_map(), {}, print)


def test_probe(tmp_path: Path) -> None:
    probe = sampan_probe(context(tmp_path))
    assert probe.usable and probe.rank > 0, probe.why
    assert os.listdir(tmp_path) == []
    assert list(sampan_config()) == ["fuse_program"]
    assert sampan_storage_driver(context(tmp_path)).name == "overlay"


def test_probe_tells_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> int:
        raise PermissionError(1, "not today")

    monkeypatch.setattr(mounts, "overlay", refuse)
    probe = sampan_probe(context(tmp_path))
    assert not probe.usable and "mount an overlay" in probe.why and "not today" in probe.why
    assert "--storage-driver" in probe.fix and os.listdir(tmp_path) == []


def test_removal_goes_on_where_the_rename_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, _ = store.unpack([f("a"), d("d", 0), f("d/x")])

    def full(*words: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    def remove() -> None:
        monkeypatch.setattr(os, "rename", full)
        store.driver.remove(keys[0])

    userns.run(store.idmap, remove)
    assert keys[0] not in os.listdir(store.path / "overlay")


def test_what_run_loads_is_light() -> None:
    """The way to a container pays for every module."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "import sampan_storage.overlay, sampan.store.layers, sampan.model.layer\n"
        "sampan.model.layer.chain_ids(['sha256:' + 'a' * 64, 'sha256:' + 'b' * 64])\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    words = [sys.executable, "-S", "-c", code]
    loaded = set(subprocess.check_output(words, env=environment, text=True).split())
    heavy = {
        "typing",
        "dataclasses",
        "re",
        "enum",
        "pathlib",
        "hashlib",
        "contextlib",
        "tarfile",
        "json",
    }
    assert not loaded & heavy


def test_what_a_killed_remover_has_left_goes_with_the_next(store: Store) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    store.driver.prepare("c-1", [])
    left = f"{files.TEMPORARY}{child.pid}-0-00"
    (store.path / "overlay" / left / "diff").mkdir(parents=True)
    (store.path / "overlay" / files.temporary_name()).mkdir()
    store.inside(lambda: store.driver.remove("c-1"))
    names = os.listdir(store.path / "overlay")
    assert left not in names and len(names) == 2, "the one whose maker lives is left alone"


def changes_of(store: Store, keys: list[str], change: Any) -> list[tuple[str, bytes]]:
    in_snapshot(store, store.driver.prepare("c-1", keys), change)
    found: list[tuple[str, bytes]] = store.inside(
        lambda: [tuple(c) for c in store.driver.changes("c-1", keys)]
    )
    return found


def test_what_is_told_of_changes_is_what_differs(store: Store) -> None:
    base = [
        d("a"), f("a/same", "same"), f("a/mode", "x"), f("a/text", "one"), d("tree"), f("tree/x", "x"),
        d("tree/sub"), f("tree/sub/y", "y"), d("gone"), f("gone/z", "z"), d("wide"), f("wide/w", "w"),
    ]  # fmt: skip
    keys, _ = store.unpack(base)

    def change(top: int) -> None:
        os.fchdir(top)
        for name in ("a/same", "a/text"):  # opened for writing, so copied up
            with open(name, "r+b"):
                pass
        os.chmod("a/mode", 0o4755)
        times = os.stat("a/text")
        with open("a/text", "r+b") as file:
            file.write(b"two")
        os.utime("a/text", ns=(times.st_mtime_ns, times.st_mtime_ns))  # the content alone differs
        subprocess.run(["rm", "-r", "gone", "tree"], check=True)
        os.makedirs("tree/sub")
        put(top, "tree/sub/new", b"n")
        subprocess.run(["rm", "-r", "wide"], check=True)
        put(top, "wide", b"a file now")
        os.makedirs("more/below")
        os.setxattr("a", "user.mine", b"1")

    found = changes_of(store, keys, change)
    assert found == [
        ("C", b"a"), ("C", b"a/mode"), ("C", b"a/text"), ("D", b"gone"), ("A", b"more"), ("A", b"more/below"),
        ("C", b"tree"), ("C", b"tree/sub"), ("A", b"tree/sub/new"), ("D", b"tree/sub/y"), ("D", b"tree/x"),
        ("C", b"wide"),
    ]  # fmt: skip


def test_the_root_is_a_change_only_when_its_metadata_is(store: Store) -> None:
    keys, _ = store.unpack([f("a", "1")])
    assert changes_of(store, keys, lambda top: put(top, "b", b"")) == [("A", b"b")]
    found = changes_of(store, keys, lambda top: os.fchmod(top, 0o700))
    assert found == [("C", b""), ("A", b"b")]


def test_two_merged_trees_tell_the_same_as_the_driver(store: Store) -> None:
    keys, _ = store.unpack(
        [d("d"), f("d/x", "x"), f("gone", "g"), f("was", "file"), f("kept", "k")]
    )

    def change(top: int) -> None:
        os.fchdir(top)
        os.unlink("gone")
        os.unlink("was")
        os.makedirs("was/a")
        os.symlink("x", "d/link")
        with open("kept", "r+b"):
            pass

    found = changes_of(store, keys, change)
    snapshots = [store.driver.prepare(f"c-{n}", keys, readonly=n == 2) for n in (1, 2)]

    def both() -> list[tuple[str, bytes]]:
        tops: list[int] = []
        for snapshot in snapshots:
            operation = snapshot["mounts"][0]
            os.chdir(snapshot["directory"])
            upper, work = operation["upper"] or None, operation["work"] or None
            options = [*map(tuple, operation["options"])]
            tops.append(mounts.overlay(operation["lower"], upper, work, options))
        return sorted((c for c in compare.trees(tops[0], tops[1]) if c[1]), key=lambda one: one[1])

    assert store.inside(both) == found
    assert found == [
        ("C", b"d"), ("A", b"d/link"), ("D", b"gone"), ("C", b"was"), ("A", b"was/a"),
    ]  # fmt: skip
