"""The layers of a builder: what is written entry by entry, and what the store makes of it over its chain."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from copysteps import row, tree
from sampan import files
from sampan.errors import SampanError, UnsupportedError
from sampan.store.digests import FileDigests
from sampan.store.layertar import LayerTar
from sampan.store.sidecar import Extra
from sampan.store.truth import Truth
from sampan_build.dockerfile import ignore, transfer
from sampan_build.dockerfile.contexts import Context
from store.conftest import Store, mounted
from tarmaker import E, d, f, h, s, tar

NOW = 1_700_000_000 * 10**9


def written(produce: Callable[[LayerTar], object], **more: Any) -> bytes:
    data = io.BytesIO()
    layer = LayerTar(data.write, NOW, **more)
    produce(layer)
    layer.close()
    return data.getvalue()


def entries(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive.getmembers()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.chdir(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_entries(here: int) -> None:
    def produce(layer: LayerTar) -> None:
        layer.directory(b"d")
        layer.directory(b"e", owner=(1, 2), mode=0o700, mtime_ns=5 * 10**9)
        layer.file(b"d/f", b"text", owner=(3, 4), mode=0o4755)
        layer.link(b"d/l", b"f" * 200)
        layer.whiteout(b"d/gone")

    found = entries(written(produce))
    shown = [(m.name, m.mode, m.uid, m.gid, m.mtime, len(m.linkname)) for m in found.values()]
    now = NOW // 10**9
    assert shown == [
        ("d", 0o755, 0, 0, now, 0), ("e", 0o700, 1, 2, 5, 0), ("d/f", 0o4755, 3, 4, now, 0),
        ("d/l", 0o777, 0, 0, now, 200),
        ("d/.wh.gone", 0, 0, 0, 0, 0),
    ]  # fmt: skip
    assert written(produce) == written(produce)
    assert entries(written(produce, latest=7))["d"].mtime == 7


def test_what_is_copied(here: int) -> None:
    Path("f").write_text("text")
    os.link("f", "g")
    Path("l").symlink_to("f")
    os.mkdir("d", 0o711)
    os.mkfifo("p")
    os.setxattr("f", "user.x", b"y")

    def produce(layer: LayerTar) -> None:
        for name in (b"f", b"g", b"l", b"d", b"p"):
            layer.copy(b"new/" + name, here, name)
        layer.copy(b"other", here, b"f", owner=(5, 6), mode=0o400)

    found = entries(written(produce))
    assert [(m.name, m.type) for m in found.values()] == [
        ("new/f", b"0"), ("new/g", b"1"), ("new/l", b"2"), ("new/d", b"5"), ("new/p", b"6"), ("other", b"1"),
    ]  # fmt: skip
    assert found["new/g"].linkname == "new/f" and found["new/l"].mode == 0o777
    assert (found["new/d"].mode, found["new/f"].uid) == (0o711, os.getuid())
    assert found["new/f"].pax_headers["SCHILY.xattr.user.x"] == "y"


def test_names_that_no_layer_can_hold(here: int) -> None:
    Path(".wh.x").write_text("")
    refused: list[int] = []

    def produce(layer: LayerTar) -> None:
        layer.copy(b"d/.wh.x", here, b".wh.x")
        layer.file(b".wh..wh..opq", b"")
        layer.link(b".wh.l", b"x")
        layer.file(b".wh.d/fine", b"")
        refused.append(layer.refused)

    assert list(entries(written(produce))) == [".wh.d/fine"]
    assert refused == [3]


def test_what_the_disk_could_not_hold(here: int) -> None:
    Path("f").write_text("x")
    os.mkdir("d")
    source = Truth(
        {
            b"f": Extra("f", 7, 8, 0o755, 0, 0, {b"user.x": b"", b"security.y": b"z"}),
            b"null": Extra("c", 0, 1, 0o666, 1, 3, {}),
        },
        True,
    )  # fmt: skip
    notes = {b"d": Extra("d", 9, 10, 0o755, 0, 0, {}), b"new/f": Extra("f", 1, 1, 0o1, 0, 0, {})}
    below = Truth(notes, True)

    def produce(layer: LayerTar) -> None:
        layer.directory(b"d", os.open("d", os.O_RDONLY))
        layer.copy(b"new/f", here, b"f", origin=b"f")
        layer.copy(b"new/plain", here, b"f", owner=(1, 1), origin=b"f")
        for name in layer.absent(b""):
            layer.copy(b"new/" + name, here, name, origin=name, owner=(2, 2))

    found = entries(written(produce, below=below, source=source))
    assert {name: (m.uid, m.gid) for name, m in found.items()} == {
        "d": (9, 10), "new/f": (7, 8), "new/plain": (1, 1), "new/null": (2, 2),
    }  # fmt: skip
    assert found["new/f"].pax_headers["SCHILY.xattr.security.y"] == "z"
    assert (found["new/null"].devmajor, found["new/null"].devminor) == (1, 3)
    with pytest.raises(FileNotFoundError):
        written(lambda layer: layer.copy(b"x", here, b"null"))


def test_a_file_that_changed_or_went(here: int) -> None:
    Path("f").write_text("one")
    seen = os.stat("f")
    Path("f").write_text("other")
    with pytest.raises(SampanError, match="cannot copy a/f: it changed while the build read it"):
        written(lambda layer: layer.copy(b"a/f", here, b"f", status=seen))
    os.unlink("f")
    with pytest.raises(SampanError, match="it changed while"):
        written(lambda layer: layer.copy(b"a/f", here, b"f", status=seen))


def test_a_whiteout_of_an_overlay_is_no_device() -> None:
    status = os.stat_result((stat.S_IFCHR, *[0] * 9), {"st_rdev": 0})
    with pytest.raises(UnsupportedError, match="whiteout"):
        written(lambda layer: layer.copy(b"x", -1, b"x", status=status))


BASE = tar(
    d("etc"), f("etc/passwd", "user:x:5:6::/:/bin/sh\n"), d("usr", mode=0o750, uid=3, gid=4),
    d("usr/bin", mode=0o1777),
    s("bin", "usr/bin"), f("usr/bin/suid", "s", mode=0o4755, uid=7, gid=8),
    h("usr/bin/again", "usr/bin/suid", mode=0o4755, uid=7, gid=8),
    E(b"null", b"3", mode=0o666, major=1, minor=3), f("usr/bin/old", "old"),
)  # fmt: skip


def copied(store: Store, text: str, context: Path, *layers: bytes) -> bytes:
    """The layer of an instruction over the chain as it is mounted; --from is the chain itself."""
    keys, _ = store.unpack(*layers)
    fd = os.open(context, os.O_RDONLY)
    instruction = row(text)
    source = None if getattr(instruction, "origin", "") else Context(fd, ignore.Ignore(()), "")
    with FileDigests(store.root_fd) as digests:
        gathered = transfer.gather(instruction, source, fd, digests, lambda text: None)
    truth = Truth(store.layers.truth(keys), store.idmap.single)

    def produce() -> bytes:
        if store.name == "plain":
            root = files.open_directory(f"{store.name}/{keys[-1]}", dir_fd=store.root_fd)
        else:
            root = mounted(store.driver.prepare("c-copy", keys, readonly=True), store.path)
        return written(
            lambda layer: transfer.write(gathered, instruction, "/", [root, root], layer),
            below=truth,
            source=truth,
        )

    found: bytes = store.inside(produce)
    return found


def test_copy_over_a_chain(store: Store, tmp_path: Path) -> None:
    """What comes of a context is root's or the user's of --chown; what is on the way is as it was in every layer."""
    context = tmp_path / "context"
    tree(context, "tool=t", "d/sub/x=x")
    layers = [BASE, copied(store, "COPY --chown=user --chmod=4711 tool /bin/", context, BASE)]
    layers.append(copied(store, "COPY d /bin/", context, *layers))
    for layer in layers[1:]:
        way = entries(layer)
        assert (way["usr"].uid, way["usr"].gid, way["usr"].mode, way["usr"].mtime) == (
            3,
            4,
            0o750,
            10**9,
        )
        assert (way["usr/bin"].mode, "bin" in way) == (0o1777, False)
    tool = entries(layers[1])["usr/bin/tool"]
    assert (tool.uid, tool.gid, tool.mode) == (5, 6, 0o4711)
    seen = store.view(store.unpack(*layers)[0])
    assert seen[b"usr/bin/tool"].content == b"t" and seen[b"usr/bin/sub/x"].content == b"x"
    assert seen[b"bin"].content == b"usr/bin" and seen[b"usr/bin/old"].content == b"old"
    assert seen[b"usr/bin"].mode == 0o1777
    if not store.idmap.single:
        assert (seen[b"usr"].owner, seen[b"usr/bin/tool"].owner) == ((3, 4), (5, 6))
        assert seen[b"usr/bin/tool"].mode == 0o4711


def test_copy_from_another_stage_is_whole(store: Store, tmp_path: Path) -> None:
    """Owners, set-id bits, hard links and devices of an image, whatever the ids of the machine."""
    data = copied(store, "COPY --from=s / /all/", tmp_path, BASE)
    found = entries(data)
    shown = {m.name: (m.type, m.mode, m.uid, m.gid) for m in found.values() if m.name != "all"}
    with tarfile.open(fileobj=io.BytesIO(BASE)) as base:
        wanted = {f"all/{m.name}": (m.type, m.mode, m.uid, m.gid) for m in base.getmembers()}
    pair = {
        "all/usr/bin/suid",
        "all/usr/bin/again",
    }  # which of the two has the data is the order's affair
    assert {n: v[1:] for n, v in shown.items()} == {n: v[1:] for n, v in wanted.items()}
    assert {n: v[0] for n, v in shown.items() if n not in pair} == {
        n: v[0] for n, v in wanted.items() if n not in pair
    }
    assert sorted(shown[name][0] for name in pair) == [b"0", b"1"]
    again = copied(store, "COPY --from=s --chown=9:9 /usr/bin/suid /", tmp_path, BASE)
    suid = entries(again)["suid"]
    assert (suid.uid, suid.gid, suid.mode) == (9, 9, 0o4755)


def test_add_over_a_chain(store: Store, tmp_path: Path) -> None:
    """An archive over what is there: links of the image, and hard links into the layers below."""
    archive = tar(
        d("bin2"),
        f("bin/new", "n", uid=1, gid=1),
        h("bin/link", "usr/bin/old"),
        f("usr/bin/suid", "other"),
    )
    (tmp_path / "a.tar").write_bytes(archive)
    layer = copied(store, "ADD a.tar /", tmp_path, BASE)
    assert list(entries(layer)) == [
        "bin2",
        "usr",
        "usr/bin",
        "usr/bin/new",
        "usr/bin/link",
        "usr/bin/suid",
    ]
    seen = store.view(store.unpack(BASE, layer)[0])
    assert seen[b"usr/bin/link"].content == b"old" and seen[b"usr/bin/new"].content == b"n"
    assert (seen[b"usr/bin/suid"].content, seen[b"usr/bin/again"].content) == (b"other", b"s")
    assert seen[b"usr/bin"].mode == 0o1777
