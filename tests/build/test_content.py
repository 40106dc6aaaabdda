"""The identity of what a COPY takes: it changes with what counts and with nothing else, and is read once."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.store import digests
from sampan.store.digests import FileDigests
from sampan_build.dockerfile import content, ignore
from sampan_build.dockerfile.selection import Selector


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root").mkdir()
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    top = tmp_path / "context"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "file").write_bytes(b"one")
    (top / "a" / "b" / "deep").write_bytes(b"two" * 1000)
    (top / "link").symlink_to("a/file")
    (top / "away").symlink_to("/etc")
    return top


def look(root_fd: int, top: Path, patterns: str = "") -> tuple[str, int]:
    """(digest, bytes that were read)."""
    fd = os.open(top, os.O_RDONLY)
    total = hashlib.sha256()
    try:
        with FileDigests(root_fd) as known:
            for match in Selector(fd, ignore.read(patterns.encode()), None).select("."):
                content.add_match(total, match, known)
            return total.hexdigest(), known.read
    finally:
        os.close(fd)


def age(top: Path) -> None:
    """Wait until a change would show."""
    latest = max(os.lstat(path).st_ctime_ns for path in [top, *top.rglob("*")])
    while latest + 50_000_000 > time.time_ns():
        time.sleep(0.02)


def test_nothing_is_read_twice(
    root_fd: int, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SETTLED", 50_000_000)
    age(context)
    first, read = look(root_fd, context)
    assert read == 3003
    assert look(root_fd, context) == (first, 0)
    (context / "a" / "file").write_bytes(b"six")
    age(context)
    second, read = look(root_fd, context)
    assert second != first and read == 3
    assert look(root_fd, context) == (second, 0)


def test_a_change_of_this_moment_is_read_again(root_fd: int, context: Path) -> None:
    """Within the clock's tick the times may be the same."""
    assert look(root_fd, context)[1] == look(root_fd, context)[1] == 3003


def test_times_set_back_deceive_nobody(
    root_fd: int, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SETTLED", 50_000_000)
    path = context / "a" / "file"
    age(context)
    first, _ = look(root_fd, context)
    before = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert look(root_fd, context)[0] != first


def _content(top: Path) -> None:
    (top / "a" / "file").write_bytes(b"onE")


def _mode(top: Path) -> None:
    (top / "a" / "file").chmod(0o600)


def _name(top: Path) -> None:
    (top / "a" / "file").rename(top / "a" / "other")


def _link(top: Path) -> None:
    (top / "link").unlink()
    (top / "link").symlink_to("a/b")


def _kind(top: Path) -> None:
    (top / "link").unlink()
    (top / "link").write_bytes(b"a/file")


def _empty_directory(top: Path) -> None:
    (top / "new").mkdir()


def _moved(top: Path) -> None:
    (top / "a" / "b" / "deep").rename(top / "a" / "deep")


@pytest.mark.parametrize("change", [_content, _mode, _name, _link, _kind, _empty_directory, _moved])
def test_what_counts(root_fd: int, context: Path, change: Callable[[Path], None]) -> None:
    before = look(root_fd, context)[0]
    change(context)
    assert look(root_fd, context)[0] != before


def test_what_does_not_count(root_fd: int, context: Path, tmp_path: Path) -> None:
    before = look(root_fd, context)[0]
    for path in [context, *context.rglob("*")]:
        os.utime(path, (1, 1), follow_symlinks=False)
    assert look(root_fd, context)[0] == before
    shutil.copytree(context, tmp_path / "copy", symlinks=True)
    assert look(root_fd, tmp_path / "copy")[0] == before


def test_what_is_left_out_is_not_read(root_fd: int, context: Path) -> None:
    whole, chosen = look(root_fd, context), look(root_fd, context, "a/b/deep")
    assert chosen[0] != whole[0] and (whole[1], chosen[1]) == (3003, 3)


def test_a_damaged_cache_costs_time_alone(
    root_fd: int, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "_SETTLED", 50_000_000)
    age(context)
    before = look(root_fd, context)
    fd = os.open("cache/digests", os.O_RDWR, dir_fd=root_fd)
    os.ftruncate(fd, 100)  # one row and a part of another
    os.close(fd)
    again = look(root_fd, context)
    assert again[0] == before[0] and 0 < again[1] <= before[1]


def test_no_two_trees_have_the_same_lines(root_fd: int, tmp_path: Path) -> None:
    """Names with newlines and digits are not taken for the end of a line."""
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "a").mkdir(parents=True)
    (one / "a" / "f").write_bytes(b"")
    two.mkdir()
    (two / "a\nf").write_bytes(b"")
    assert look(root_fd, one)[0] != look(root_fd, two)[0]
