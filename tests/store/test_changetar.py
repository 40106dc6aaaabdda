"""Changes written as a layer: by entries, against the tree that they come from."""

from __future__ import annotations

import io
import os
import socket
import stat
import struct
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.drivers import Change
from sampan.errors import LimitError
from sampan.store import changetar, tarwriter
from sampan.store.sidecar import Extra
from sampan.store.tarwriter import TarWriter
from sampan.store.truth import Truth, inside_owners


def written(
    root: Path, changes: Sequence[tuple[str, bytes]] | None, writer: TarWriter | None = None
) -> tuple[list[tarfile.TarInfo], bytes, TarWriter]:
    """The entries of the layer of these changes; None: of the whole tree."""
    buffer = io.BytesIO()
    writer = writer or TarWriter(buffer.write)
    writer._write = buffer.write  # pyright: ignore[reportPrivateUsage]
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if changes is None:
            writer.tree(fd)
        else:
            changetar.write(writer, fd, [Change(*change) for change in changes])
    finally:
        os.close(fd)
    writer.close()
    data = buffer.getvalue()
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        return archive.getmembers(), data, writer


names = st.sampled_from([b"a", b"b", b"a.b", b"\xff", b"n\nl", b"x" * 120])
trees = st.lists(
    st.tuples(st.lists(names, min_size=1, max_size=3), st.sampled_from("fdlh"), st.sampled_from("ACD-")), max_size=12
)  # fmt: skip


@given(trees)
@settings(max_examples=150, deadline=None)
def test_no_path_has_two_entries_and_parents_come_first(
    tree: list[tuple[list[bytes], str, str]],
) -> None:
    with tempfile.TemporaryDirectory() as place:
        top = os.fsencode(place)
        changes: dict[bytes, str] = {}
        first = b""
        for parts, kind, told in tree:
            path = b"/".join(parts)
            full = top + b"/" + path
            try:
                os.makedirs(os.path.dirname(full), exist_ok=True)
                if told == "D":
                    if not os.path.lexists(full):
                        changes[path] = "D"
                    continue
                if kind == "d":
                    os.mkdir(full)
                elif kind == "l":
                    os.symlink(b"to", full)
                elif kind == "h" and first:
                    os.link(first, full)
                else:
                    Path(os.fsdecode(full)).write_bytes(path)
                    first = full
            except OSError:
                continue
            changes.pop(path, None)
            if told != "-":
                changes[path] = told
        changes = {
            p: k for p, k in changes.items() if (k == "D") != os.path.lexists(top + b"/" + p)
        }
        members, data, _ = written(Path(place), [(k, p) for p, k in sorted(changes.items())])
        assert data == written(Path(place), [(k, p) for p, k in changes.items()])[1]
        paths = [os.fsencode(member.name) for member in members]
        assert len(paths) == len(set(paths))
        seen: set[bytes] = set()
        for path, member in zip(paths, members, strict=True):
            head, _, base = path.rpartition(b"/")
            assert not head or head in seen
            if member.islnk():
                assert os.fsencode(member.linkname) in seen
            seen.add(path)
            if not base.startswith(b".wh."):
                status = os.lstat(top + b"/" + path)
                assert member.isdir() == stat.S_ISDIR(status.st_mode)
        for path, kind in changes.items():
            head, slash, base = path.rpartition(b"/")
            assert (head + slash + b".wh." + base if kind == "D" else path) in seen


def test_links_times_and_kinds(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"data")
    os.link(tmp_path / "b", tmp_path / "z")
    os.link(tmp_path / "b", tmp_path / "outside")
    os.utime(tmp_path / "b", ns=(0, -1_750_000_000))
    os.mkfifo(tmp_path / "p")
    os.utime(tmp_path / "p", ns=(0, 1_600_000_000_123_456_789))
    (tmp_path / "s").write_bytes(b"")
    os.chmod(tmp_path / "s", 0o6711)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "sock"))
    (tmp_path / ".wh.x").write_bytes(b"")
    told = [("A", name) for name in (b".wh.x", b"b", b"p", b"s", b"sock", b"z")]
    members, data, writer = written(tmp_path, told)
    found = {member.name: member for member in members}
    assert list(found) == ["b", "p", "s", "z"]
    assert found["z"].islnk() and found["z"].linkname == "b" and found["b"].size == 4
    assert found["p"].isfifo() and found["s"].mode == 0o6711
    assert b" mtime=-1.75\n" in data and b" mtime=1600000000.123456789\n" in data
    assert (writer.sockets, writer.refused, writer.unsteady) == (1, 1, [])
    _, data, _ = written(tmp_path, told, TarWriter(print, 5))
    assert b" mtime=-1.75\n" in data and b"1600000000" not in data


