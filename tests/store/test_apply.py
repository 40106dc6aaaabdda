"""What layers become on disk, as a container sees them: cases from other engines' bug reports."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.errors import CorruptError, SampanError, UnsupportedError
from store.conftest import Layer, Store, make_store, own_map
from tarmaker import E, d, f, gnu_long, h, header, opq, pad, pax, s, tar, wh


def contents(store: Store, *layers: Layer) -> dict[str, Any]:
    """Path -> bytes of a file, "-> text" of a link, or the kind of anything else."""
    keys, _ = store.unpack(*layers)
    return {
        os.fsdecode(path): node.content
        if node.kind == "f"
        else f"-> {os.fsdecode(node.content)}"
        if node.kind == "l"
        else node.kind
        for path, node in store.view(keys).items()
    }


def test_partner_of_an_overwritten_hard_link(store: Store) -> None:
    seen = contents(store, [f("t2", "123"), h("t1", "t2"), h("t3", "t1")], [f("t1", "456")])
    assert seen == {"t1": b"456", "t2": b"123", "t3": b"123"}


def test_hard_link_target_deleted_later(store: Store) -> None:
    assert contents(store, [f("a", "x"), h("b", "a")], [wh("a")]) == {"b": b"x"}


@pytest.mark.parametrize("swapped", [False, True])
def test_one_name_of_a_pair_becomes_a_link_to_the_other(store: Store, swapped: bool) -> None:
    first, second = ("usr/bin/g", "usr/libexec/g")[:: -1 if not swapped else 1]
    seen = contents(store, [f(first, "ELF"), h(second, first)], [s("usr/bin/g", "/usr/libexec/g")])
    assert seen["usr/libexec/g"] == b"ELF"
    assert seen["usr/bin/g"] == "-> /usr/libexec/g"


def test_file_over_a_lower_link(store: Store) -> None:
    below = [f("bin/busybox", "BB"), s("bin/tar", "/bin/busybox")]
    wanted = {"bin": "d", "bin/busybox": b"BB", "bin/tar": b"GNU"}
    assert contents(store, below, [f("bin/tar", "GNU")]) == wanted
    assert contents(store, [*below, f("bin/tar", "GNU")]) == wanted


@pytest.mark.parametrize("named", [True, False])
def test_directory_over_a_lower_link(store: Store, named: bool) -> None:
    above = [d("lib"), f("lib/x", "2")] if named else [f("lib/x", "2")]
    seen = contents(store, [f("usr/lib/a", "1"), s("lib", "usr/lib")], above)
    assert seen == {"lib": "d", "lib/x": b"2", "usr": "d", "usr/lib": "d", "usr/lib/a": b"1"}


def test_opaque_directory_over_a_lower_link(store: Store) -> None:
    seen = contents(
        store,
        [f("target/keep", "k"), s("link", "/target")],
        [d("link"), opq("link"), f("link/new", "n")],
    )
    assert seen == {"target": "d", "target/keep": b"k", "link": "d", "link/new": b"n"}


def test_opaque_marker_is_not_a_plain_whiteout(store: Store) -> None:
    seen = contents(store, [f("d/a"), f("d/b")], [d("d"), opq("d"), f("d/c", "c")])
    assert seen == {"d": "d", "d/c": b"c"}


@pytest.mark.parametrize("last", [False, True], ids=["marker first", "marker last"])
def test_opaque_root(store: Store, last: bool) -> None:
    marker = f(".wh..wh..opq")
    new = [d("a"), f("a/n", "n"), f("c", "c")]
    above = [*new, marker] if last else [marker, *new]
    seen = contents(store, [f("a/1"), f("b/2"), f("c", "old"), f("e")], above)
    assert seen == {"a": "d", "a/n": b"n", "c": b"c"}


def test_type_changes(store: Store) -> None:
    one = [d("x"), f("x/1"), f("y", "f")]
    two = [f("x", "file"), d("y"), f("y/2", "2")]
    assert contents(store, one, two) == {"x": b"file", "y": "d", "y/2": b"2"}
    three = [wh("x"), d("x"), f("x/new", "n")]
    assert contents(store, one, two, three) == {"x": "d", "x/new": b"n", "y": "d", "y/2": b"2"}


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 2, 0], [1, 0, 2], [2, 0, 1], [0, 2, 1]])
def test_whiteout_hides_lower_layers_only_whatever_its_place(
    store: Store, order: list[int]
) -> None:
    entries = [wh("x"), d("x"), f("x/new", "n")]
    seen = contents(store, [d("x"), f("x/1")], [entries[index] for index in order])
    assert seen == {"x": "d", "x/new": b"n"}


def test_whiteout_at_the_root_stays_local(store: Store) -> None:
    seen = contents(store, [f("test"), f("root/test", "r")], [wh("test")])
    assert seen == {"root": "d", "root/test": b"r"}


def test_duplicates_last_wins_with_one_notice(store: Store) -> None:
    layer = [
        f("a", "1"),
        f("a", "2"),
        d("d", 0o755),
        d("d", 0o700),
        s("e", "x"),
        d("e"),
        f("e/f", "3"),
    ]
    keys, notices = store.unpack(layer)
    seen = store.view(keys)
    assert seen[b"a"].content == b"2"
    assert seen[b"d"].mode == 0o700
    assert (seen[b"e"].kind, seen[b"e/f"].content) == ("d", b"3")
    assert len(notices) == 1 and "3 entries" in notices[0]


def test_file_replaces_a_directory_of_its_layer(store: Store) -> None:
    seen = contents(store, [d("a"), f("a/b/c", "1"), f("a", "file"), f("b"), d("b"), f("b/x", "x")])
    assert seen == {"a": b"file", "b": "d", "b/x": b"x"}


@pytest.mark.parametrize(
    "layer",
    [
        [f("../../evil")],
        [f("a/../../evil2")],
        [f("..")],
        [d("a"), f("a/..")],
        [s("s", "/HOSTDIR"), h("loot2", "s/secret")],
        [h("loot", "../../../../etc/passwd")],
        [h("loot", "/etc/passwd")],
        [h("self", "self")],
        [d("dir"), h("link", "dir")],
        [s("empty", "")],
        [f("a"), f("a/b")],
        [f("d/.wh.")],
        [f("d/.wh...")],
        [f("d/.wh.x/y")],
        [E(b".", b"0", b"x")],
        [s("loop", "loop"), f("loop/x")],
    ],
    ids=lambda layer: layer[-1].name.decode(),
)
def test_refused_by_name(store: Store, layer: list[E]) -> None:
    with pytest.raises(CorruptError) as caught:
        store.unpack(layer)
    assert layer[-1].name.decode() in str(caught.value)
    assert store.layers.present() == [] and store.leftovers() == []
    assert os.listdir(store.path / store.name) == []


def test_names_stay_inside(store: Store, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "secret").write_bytes(b"secret")
    out = os.fsencode(host)
    seen = contents(
        store,
        [
            f("/abs/file", "a"),
            f("//deep//file", "b"),
            f("./dot/./file", "c"),
            f("dot/../dotdot", "d"),
        ],
        [s("s", out), f("s/pwn", "p")],
        [s("c1", ".."), s("c1/c2", ".."), f("c1/c2/pwn", "q")],
        [s("up", "../../../../../.." + os.fsdecode(out)), f("up/pwn2", "r")],
        [s("rel", "to/there"), f("rel/x", "x"), s("chain", "rel/../there2"), f("chain/y", "y")],
    )
    assert os.listdir(host) == ["secret"]
    assert seen["abs/file"] == b"a" and seen["deep/file"] == b"b" and seen["dot/file"] == b"c"
    assert seen["dotdot"] == b"d" and seen["pwn"] == b"q"
    inside = os.fsdecode(out).lstrip("/")
    assert seen[f"{inside}/pwn"] == b"p" and seen[f"{inside}/pwn2"] == b"r"
    assert f"{inside}/secret" not in seen
    assert seen["to/there/x"] == b"x" and seen["to/there2/y"] == b"y"


def test_links_are_kept_verbatim(store: Store) -> None:
    dots = "../" * 8 + "etc/pki/cacerts"
    seen = contents(store, [s("opt/jdk/cacerts", dots), s("abs", "/etc/x"), s("self", "self")])
    assert seen["opt/jdk/cacerts"] == f"-> {dots}"
    assert seen["abs"] == "-> /etc/x" and seen["self"] == "-> self"


def test_hard_links_into_a_layer_below_are_copies(store: Store) -> None:
    stamp = 1_234_567_890
    below = [f("lib/a", "A", mode=0o640, mtime=stamp), s("l", "lib/a")]
    keys, _ = store.unpack(below, [f("other", "o")], [h("lib/b", "lib/a"), h("lib/c", "lib/b")])
    seen = store.view(keys)
    for name in (b"lib/a", b"lib/b", b"lib/c"):
        assert seen[name].content == b"A" and seen[name].mode == 0o640
        assert seen[name].mtime_ns == stamp * 10**9
    with pytest.raises(CorruptError):  # deleted in between
        store.unpack(below, [wh("lib/a")], [h("lib/b", "lib/a")])


def test_directories_that_no_entry_names_are_as_below(store: Store) -> None:
    below = [d(".", 0o711, mtime=5), d("a", 0o1777, mtime=7), d("a/b", 0o2750, mtime=8), f("a/b/x")]
    keys, _ = store.unpack(below, [f("a/b/y", "y")], [f("a/new/z", "z"), f("a/b/z", "z")])
    seen = store.view(keys)
    assert (seen[b"a"].mode, seen[b"a"].mtime_ns) == (0o1777, 7 * 10**9)
    assert (seen[b"a/b"].mode, seen[b"a/b"].mtime_ns) == (0o2750, 8 * 10**9)
    assert seen[b"a/new"].mode == 0o755
    for key in keys:
        assert os.stat(store.path / store.name / key).st_mode & 0o7777 == 0o711


def test_times_to_the_nanosecond(store: Store) -> None:
    layer = [
        d("d", pax=[(b"mtime", b"1700000000.123456789")]),
        f("d/f", "x", pax=[(b"mtime", b"-1.5")]),
        s("d/l", "f", pax=[(b"mtime", b"1.000000001")]),
        f("future", mtime=5_000_000_000),
    ]
    seen = store.view(store.unpack(layer)[0])
    assert seen[b"d"].mtime_ns == 1_700_000_000_123_456_789
    assert seen[b"d/f"].mtime_ns == -1_500_000_000
    assert seen[b"d/l"].mtime_ns == 1_000_000_001
    assert seen[b"future"].mtime_ns == 5_000_000_000 * 10**9


def test_set_id_bits_survive_the_owner(store: Store) -> None:
    layer = [
        f("suid", "x", mode=0o4755),
        f("sgid", "x", mode=0o2755, uid=7, gid=8),
        d("g", 0o2775, gid=8),
        f("g/in", "x"),
    ]
    keys, notices = store.unpack(layer)
    seen = store.view(keys)
    assert seen[b"suid"].mode == 0o4755
    assert seen[b"g/in"].owner == (0, 0)
    if store.idmap.single:
        assert seen[b"sgid"].owner == (0, 0) and seen[b"sgid"].mode == 0o755
        extra = store.layers.extras(keys[0])[b"sgid"]
        assert (extra.uid, extra.gid, extra.mode) == (7, 8, 0o2755)
        assert len(notices) == 1 and notices[0].startswith("2 files of other owners")
    else:
        assert seen[b"sgid"].owner == (7, 8) and seen[b"sgid"].mode == 0o2755
        assert seen[b"g"].owner == (0, 8) and seen[b"g"].mode == 0o2775
        assert notices == []


# cap_net_bind_service+ep, v2
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def test_attributes(store: Store) -> None:
    layer = [
        f("b", "x", pax=[(b"SCHILY.xattr.security.capability", CAPABILITY)]),
        f("u", "x", pax=[(b"SCHILY.xattr.user.x", b"a\0\xff\n=1"), (b"SCHILY.xattr.user.e", b"")]),
        d("opaque", pax=[(b"SCHILY.xattr.user.overlay.opaque", b"y")]),
        f("t", "x", pax=[(b"SCHILY.xattr.trusted.t", b"1"), (b"SCHILY.xattr.user.ok", b"1")]),
        f("la", "x", pax=[(b"LIBARCHIVE.xattr.user.b%20c", b"eA")]),
    ]
    keys, notices = store.unpack([d("opaque"), f("opaque/below", "x")], layer)
    assert len(notices) == 1 and notices[0].startswith("2 files have attributes")
    where = str(store.path / store.name / keys[1])

    def read() -> list[Any]:
        return [
            os.getxattr(f"{where}/b", "security.capability"),
            os.getxattr(f"{where}/u", "user.x"),
            os.getxattr(f"{where}/u", "user.e"),
            os.listxattr(f"{where}/opaque"),
            os.listxattr(f"{where}/t"),
            os.getxattr(f"{where}/la", "user.b c"),
        ]

    assert store.inside(read) == [CAPABILITY, b"a\0\xff\n=1", b"", [], ["user.ok"], b"x"]
    assert b"opaque/below" in store.view(keys)
    extras = store.layers.extras(keys[1])
    assert extras[b"t"].xattrs == {b"trusted.t": b"1", b"user.ok": b"1"}
    assert extras[b"opaque"].xattrs == {b"user.overlay.opaque": b"y"}


def test_devices_and_fifos(store: Store) -> None:
    layer = [
        E(b"dev/agpgart", b"3", mode=0o660, major=10, minor=175),
        E(b"dev/sda", b"4", mode=0o660, major=8),
        E(b"run/p", b"6", mode=0o622),
        E(b"etc/hosts", b"3", major=0, minor=0),
    ]
    keys, notices = store.unpack([f("etc/hosts", "h"), d("dev")], layer)
    seen = store.view(keys)
    assert seen[b"etc/hosts"].content == b"h"
    assert (seen[b"run/p"].kind, seen[b"run/p"].mode) == ("p", 0o622)
    assert b"dev/sda" not in seen
    assert len(notices) == 1 and notices[0].startswith("3 device nodes")
    extra = store.layers.extras(keys[1])
    assert (extra[b"dev/sda"].type, extra[b"dev/sda"].major) == ("b", 8)
    assert (extra[b"dev/agpgart"].minor, extra[b"dev/agpgart"].mode) == (175, 0o660)
    assert extra[b"etc/hosts"].type == "c"


def test_owner_outside_the_map(store: Store) -> None:
    layer = [f("a", "1", uid=192, gid=192), f("b", "2", uid=1234567, gid=5)]
    if store.idmap.single:
        keys, notices = store.unpack(layer)
        extras = store.layers.extras(keys[0])
        assert (extras[b"b"].uid, extras[b"b"].gid) == (1234567, 5)
        assert len(notices) == 1
        return
    with pytest.raises(UnsupportedError) as caught:
        store.unpack(layer)
    text = str(caught.value)
    assert "b:" in text and "1234567:5" in text and str(store.idmap.count()) in text
    assert store.layers.present() == [] and os.listdir(store.path / store.name) == []


def sparse_old_gnu(name: bytes) -> bytes:
    """Data at 1 MiB and at the end of a file of 64 GiB: old GNU format with an extension block."""
    real = 64 << 30
    segments = [(1 << 20, 512), (2 << 20, 512), (3 << 20, 512), (4 << 20, 512), (real - 3, 3)]
    pairs = [b"%011o\0%011o\0" % pair for pair in segments[:4]]
    more = pad(b"%s%011o\0" % ((real - 3).to_bytes(12, "big").replace(b"\0", b"\x80", 1), 3))
    raw = {
        386: b"".join(pairs),
        482: b"\1",
        483: real.to_bytes(12, "big").replace(b"\0", b"\x80", 1),
    }
    data = b"".join(bytes([65 + index]) * 512 for index in range(4)) + b"end"
    return header(name, b"S", size=len(data), magic=b"ustar  \0", raw=raw) + more + pad(data)


def sparse_pax(name: bytes, version: str) -> bytes:
    real, segments, data = 64 << 30, [(1 << 20, 3), (64 << 30, 0)], b"abc"
    numbers = [number for pair in segments for number in pair]
    if version == "0.0":
        records = [(b"GNU.sparse.size", b"%d" % real), (b"GNU.sparse.numblocks", b"2")]
        for offset, size in segments:
            records += [
                (b"GNU.sparse.offset", b"%d" % offset),
                (b"GNU.sparse.numbytes", b"%d" % size),
            ]
        return _repeated(records) + header(name, size=3) + pad(data)
    if version == "0.1":
        text = b",".join(b"%d" % number for number in numbers)
        records = [(b"GNU.sparse.size", b"%d" % real), (b"GNU.sparse.map", text)]
        return (
            pax([*records, (b"GNU.sparse.name", name)])
            + header(b"GNUSparse.0/x", size=3)
            + pad(data)
        )
    records = [
        (b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"%d" % real),
    ]  # fmt: skip
    table = pad(b"2\n" + b"".join(b"%d\n" % number for number in numbers))
    return pax(records) + header(b"GNUSparse.0/x", size=len(table) + 3) + pad(table + data)


def _repeated(records: list[tuple[bytes, bytes]]) -> bytes:
    return pax(records)


def test_sparse_files_become_holes(store: Store) -> None:
    names = [b"old", b"v00", b"v01", b"v10"]
    blocks = [sparse_old_gnu(b"old")]
    blocks += [sparse_pax(b"v" + v.replace(".", "").encode(), v) for v in ("0.0", "0.1", "1.0")]
    keys, _ = store.unpack([*blocks, f("after", "x")])
    directory = store.path / store.name / keys[0]
    for name in names:
        path = directory / os.fsdecode(name)
        status = path.stat()
        assert status.st_size == 64 << 30
        assert status.st_blocks * 512 < 1 << 20
        with path.open("rb") as file:
            file.seek(1 << 20)
            assert file.read(3) == (b"AAA" if name == b"old" else b"abc")
            if name == b"old":
                file.seek(-3, os.SEEK_END)
                assert file.read() == b"end"
    assert (directory / "after").read_bytes() == b"x"


NAMES = [
    b"caf\xe9", "café-ü".encode(), b"new\nline\ttab", b"-dash", b"\xff\xfe", b" ", b"x" * 255,
    b"a" * 200 + b"/" + b"b" * 200, b"*?[x]", b"...", b"..x", b"x..", b".hidden", b"foo.wh.bar", b"\\",
]  # fmt: skip


@pytest.mark.parametrize("how", ["plain", "pax", "pax binary", "gnu"])
def test_names_are_bytes(store: Store, how: str) -> None:
    entries: list[E | bytes] = []
    for name in NAMES:
        if how == "gnu":
            entries.append(gnu_long(name) + header(b"short", size=1) + pad(b"x"))
        elif how == "plain":
            entries.append(f(name, "x"))
        else:
            charset = [(b"hdrcharset", b"BINARY")] if "binary" in how else []
            entries.append(f("short", "x", pax=[*charset, (b"path", name)]))
    seen = store.view(store.unpack(entries)[0])
    assert {path for path, node in seen.items() if node.kind == "f"} == set(NAMES)


def test_sidecar_keeps_any_name(store: Store) -> None:
    keys, _ = store.unpack([E(name, b"3", major=1, minor=3) for name in NAMES])
    assert set(store.layers.extras(keys[0])) == set(NAMES)


def test_ustar_prefix_and_global_pax(store: Store) -> None:
    layer = [
        header(b"leaf", prefix=b"pre/fix", size=1) + pad(b"1"),
        header(b"gnu", prefix=b"garbage", magic=b"ustar  \0", size=1) + pad(b"2"),
        pax([(b"comment", b"0123"), (b"mtime", b"77")], b"g"),
        header(b"old/", b"\0", magic=bytes(8)),
        header(b"globally", size=1) + pad(b"3"),
        pax([(b"mtime", b"78")]) + header(b"locally"),
    ]
    keys, _ = store.unpack(layer)
    seen = store.view(keys)
    assert seen[b"pre/fix/leaf"].content == b"1" and seen[b"gnu"].content == b"2"
    assert seen[b"old"].kind == "d"
    assert seen[b"globally"].mtime_ns == 77 * 10**9 and seen[b"locally"].mtime_ns == 78 * 10**9


def test_big_ids_and_sizes_in_base_256(store: Store) -> None:
    layer = [header(b"x", size=3, raw={124: b"\x80" + bytes(10) + b"\3"}) + pad(b"abc")]
    assert contents(store, layer) == {"x": b"abc"}


def test_aufs_records_are_skipped(store: Store) -> None:
    assert contents(store, [f(".wh..wh.plnk/1.2", "x"), d(".wh..wh.orph"), f("a", "a")]) == {
        "a": b"a"
    }


def test_full_disk_is_told(store: Store) -> None:
    layer = [f("big", bytes(1 << 16), pax=[(b"size", b"%d" % (1 << 16))])]
    assert contents(store, layer)["big"] == bytes(1 << 16)
    with pytest.raises(SampanError):
        store.unpack([tar(f("x", "y"), end=False)[:-1]])


def test_struct_of_the_capability_is_revision_2() -> None:
    assert struct.unpack("<I", CAPABILITY[:4])[0] & 0xFF000000 == 0x02000000


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Store]:
    made = make_store(tmp_path / "store", own_map(), "plain")
    yield made
    made.destroy()


@pytest.mark.parametrize(
    "case",
    [
        test_partner_of_an_overwritten_hard_link,
        test_hard_link_target_deleted_later,
        test_file_over_a_lower_link,
        test_opaque_directory_over_a_lower_link,
        test_opaque_marker_is_not_a_plain_whiteout,
        test_type_changes,
        test_whiteout_at_the_root_stays_local,
        test_duplicates_last_wins_with_one_notice,
        test_file_replaces_a_directory_of_its_layer,
    ],
)
def test_the_same_on_a_driver_of_whole_copies(whole: Store, case: Callable[[Store], None]) -> None:
    case(whole)


@pytest.mark.parametrize("named", [True, False])
def test_directory_over_a_lower_link_on_whole_copies(whole: Store, named: bool) -> None:
    test_directory_over_a_lower_link(whole, named)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 2, 0], [1, 0, 2], [2, 0, 1], [0, 2, 1]])
def test_whiteouts_on_whole_copies(whole: Store, order: list[int]) -> None:
    test_whiteout_hides_lower_layers_only_whatever_its_place(whole, order)


@pytest.mark.parametrize("last", [False, True])
def test_opaque_root_on_whole_copies(whole: Store, last: bool) -> None:
    test_opaque_root(whole, last)
