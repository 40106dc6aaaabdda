"""One contract, every driver, both id modes: the same snapshot, the same changes told."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from sampan import files
from sampan.errors import NotFoundError
from sampan.linux.userns import IdMap
from sampan.model.contract import DriverContext
from store.conftest import DRIVERS, Store, mounted, scan
from store.conftest import store as store
from tarmaker import E, d, f, h, s, wh


def run(store: Store, key: str, keys: list[str], action: Any, owners: IdMap | None = None) -> Any:
    """The value of `action` with the mounted snapshot's root, as root of the store's map."""
    snapshot = store.driver.prepare(key, keys, owners=owners)

    def inside() -> Any:
        top = mounted(snapshot, store.path)
        os.fchdir(top)
        return action(top)

    return store.inside(inside)


def put(name: str, data: str = "", mode: int = 0o644) -> None:
    with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(data)


def changes(store: Store, key: str, keys: list[str]) -> list[tuple[str, str]]:
    return store.inside(  # type: ignore[no-any-return]
        lambda: [(kind, os.fsdecode(path)) for kind, path in store.driver.changes(key, keys)]
    )


BASE = [
    d("d", mtime=9), f("d/a", "1"), f("d/b", "2"), d("d/sub", mtime=9), f("d/sub/x", "x"), d("e", mtime=9),
    f("e/1"), f("e/2"), f("gone"), s("link", "d"), f("hard", "h"), h("hard2", "hard"), E(b"p", b"6"),
    d("kept", mtime=9), f("kept/k", "k"), d("deep/er", mtime=9), f("deep/er/f", "f"), f("file", "f"), d("dir", mtime=9),
    f("dir/in"), f("suid", "s", mode=0o4755), d("mv", mtime=9), f("mv/m"), f("empty"), d("rw", mtime=9), f("rw/r", "r"),
]  # fmt: skip


def test_nothing_changed(store: Store) -> None:
    keys, _ = store.unpack(BASE)

    def look(top: int) -> None:
        scan(top)
        os.close(os.open("d/a", os.O_RDWR))  # overlay copies it up
        os.close(os.open("deep/er/f", os.O_WRONLY | os.O_APPEND))

    run(store, "c-1", keys, look)
    assert changes(store, "c-1", keys) == []
    assert store.inside(lambda: list(store.driver.changes("c-never", keys))) == []


def every_kind(top: int) -> None:
    put("d/a", "changed")
    os.unlink("d/b")
    put("d/new", "n")
    os.unlink("e/1")
    os.unlink("e/2")
    os.rmdir("e")
    os.mkdir("e")
    put("e/2", "again")
    os.unlink("gone")
    os.unlink("link")
    os.symlink("e", "link")
    os.chmod("kept/k", 0o600)
    os.setxattr("deep/er/f", "user.x", b"y")
    os.unlink("file")
    os.mkdir("file")
    put("file/now", "a directory")
    os.unlink("dir/in")
    os.rmdir("dir")
    put("dir", "now a file")
    os.mkfifo("fifo")
    put("made", "m", 0o755)
    os.link("made", "made2")
    os.mkdir("all")
    os.mkdir("all/new")
    put("all/new/x")
    put("rw/r2", "r")
    os.rename("rw/r2", "rw/r")  # as sed -i does
    put("temporary")
    os.unlink("temporary")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("sock")


EVERY_KIND = [
    ("A", "all"), ("A", "all/new"), ("A", "all/new/x"), ("C", "d"), ("C", "d/a"), ("D", "d/b"), ("A", "d/new"),
    ("C", "deep/er/f"), ("C", "dir"), ("C", "e"), ("D", "e/1"), ("C", "e/2"), ("A", "fifo"), ("C", "file"),
    ("A", "file/now"), ("D", "gone"), ("C", "kept/k"), ("C", "link"), ("A", "made"), ("A", "made2"),
    ("C", "rw"), ("C", "rw/r"), ("A", "sock"),
]  # fmt: skip


def test_every_kind_of_change(store: Store) -> None:
    """The parents of what only changed inside have their times; nothing is told but what differs."""
    keys, _ = store.unpack(BASE[:5], BASE)
    run(store, "c-1", keys, every_kind)
    assert changes(store, "c-1", keys) == EVERY_KIND


def test_a_snapshot_is_its_own(store: Store) -> None:
    """Neither the layers nor another snapshot hear of it; it is there again, and gone when removed."""
    keys, _ = store.unpack(BASE)
    before = store.view(keys)
    run(store, "c-1", keys, every_kind)
    assert store.view(keys) == before
    assert run(store, "c-2", keys, scan) == before
    assert run(store, "c-1", keys, scan)[b"made2"].content == b"m"
    assert store.inside(lambda: store.driver.usage("c-1")) > 0
    store.inside(lambda: store.driver.remove("c-1"))
    store.inside(lambda: store.driver.remove("c-1"))
    assert changes(store, "c-1", keys) == []
    assert run(store, "c-1", keys, scan) == before


def test_renames(store: Store) -> None:
    """mv works everywhere; rename(2) of a directory of a layer is EXDEV on a union, as the kernel documents."""
    keys, _ = store.unpack(BASE)

    def rename(top: int) -> tuple[int | None, str]:
        try:
            os.rename("mv", "moved")
            outcome: int | None = 0
        except OSError as error:
            outcome = error.errno
            os.mkdir("moved")
            os.rename("mv/m", "moved/m")
            os.rmdir("mv")
        put("x", "1")
        put("y", "2")
        os.rename("x", "y")
        with open("y") as file:
            return outcome, file.read()

    outcome, content = run(store, "c-1", keys, rename)
    assert outcome == (0 if store.name == "vfs" else 18) and content == "1"
    assert ("D", "mv") in changes(store, "c-1", keys)
    assert ("A", "moved/m") in changes(store, "c-1", keys)


def test_other_owners(store: Store) -> None:
    """Ids of the image shown as other ids of the user namespace, and written back as the image's."""
    if store.idmap.single:
        pytest.skip("there is one id only")
    if "mapped-owners" not in store.driver.features:
        pytest.skip("this driver needs a program for it")
    keys, _ = store.unpack([f("root", "r"), f("five", uid=5, gid=7), f("own", uid=1000, gid=1000)])
    extents = ((0, 1, 1000), (1000, 0, 1), (1001, 1001, 64000))
    owners = IdMap(extents, extents)

    def write(top: int) -> dict[str, tuple[int, int]]:
        os.chmod(".", 0o755)
        os.setegid(1)
        os.seteuid(1)  # the container's root
        put("new")
        os.seteuid(0)
        os.setegid(0)
        os.chown("root", 8, 9)
        return {
            name: (os.stat(name).st_uid, os.stat(name).st_gid) for name in sorted(os.listdir("."))
        }

    seen = run(store, "c-1", keys, write, owners)
    assert (seen["five"], seen["own"], seen["root"]) == ((6, 8), (0, 0), (8, 9))
    assert seen["new"] == (1, 1)
    told = changes(store, "c-1", keys)
    assert ("C", "root") in told and ("C", "five") not in told and ("C", "own") not in told


