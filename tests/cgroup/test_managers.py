"""The managers without a cgroup tree of version 2; what they do with one is tried in the virtual machine (tests/vm)."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.linux import cgroups
from sampan_cgroup import delegated, none, systemd, tree


def group(place: Path, controllers: str, *files: str) -> str:
    """A directory with the files of a cgroup."""
    place.mkdir(parents=True, exist_ok=True)
    (place / "cgroup.controllers").write_text(controllers)
    for name in files:
        (place / name).write_text("")
    return str(place)


def test_limits_are_written(tmp_path: Path) -> None:
    place = group(tmp_path, "memory pids io", "memory.max", "pids.max", "io.weight")
    tree.limit(
        place,
        {"memory": {"limit": 1 << 26}, "pids": {"limit": 5}, "blockIO": {"weight": 10}},
        "advice",
    )
    found = [(tmp_path / name).read_text() for name in ("memory.max", "pids.max", "io.weight")]
    assert found == ["67108864", "5", "default 1"]
    assert not (tmp_path / "memory.swap.max").exists()  # nobody asked for it by name


def test_a_controller_that_is_not_there_is_named(tmp_path: Path) -> None:
    place = group(tmp_path, "memory", "memory.max")
    with pytest.raises(UnsupportedError, match="controllers cpu, pids cannot be used here; ask"):
        tree.limit(
            place,
            {"memory": {"limit": 1}, "cpu": {"quota": 1}, "pids": {"limit": 1}},
            "ask somebody",
        )
    assert (tmp_path / "memory.max").read_text() == ""  # nothing was half done
    with pytest.raises(UnsupportedError, match=r"cannot set memory.swap.max: this kernel"):
        tree.limit(place, {"memory": {"limit": 5, "swap": 9}}, "")


def test_read_only_files_are_one_line(tmp_path: Path) -> None:
    """As on a read-only /sys/fs/cgroup."""
    place = group(tmp_path, "pids")
    (tmp_path / "pids.max").mkdir()  # a directory: even root may not open it for writing
    with pytest.raises(SampanError, match=r"cannot set pids.max to 5: Is a directory"):
        tree.limit(place, {"pids": {"limit": 5}}, "")


def test_figures(tmp_path: Path) -> None:
    for name, text in {
        "memory.current": "4096",
        "memory.max": "max",
        "cpu.stat": "usage_usec 77\nuser_usec 70",
        "pids.current": "2",
        "pids.max": "20",
        "io.stat": "8:0 rbytes=10 wbytes=5 rios=1\n8:16 rbytes=7 wbytes=0 rios=1",
        "memory.events": "oom 2\noom_kill 1",
    }.items():
        (tmp_path / name).write_text(text + "\n")
    assert tree.stats(str(tmp_path)) == {
        "memory": {"current": 4096, "max": None},
        "cpu": {"usage_usec": 77},
        "pids": {"current": 2, "max": 20},
        "io": {"read_bytes": 17, "write_bytes": 5},
        "oom_kills": 1,
    }


def test_removing(tmp_path: Path) -> None:
    """Directories below go first; the one that was made for the container goes too, a scope stays."""
    for name in ("sampan-1", "sampan-2.scope"):
        leaf = tmp_path / name / tree.LEAF
        (leaf / "inner/most").mkdir(parents=True)
        tree.remove(str(leaf))
        tree.remove(str(leaf))  # once more is no error
        assert not leaf.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["sampan-2.scope"]


def test_the_base_is_where_the_caller_was() -> None:
    assert delegated.base("/R/a.service") == "/R/a.service"
    assert delegated.base(f"/R/a.service/{delegated.CALLERS}") == "/R/a.service"


def test_delegation_is_refused_with_a_reason(tmp_path: Path) -> None:
    """A plain directory takes a mkdir, and no process."""
    why = delegated.refusal(str(tmp_path))
    assert why and not list(tmp_path.iterdir())
    if cgroups.layout() == "v2":
        assert "is not this user's" in why
    else:
        assert "no cgroup version 2 tree" in why
        assert not delegated.sampan_probe(None).usable  # type: ignore[arg-type]
        probe = systemd.sampan_probe(None)  # type: ignore[arg-type]
        assert not probe.usable and cgroups.layout() in probe.why and "unified" in probe.fix


def test_parents() -> None:
    assert delegated.check_parent("/a/b/") == ["a", "b"] and delegated.check_parent("") == []
    for word in ("../x", "a/./b", "a/cgroup.procs"):
        with pytest.raises(UsageError, match="no path below"):
            delegated.check_parent(word)
    with pytest.raises(UsageError, match="systemd slice received"):
        delegated.check_parent("x.slice")
    assert systemd.check_slice("a-b.slice") == "a-b.slice" and systemd.check_slice("") == ""
    for word in ("/a", "a", "/a.slice"):
        with pytest.raises(UsageError, match="did not receive systemd slice"):
            systemd.check_slice(word)


def test_the_manager_that_delivers_nothing() -> None:
    manager = none.sampan_cgroup_manager(None)  # type: ignore[arg-type]
    assert manager.controllers() == frozenset() and manager.create("c", {}, 1, {}) == ""
    assert manager.create("c", {"pids": {"limit": -1}}, 1, {}) == ""  # no limit is delivered
    with pytest.raises(
        UnsupportedError, match="cannot limit memory, pids: the cgroup manager none"
    ):
        manager.create("c", {"memory": {"limit": 1 << 30}, "pids": {"limit": 3}}, 1, {})
    for action in (lambda: manager.stats(""), lambda: manager.freeze("", True)):
        with pytest.raises(UnsupportedError, match="no cgroup of its own"):
            action()
