"""Random layers against a model of plain dictionaries, against our own writer, and against umoci."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sampan import files
from sampan.linux import userns
from sampan.store.tarwriter import TarWriter
from store.conftest import Store, make_store, own_map, scan
from tarmaker import E, d, digest, f, gz, h, opq, s, tar, wh

Tree = dict[str, tuple[str, bytes]]  # path -> (kind, content)

NAMES = ["a", "b", "c"]
QUICK = (Phase.explicit, Phase.generate)  # shrinking would take minutes


@st.composite
def paths(draw: st.DrawFn) -> str:
    return "/".join(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3)))


entries = st.one_of(
    st.builds(lambda p, n: f(p, str(n)), paths(), st.integers(0, 99)),
    st.builds(d, paths()),
    st.builds(lambda p: s(p, "nowhere"), paths()),
    st.builds(lambda p: E(p.encode(), b"6"), paths()),
    st.builds(wh, paths()),
    st.builds(opq, paths()),
)


def plain(layer: Sequence[E]) -> list[E]:
    """Leaves out entries below a name that this layer makes a file or link: that is refused."""
    kept: list[E] = []
    for entry in layer:
        path = entry.name.decode().rstrip("/")
        above = [path[:index] for index, char in enumerate(path) if char == "/"]
        taken = {e.name.decode() for e in kept if e.kind != b"5" and b".wh." not in e.name}
        if not taken & set(above):
            kept.append(entry)
    return kept


def below(tree: Tree, path: str) -> list[str]:
    return [known for known in tree if known.startswith(f"{path}/")]


def apply(lower: Tree, layer: Sequence[E]) -> Tree:
    """A layer by the words of the specification: whiteouts hide what is below, then come the
    entries.
    """
    result = dict(lower)
    for entry in layer:
        head, _, base = entry.name.decode().rpartition("/")
        if base == ".wh..wh..opq":
            for path in below(lower, head):
                result.pop(path, None)
        elif base.startswith(".wh."):
            path = f"{head}/{base[4:]}" if head else base[4:]
            for gone in [path, *below(lower, path)]:
                result.pop(gone, None)
    for entry in layer:
        path = entry.name.decode().rstrip("/")
        head, _, base = path.rpartition("/")
        hidden = base.startswith(".wh.")
        parents = [path[:index] for index, char in enumerate(path) if char == "/"]
        for parent in parents:
            if result.get(parent, ("d", b""))[0] != "d":
                result.pop(parent)
            result.setdefault(parent, ("d", b""))
        if hidden:
            continue
        kind = {b"0": "f", b"5": "d", b"2": "l", b"6": "p"}[entry.kind]
        if kind != "d":
            for gone in below(result, path):
                result.pop(gone)
        result[path] = (kind, entry.link if kind == "l" else entry.data)
    return result


def seen(store: Store, keys: Sequence[str]) -> Tree:
    return {
        path.decode(): (node.kind, node.content if node.kind in "fl" else b"")
        for path, node in store.view(keys).items()
    }


@given(st.lists(st.lists(entries, max_size=6), min_size=1, max_size=4))
@pytest.mark.parametrize("driver", ["overlay", "vfs", "plain"])
@settings(max_examples=30, deadline=None, phases=QUICK, suppress_health_check=list(HealthCheck))
def test_model(driver: str, layers: list[list[E]]) -> None:
    chain = [plain(layer) for layer in layers]
    if driver == "plain":  # it cannot copy FIFOs
        chain = [[entry for entry in layer if entry.kind != b"6"] for layer in chain]
    wanted: Tree = {}
    for layer in chain:
        wanted = apply(wanted, layer)
    with tempfile.TemporaryDirectory() as place:
        store = make_store(Path(place) / "store", own_map(), driver)
        try:
            keys, _ = store.unpack(*chain)
            assert seen(store, keys) == wanted
        finally:
            store.destroy()
            shutil.rmtree(place, ignore_errors=True)


def rewritten(store: Store, key: str) -> bytes:
    """The layer's directory as our writer writes it down, inside the namespace."""

    def write() -> bytes:
        parts: list[bytes] = []
        writer = TarWriter(parts.append)
        top = files.open_directory(f"{store.name}/{key}", dir_fd=store.root_fd)
        writer.tree(top)
        writer.close()
        return b"".join(parts)

    data: bytes = store.inside(write)
    return data


