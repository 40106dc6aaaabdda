"""Mounts by descriptor, made for real in a namespace of one's own."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from inside import as_root
from sampan.linux import libc, mounts, paths, userns

pytestmark = pytest.mark.skipif(os.getuid() == 0, reason="shows what a user may do")


def options_of(path: Path) -> list[str]:
    """The options of the last mount on the path, as mountinfo has them (proc_pid_mountinfo(5))."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        rows = [line.split() for line in file]
    (row,) = [row for row in rows if row[4] == str(path)][-1:]
    return row[5].split(",")


def attach(fd: int, path: Path) -> None:
    target = os.open(path, paths.O_PATH)
    mounts.move(fd, target)
    os.close(target)


def test_a_detached_tmpfs_with_attributes(tmp_path: Path) -> None:
    def run() -> Any:
        tight = mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
        fd = mounts.new("tmpfs", [("size", "64k"), ("mode", "750"), ("nr_inodes", "10")], tight)
        assert not os.get_inheritable(fd)
        os.close(os.open("early", os.O_CREAT | os.O_WRONLY, dir_fd=fd))  # before it is anywhere
        attach(fd, tmp_path)
        return os.listdir(tmp_path), stat.S_IMODE(tmp_path.stat().st_mode), options_of(tmp_path)

    names, mode, options = as_root(run)
    assert names == ["early"] and mode == 0o750
    assert {"rw", "nosuid", "nodev", "noexec"} <= set(options)
    assert os.listdir(tmp_path) == [], "the namespace took it back"


def test_the_kernels_reason_is_told(tmp_path: Path) -> None:
    def run() -> Any:
        told: list[tuple[int | None, str]] = []
        for kind, options in (
            ("tmpfs", [("size", "nonsense")]),
            ("tmpfs", [("bogus", None)]),
            ("nofs", []),
        ):
            before = len(os.listdir("/proc/self/fd"))
            try:
                mounts.new(kind, options)  # type: ignore[arg-type]
            except OSError as error:
                told.append((error.errno, str(error)))
            assert len(os.listdir("/proc/self/fd")) == before
        return told

    size, bogus, nofs = as_root(run)
    assert size[0] == bogus[0] == errno.EINVAL and "size" in size[1] and "bogus" in bogus[1]
    assert nofs[0] == errno.ENODEV and "nofs" in nofs[1]


def test_a_read_only_bind(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "f").write_text("x")

    def run() -> Any:
        fd = mounts.clone_path(str(source))
        mounts.set_attributes(fd, mounts.RDONLY, 0, mounts.MS_PRIVATE, recursive=True)
        attach(fd, target)
        assert (target / "f").read_text() == "x"
        with pytest.raises(OSError) as caught:
            (target / "g").write_text("x")
        (source / "g").write_text("y")
        first = options_of(target)
        mounts.set_attributes(fd, mounts.NOSUID, mounts.RDONLY)
        (target / "h").write_text("z")
        return caught.value.errno, first, options_of(target)

    number, first, second = as_root(run)
    assert number == errno.EROFS and "ro" in first
    assert {"rw", "nosuid"} <= set(second)
    assert {p.name for p in source.iterdir()} == {"f", "g", "h"}


def test_a_recursive_attribute_reaches_what_lies_below(tmp_path: Path) -> None:
    (tmp_path / "top" / "below").mkdir(parents=True)
    (tmp_path / "copy").mkdir()

    def run() -> Any:
        attach(mounts.new("tmpfs", []), tmp_path / "top")
        (tmp_path / "top" / "below").mkdir()
        attach(mounts.new("tmpfs", []), tmp_path / "top" / "below")
        (tmp_path / "top" / "below" / "seen").write_text("")
        whole, alone = (
            mounts.clone_path(str(tmp_path / "top"), recursive=r) for r in (True, False)
        )
        mounts.set_attributes(whole, mounts.RDONLY, recursive=True)
        names = [os.listdir(f"/proc/self/fd/{fd}/below") for fd in (whole, alone)]
        attach(whole, tmp_path / "copy")
        return names, options_of(tmp_path / "copy" / "below")

    names, options = as_root(run)
    assert names == [["seen"], []] and "ro" in options