def test_a_lost_layer_is_named(store: Store) -> None:
    with pytest.raises(NotFoundError, match="abc"):
        store.driver.prepare("c-1", ["abc"])
    assert store.leftovers() == []


def test_an_image_without_layers(store: Store) -> None:
    assert run(store, "c-1", [], scan) == {}
    run(store, "c-1", [], lambda top: put("a", "1"))
    assert changes(store, "c-1", []) == [("A", "a")]


def test_a_chain_costs_what_it_adds(store: Store) -> None:
    """Ten one-line layers on 8 MiB: nothing is copied, whatever the driver."""
    base = [f(f"big{number}", os.urandom(1 << 20)) for number in range(8)]
    keys, _ = store.unpack(base, *[[f(f"line{number}", "x")] for number in range(10)])
    sizes = store.inside(lambda: [store.driver.usage(key) for key in keys])
    assert 8 << 20 <= sum(sizes) < 9 << 20


def test_a_half_made_snapshot_is_swept(store: Store) -> None:
    keys, _ = store.unpack([f("a", "1")])
    name = f"{files.TEMPORARY}{(1 << 22) + 1}-x"  # no process has this number
    os.mkdir(store.path / store.name / name)
    run(store, "c-1", keys, scan)
    store.inside(lambda: store.driver.remove("c-1"))
    assert store.leftovers() == []


def test_whiteouts_and_links_across_layers(store: Store) -> None:
    keys, _ = store.unpack(
        [f("t2", "123"), h("t1", "t2"), h("t3", "t1"), f("x")],
        [f("t1", "456"), wh("x"), h("n", "t2")],
    )
    seen = store.view(keys)
    assert [seen[name].content for name in (b"t1", b"t2", b"t3", b"n")] == [
        b"456",
        b"123",
        b"123",
        b"123",
    ]
    assert seen[b"t2"].first == seen[b"t3"].first != seen[b"n"].first and b"x" not in seen


def test_what_is_all_the_users_goes_without_a_user_namespace(store: Store) -> None:
    """The map is one that nobody may have: a namespace with it cannot be made."""
    keys, _ = store.unpack(BASE)

    def fill(top: int) -> None:
        every_kind(top)
        os.mkdir("shut")
        put("shut/f", "f", 0)
        os.chmod("shut", 0)

    run(store, "c-1", keys, fill)
    context = DriverContext(
        store.driver_fd, str(store.path), IdMap(((0, 0, 2),), ((0, 0, 2),)), {}, lambda text: None
    )
    driver = DRIVERS[store.name]()[0](context)
    assert "removes-as-user" in driver.features
    driver.remove("c-1")
    assert "c-1" not in os.listdir(store.path / store.name) and store.leftovers() == []


def test_what_is_of_other_ids_goes_too(store: Store) -> None:
    """Files of a subordinate id in its own directories, also in one with a sticky bit, and under modes 000."""
    if store.idmap.single:
        pytest.skip("there is one id only")
    keys, _ = store.unpack(BASE)

    def fill(_: int) -> None:
        for name, mode in (("theirs", 0o700), ("sticky", 0o1777), ("closed", 0)):
            os.mkdir(name)
            put(f"{name}/f", "f")
            os.mkdir(f"{name}/d")
            put(f"{name}/d/g", "g", 0)
            for path in (f"{name}/d/g", f"{name}/d", f"{name}/f", name):
                os.chown(path, 7, 7)
            os.chmod(name, mode)
        put("sticky/roots", "r")

    run(store, "c-1", keys, fill)
    store.driver.remove("c-1")
    assert "c-1" not in os.listdir(store.path / store.name) and store.leftovers() == []