def test_what_is_written_reads_back(store: Store) -> None:
    if store.name == "vfs":
        pytest.skip("a layer's directory has what is below the layer, too")
    ids = [] if store.idmap.single else [f("owned", "o", uid=7, gid=8, mode=0o4755)]
    layer = [
        d("d", 0o1777, mtime=99), f("d/" + "n" * 200, "long"), f(b"caf\xe9\n", "bytes"), *ids,
        s("l", "t" * 150), h("hard", b"caf\xe9\n"), E(b"p", b"6"), f("old", mtime=-5), f("empty"), f("gone"),
        f("new", mtime=1 << 34), f("x", "x", pax=[(b"SCHILY.xattr.user.x", b"\0\xff=\n")]), f("big", bytes(70_000)),
    ]  # fmt: skip
    keys, _ = store.unpack(layer, [wh("gone"), d("d"), opq("d"), f("d/y", "y")])
    below: list[bytes] = []
    for key in keys:
        data = rewritten(store, key)
        again, _ = store.unpack(*below, data)
        assert rewritten(store, again[-1]) == data
        below.append(data)
        if key == keys[0]:
            assert store.view(again) == store.view([key])
    listed = subprocess.run(["tar", "tf", "-"], input=data, capture_output=True, check=True).stdout
    assert listed.decode().splitlines() == ["d/", ".wh.gone", "d/.wh..wh..opq", "d/y"]


@given(st.lists(entries, max_size=8))
@settings(max_examples=12, deadline=None, phases=QUICK, suppress_health_check=list(HealthCheck))
def test_our_layers_name_nothing_twice(layer: list[E]) -> None:
    with tempfile.TemporaryDirectory() as place:
        store = make_store(Path(place) / "store", own_map())
        try:
            keys, _ = store.unpack(plain(layer))
            data = rewritten(store, keys[0])
            again, notices = store.unpack(data)
            assert notices == [] and rewritten(store, again[0]) == data
        finally:
            store.destroy()
            shutil.rmtree(place, ignore_errors=True)


def layout(path: Path, layers: Sequence[bytes]) -> None:
    """An OCI layout of one image, tagged "t"."""

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        (blobs / digest(data)[7:]).write_bytes(data)
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    blobs = path / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    oci = "application/vnd.oci.image."
    config = {
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2,
        "mediaType": oci + "manifest.v1+json",
        "config": put(json.dumps(config).encode(), oci + "config.v1+json"),
        "layers": [put(gz(layer), oci + "layer.v1.tar+gzip") for layer in layers],
    }
    entry = put(json.dumps(manifest).encode(), oci + "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "t"}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


@pytest.mark.skipif(not shutil.which("umoci"), reason="umoci is not installed")
def test_the_same_tree_as_umoci(store: Store, tmp_path: Path) -> None:
    layers = [
        tar(d("etc", 0o750), f("etc/a", "1", mode=0o600), f("t2", "123"), h("t1", "t2"), h("t3", "t1"),
            f("x/1", "1"), f("y", "f"), s("bin", "usr/bin"), f("usr/bin/tool", "t", mode=0o755),
            f("gone/deep/file", "g"), s("dangling", "/no/where"), d("o"), f("o/old", "o")),
        tar(f("t1", "456"), f("x", "file"), d("y"), f("y/2", "2"), f("usr/bin/tool", "new", mode=0o711),
            wh("gone"), s("dangling", "elsewhere"), d("o"), opq("o"), f("o/new", "n")),
        tar(f("gone/again", "a"), h("usr/bin/other", "usr/bin/tool"), f("x", "third"), wh("etc/a"), wh("y")),
    ]  # fmt: skip
    layout(tmp_path / "oci", layers)
    rootfs = tmp_path / "rootfs"
    subprocess.run(
        ["umoci", "raw", "unpack", "--rootless", "--image", f"{tmp_path / 'oci'}:t", str(rootfs)],
        check=True, capture_output=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    theirs = scan(files.open_directory(str(rootfs)))
    ours = store.view(store.unpack(*layers)[0])
    assert {p: (n.kind, n.content) for p, n in ours.items()} == {
        p: (n.kind, n.content) for p, n in theirs.items()
    }
    named = [b"etc", b"t1", b"t2", b"usr/bin/tool", b"y", b"x", b"o", b"o/new"]
    for path in set(named) & set(ours):
        assert (ours[path].mode, ours[path].mtime_ns) == (theirs[path].mode, theirs[path].mtime_ns)


def test_owners_are_those_of_the_map(tmp_path: Path) -> None:
    idmap = own_map()
    if idmap.single:
        pytest.skip("this user has no subordinate ids")
    store = make_store(tmp_path / "store", idmap)
    keys, _ = store.unpack(
        [d("h", uid=1000, gid=1000), f("h/x", uid=1000, gid=33), s("h/l", "x", uid=5, gid=6)]
    )
    view = store.view(keys)
    assert [view[p].owner for p in (b"h", b"h/x", b"h/l")] == [(1000, 1000), (1000, 33), (5, 6)]
    outside = os.lstat(store.path / store.name / keys[0] / "h" / "x")
    assert outside.st_uid == idmap.uids[1][1] + 999
    userns.run(idmap, lambda: store.driver.remove(keys[0]))
    store.destroy()
