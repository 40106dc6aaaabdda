"""Paths of a root file system cannot leave it, whatever its links say and whoever changes them meanwhile."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.errors import CorruptError, LimitError
from sampan.linux import paths


class Root:
    def __init__(self, place: Path) -> None:
        self.outside = place / "outside"
        self.path = place / "root"
        for directory in (self.outside, self.path / "etc"):
            directory.mkdir(parents=True)
        (self.outside / "secret").write_text("host")
        (self.path / "etc" / "inside").write_text("image")
        self.fd = os.open(self.path, paths.O_PATH | os.O_DIRECTORY)

    def untouched(self) -> bool:
        return (
            os.listdir(self.outside) == ["secret"]
            and (self.outside / "secret").read_text() == "host"
        )


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    made = Root(tmp_path)
    yield made
    assert made.untouched()
    os.close(made.fd)


def read(root: Root, path: str) -> bytes | None:
    return paths.read_in_root(root.fd, path)


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "..",
        "../../..",
        "/../..",
        "../outside",
        "/proc/self/root",
        "etc/../../outside",
        "{outside}",
    ],
)
def test_a_link_leads_into_the_root(root: Root, target: str) -> None:
    (root.path / "link").symlink_to(target.format(outside=root.outside))
    for name in ("link/secret", "link/../outside/secret", "link/../../outside/secret"):
        assert read(root, name) is None
    (root.path / "secret").write_text("image's own")
    found = read(root, "link/secret")
    assert found in (None, b"image's own")


def test_links_are_resolved_as_in_a_chroot(root: Root) -> None:
    (root.path / "absolute").symlink_to("/etc")
    (root.path / "etc" / "up").symlink_to("../../../../etc")
    for path in ("/absolute/inside", "etc/up/inside", "../../etc/inside", "/etc/up/up/up/inside"):
        assert read(root, path) == b"image"


def test_magic_links_are_refused(root: Root) -> None:
    """/proc's links lead out of any root: opened from a root that has a procfs, they are refused."""
    real = os.open("/", paths.O_PATH | os.O_DIRECTORY)
    for path in (
        "/proc/self/root/etc",
        "/proc/self/cwd",
        "/proc/self/exe",
        f"/proc/self/fd/{root.fd}",
    ):
        with pytest.raises(OSError) as caught:
            os.close(paths.open_in_root(real, path))
        assert caught.value.errno == errno.ELOOP
    os.close(real)


def test_only_small_regular_files_are_read(root: Root) -> None:
    os.mkfifo(root.path / "fifo")
    (root.path / "link").symlink_to("/etc/inside")
    (root.path / "loop").symlink_to("loop")
    (root.path / "large").write_bytes(b"x" * 100)
    assert read(root, "/absent") is None and read(root, "/absent/below") is None
    for path in ("fifo", "etc", "link", "loop", "etc/inside/below"):
        with pytest.raises(CorruptError, match="not a regular file"):
            read(root, path)
    with pytest.raises(LimitError):
        paths.read_in_root(root.fd, "large", 99)


def test_directories_are_made_inside(root: Root) -> None:
    (root.path / "out").symlink_to(root.outside)
    (root.path / "up").symlink_to("../../outside")
    (root.path / "abs").symlink_to("/etc")
    for path in ("a/b/c", "/abs/new", "../../d", "etc/../e", ".", "/"):
        os.close(paths.make_directories(root.fd, path))
    assert (root.path / "a/b/c").is_dir() and (root.path / "etc/new").is_dir()
    assert (root.path / "d").is_dir() and (root.path / "e").is_dir()
    assert stat.S_IMODE((root.path / "a").stat().st_mode) & 0o022 == 0
    for path in ("out/x", "up/x", "out"):
        with pytest.raises(OSError):
            os.close(paths.make_directories(root.fd, path))
    with pytest.raises(NotADirectoryError):
        paths.make_directories(root.fd, "etc/inside/below")


def test_mount_points(root: Root) -> None:
    (root.path / "dangling").symlink_to("/nowhere/file")
    (root.path / "abs").symlink_to("/etc/inside")
    fd = paths.make_mount_point(root.fd, "/new/dir/file", directory=False)
    assert stat.S_ISREG(os.fstat(fd).st_mode) and not paths.is_directory(fd)
    os.close(fd)
    fd = paths.make_mount_point(root.fd, "/abs", directory=False)
    assert os.fstat(fd).st_ino == (root.path / "etc/inside").stat().st_ino
    os.close(fd)
    fd = paths.make_mount_point(root.fd, "/a/b", directory=True)
    assert paths.is_directory(fd)
    os.close(fd)
    with pytest.raises(OSError):
        paths.make_mount_point(root.fd, "dangling", directory=False)


def test_descriptors_are_not_lost(root: Root) -> None:
    (root.path / "out").symlink_to("/nowhere/below")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("out/x", "etc/inside/x", "out"):
        for directory in (True, False):
            with pytest.raises(OSError):
                paths.make_mount_point(root.fd, path, directory=directory)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("directory", [True, False])
def test_a_racing_container_cannot_lead_the_way_out(root: Root, directory: bool) -> None:
    """One process swaps a component for a link to the host while another makes mount points behind it."""
    swapped, spare = root.path / "swap", root.path / "spare"
    spare.symlink_to(root.outside)
    racer = os.fork()
    if racer == 0:
        try:
            while True:
                swapped.mkdir()
                os.rename(swapped, root.path / "old")
                os.rename(spare, swapped)
                os.rename(swapped, spare)
                for base, names, others in os.walk(root.path / "old", topdown=False):
                    for name in [*names, *others]:
                        path = os.path.join(base, name)
                        os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
                os.rmdir(root.path / "old")
        finally:
            os._exit(1)
    made = failed = 0
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        try:
            fd = paths.make_mount_point(root.fd, f"swap/x{made}/y", directory=directory)
        except OSError:
            failed += 1
            if os.waitpid(racer, os.WNOHANG)[0]:
                break
            continue
        made += 1
        place = os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)")
        os.close(fd)
        assert place.startswith(str(root.path) + "/"), place
        assert root.untouched()
    try:
        os.kill(racer, 9)
        os.waitpid(racer, 0)
    except ProcessLookupError:
        pass
    except ChildProcessError:
        pass
    assert made + failed > 10 and root.untouched()
