"""What commits state to disk: whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan import files
from sampan.errors import CorruptError, LimitError, SampanError


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    fd = files.open_directory(str(tmp_path))
    yield fd
    os.close(fd)


def test_a_write_replaces_the_whole_file(here: int, tmp_path: Path) -> None:
    files.write_atomic(here, "f", b"old" * 1000)
    before = (tmp_path / "f").stat()
    files.write_atomic(here, "f", b"new")
    after = (tmp_path / "f").stat()
    assert (tmp_path / "f").read_bytes() == b"new" and after.st_ino != before.st_ino
    assert stat.S_IMODE(after.st_mode) == 0o600
    assert os.listdir(tmp_path) == ["f"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(here: int, tmp_path: Path) -> None:
    files.write_atomic(here, "f", b"old")
    (tmp_path / "d" / "inside").mkdir(parents=True)
    with pytest.raises(OSError):
        files.write_atomic(here, "d", b"x")
    with pytest.raises(OSError):
        files.write_atomic(here, "absent/f", b"x")
    assert sorted(os.listdir(tmp_path)) == ["d", "f"] and (tmp_path / "f").read_bytes() == b"old"


def test_a_file_over_the_limit_of_its_writer(here: int, tmp_path: Path) -> None:
    """A short write is followed by the error, never by a rename."""
    code = (
        "import os, resource, signal, sys; from sampan import files\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "files.write_atomic(files.open_directory(sys.argv[1]), 'f', b'x' * 5000)\n"
    )
    files.write_atomic(here, "f", b"old")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True
    )
    assert b"File too large" in done.stderr
    assert os.listdir(tmp_path) == ["f"] and (tmp_path / "f").read_bytes() == b"old"


def test_a_temporary_name_tells_whether_its_maker_lives() -> None:
    ours = files.temporary_name()
    assert not files.is_abandoned(ours) and ours != files.temporary_name()
    child = subprocess.Popen(["true"])
    child.wait()
    assert files.is_abandoned(f"{files.TEMPORARY}{child.pid}-0-00")
    assert files.is_abandoned(f"{files.TEMPORARY}nonsense")
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert files.is_abandoned(f"{files.TEMPORARY}{zombie.pid}-0-00")
    zombie.wait()
    assert not files.is_abandoned(f"{files.TEMPORARY}1-0-00"), "another user's process"
    assert not files.is_abandoned("f")


def test_only_regular_files_are_read(here: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("f")
    (tmp_path / "d").mkdir()
    assert files.read(here, "f") == b"x" * 100
    assert files.read(here, "f", 100) == b"x" * 100
    with pytest.raises(LimitError):
        files.read(here, "f", 99)
    with pytest.raises(CorruptError, match="not a regular file"):
        files.read(here, "fifo")
    with pytest.raises(CorruptError, match="not a regular file"):
        files.read(here, "d")
    with pytest.raises(OSError):
        files.read(here, "link")


def test_a_file_that_claims_no_size_has_a_limit_too() -> None:
    """procfs says 0 bytes for everything."""
    fd = os.open("/proc/self/maps", os.O_RDONLY)
    with pytest.raises(LimitError, match="more than 10 bytes"):
        files.read_fd(fd, "maps", 10)
    os.close(fd)


def test_directories_are_private_and_no_links(here: int, tmp_path: Path) -> None:
    files.private_directory(str(tmp_path / "a" / "b"))
    os.close(files.open_directory("c", dir_fd=here, create=True))
    for name in ("a", "a/b", "c"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
    (tmp_path / "dangling").symlink_to("absent")
    with pytest.raises(FileNotFoundError):
        files.private_directory(str(tmp_path / "dangling" / "below"))
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "f").write_text("")
    for name in ("link", "f"):
        with pytest.raises(OSError):
            files.open_directory(name, dir_fd=here, create=True)
    if os.getuid():
        with pytest.raises(SampanError, match="belongs to uid 0"):
            files.private_directory("/usr")


def test_a_tree_is_removed_and_what_links_point_to_stays(here: int, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "dir-link").symlink_to(outside)
    (tree / "a" / "file-link").symlink_to(outside / "kept")
    (tree / "a" / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "a" / "fifo")
    (tree / os.fsdecode(b"caf\xe9\n")).write_text("x")
    for path, mode in ((tree / "a" / "b", 0), (tree / "a", 0o500), (tree, 0o400)):
        path.chmod(mode)
    files.remove_tree(here, "tree")
    assert sorted(os.listdir(tmp_path)) == ["outside"] and os.listdir(outside) == ["kept"]
    files.remove_tree(here, "absent")
    (tmp_path / "link").symlink_to(outside)
    files.remove_tree(here, "link")
    assert os.listdir(outside) == ["kept"]


def test_a_tree_deeper_than_recursion_and_descriptors(here: int, tmp_path: Path) -> None:
    fd = files.open_directory("deep", dir_fd=here, create=True)
    for _ in range(3000):
        below = files.open_directory("d", dir_fd=fd, create=True)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        fd = below
    os.close(fd)
    files.remove_tree(here, "deep")
    assert os.listdir(tmp_path) == []


def test_a_removal_that_is_killed_is_finished_by_the_next(here: int, tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / "tree" / str(number)).mkdir(parents=True)
        (tmp_path / "tree" / str(number) / "f").write_text("")
    pid = os.fork()
    if pid == 0:
        files.remove_tree(here, "tree")
        os._exit(0)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    files.remove_tree(here, "tree")
    assert os.listdir(tmp_path) == []


def test_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file system cannot make one at once."""
    directory = os.open(tmp_path, os.O_RDONLY)
    fds = [files.nameless(directory)]
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # EISDIR, as an old file system answers
    fds.append(files.nameless(directory))
    for fd in fds:
        files.write_all(fd, b"data")
        assert os.pread(fd, 10, 0) == b"data"
        assert os.listdir(tmp_path) == []
        os.close(fd)
    os.close(directory)