def test_what_cannot_be_read_is_never_a_broken_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "shrinks").write_bytes(b"x" * 3000)
    (tmp_path / "whole").write_bytes(b"y" * 3000)
    real = os.read

    def read(fd: int, count: int) -> bytes:
        return b"" if os.readlink(f"/proc/self/fd/{fd}").endswith("/shrinks") else real(fd, count)

    monkeypatch.setattr(os, "read", read)
    told = [("A", b"gone/file"), ("A", b"never/was"), ("C", b"shrinks"), ("C", b"whole")]
    members, _, writer = written(tmp_path, told)
    assert [(m.name, m.size) for m in members] == [("gone", 0), ("shrinks", 3000), ("whole", 3000)]
    assert set(writer.unsteady) == {b"gone/file", b"never", b"never/was", b"shrinks"}


def test_holes_are_refused(tmp_path: Path) -> None:
    with open(tmp_path / "big", "wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(LimitError, match="holes"):
        written(tmp_path, [("A", b"big")])


def test_a_link_on_the_way_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "d").symlink_to(outside)
    members, data, writer = written(root, [("A", b"d"), ("A", b"d/secret")])
    assert [m.name for m in members] == ["d"] and members[0].issym()
    assert b"secret" not in data.replace(os.fsencode(outside), b"") and writer.unsteady == [
        b"d/secret"
    ]


def test_capabilities_have_no_root_id() -> None:
    third = struct.pack("<6I", 0x03000001, 1 << 10, 0, 0, 0, 100000)
    second = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
    assert tarwriter._revision_2(third) == second  # pyright: ignore[reportPrivateUsage]
    assert tarwriter._revision_2(second) == second  # pyright: ignore[reportPrivateUsage]


def test_truth(tmp_path: Path) -> None:
    """Owners that stand on record, but not of what was made anew; devices in a whole tree."""
    for name in ("kept", "new", "other"):
        (tmp_path / name).write_bytes(b"")
        os.chmod(tmp_path / name, 0o755)
    os.chmod(tmp_path / "other", 0o700)
    (tmp_path / "dev").mkdir()
    extras = {
        name: Extra("f", 8, 9, 0o6755, 0, 0, {b"system.x": b"1"})
        for name in (b"kept", b"new", b"other")
    }
    extras[b"dev/sda"] = Extra("b", 0, 6, 0o660, 8, 0, {})
    extras[b"gone/sdb"] = Extra("b", 0, 6, 0o660, 8, 16, {})
    truth = Truth(extras, True, [Change("A", b"new"), Change("D", b"gone")])
    members, data, _ = written(tmp_path, None, TarWriter(print, truth=truth))
    found = {m.name: (m.uid, m.gid, m.mode) for m in members}
    own = (os.getuid(), os.getgid())
    assert found["kept"] == (8, 9, 0o6755) and found["other"] == (8, 9, 0o700)
    assert found["new"] == (*own, 0o755) and found["dev/sda"] == (0, 6, 0o660)
    assert b"SCHILY.xattr.system.x=1" in data and "gone/sdb" not in found
    device = next(m for m in members if m.name == "dev/sda")
    assert device.isblk() and (device.devmajor, device.devminor) == (8, 0)
    disk = Truth(extras, False)  # with subordinate ids the disk tells the owner
    members, _, _ = written(tmp_path, [("C", b"kept")], TarWriter(print, truth=disk))
    assert (members[0].uid, members[0].gid, members[0].mode) == (*own, 0o755)


def test_owners_of_another_map() -> None:
    turn = inside_owners({"uids": [[0, 1, 1000], [1000, 0, 1]], "gids": [[0, 0, 65536]]})
    assert turn(1, 5) == (0, 5) and turn(0, 0) == (1000, 0) and turn(70000, 1) == (70000, 1)