def test_a_mount_goes_onto_the_descriptor_and_not_the_name(tmp_path: Path) -> None:
    """The target is renamed and a link put in its place: the mount does not follow."""
    target, moved, host = tmp_path / "target", tmp_path / "moved", tmp_path / "host"
    target.mkdir()
    host.mkdir()

    def run() -> Any:
        fd = mounts.new("tmpfs", [])
        os.mkdir("inside", dir_fd=fd)
        opened = os.open(target, paths.O_PATH)
        target.rename(moved)
        target.symlink_to(host)
        mounts.move(fd, opened)
        return os.listdir(moved), os.listdir(host)

    assert as_root(run) == (["inside"], [])


@pytest.mark.parametrize("text", [False, True])
def test_overlays(tmp_path: Path, text: bool) -> None:
    """By file descriptor where the kernel can, and as one text where it cannot."""
    for name, content in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same").write_text(content)
        (tmp_path / name / name).write_text("")
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()

    def run() -> Any:
        os.chdir(tmp_path)
        make = mounts._overlay_by_text if text else mounts.overlay
        fd = make(["two", "one"], "upper", "work", [("userxattr", None)])
        merged = f"/proc/self/fd/{fd}"
        names = sorted(os.listdir(merged))
        (Path(merged) / "same").write_text("changed")
        os.unlink(f"{merged}/one")
        return names, Path(merged, "same").read_text(), sorted(os.listdir(merged))

    before, same, after = as_root(run)
    assert (before, same, after) == (["one", "same", "two"], "changed", ["same", "two"])
    assert (tmp_path / "two" / "same").read_text() == "2" and (tmp_path / "one" / "one").exists()
    assert stat.S_ISCHR((tmp_path / "upper" / "one").stat().st_mode)


def test_too_many_layers_for_one_page(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="the kernel takes 4095"):
        mounts._overlay_by_text([f"layer{number:03}" for number in range(500)], "u", "w", [])


def test_a_missing_layer_is_an_error(tmp_path: Path) -> None:
    def run() -> Any:
        os.chdir(tmp_path)
        try:
            mounts.overlay(["absent", "."], None, None, [("userxattr", None)])
        except OSError as error:
            return error.errno, str(error)

    number, text = as_root(run)
    assert number == errno.ENOENT and "absent" in text


@pytest.mark.parametrize(
    ("release", "wanted"),
    [("6.18.2", True), ("6.8.0-31-generic", True), ("7.0", True), ("6.1.0-56-cloud-amd64", False),
     ("5.15.0", False), ("6.7-rc1", False), ("strange", False)],
)  # fmt: skip
def test_which_kernels_take_lower_directories_one_by_one(release: str, wanted: bool) -> None:
    assert mounts.appends_lower(release) is wanted


def test_an_overlay_by_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What kernels before 6.8 get, in a user namespace: the same tree."""
    for name in ("one", "two", "upper", "work"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"from-{name}").write_text(name)
    (tmp_path / "work/from-work").unlink()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            userns.enter(userns.IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),)))
            libc.unshare(libc.CLONE_NEWNS)
            mounts.change_propagation("/", mounts.MS_PRIVATE)
            os.chdir(tmp_path)
            monkeypatch.setattr(mounts, "appends_lower", lambda release: False)
            fd = mounts.overlay(["two", "one"], "upper", "work", [("userxattr", None)])
            target = os.open("one", os.O_PATH | os.O_DIRECTORY)
            mounts.move(fd, target)
            names = sorted(os.listdir("one"))
            status = 0 if names == ["from-one", "from-two", "from-upper"] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
