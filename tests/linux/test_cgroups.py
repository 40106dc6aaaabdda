from __future__ import annotations

from pathlib import Path

import pytest

from sampan.linux import cgroups


def tree(place: Path, *files: str) -> str:
    for name in files:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("cpu memory pids\n")
    return str(place)


@pytest.mark.parametrize(
    "files, layout",
    [
        (["cgroup.controllers", "user.slice/cgroup.procs"], "v2"),
        (["unified/cgroup.controllers", "memory/tasks", "pids/tasks"], "hybrid"),
        (["memory/tasks", "cpu/tasks"], "v1"),
        ([], "none"),
    ],
)
def test_layouts(tmp_path: Path, files: list[str], layout: str) -> None:
    assert cgroups.layout(tree(tmp_path, *files)) == layout
    assert cgroups.layout(str(tmp_path / "absent")) == "none"


@pytest.mark.parametrize(
    "table, place",
    [
        ("0::/user.slice/a b.service\n", "/R/user.slice/a b.service"),
        ("0::/\n", "/R"),
        ("12:pids:/x\n11:memory:/y\n0::/z\n", "/R/z"),
        ("12:pids:/x\n1:name=systemd:/y\n", ""),  # version 1 alone
        ("0::/../outside\n", ""),  # above the root of this namespace
        ("0::/gone (deleted)\n", "/R/gone"),
    ],
)
def test_the_cgroup_of_a_process(table: str, place: str) -> None:
    assert cgroups.own(table, "/R") == place


def test_files(tmp_path: Path) -> None:
    (tmp_path / "memory.events").write_text("low 0\noom_kill 3\nodd\nx max\n")
    assert cgroups.counters(str(tmp_path), "memory.events") == {"low": 0, "oom_kill": 3}
    assert cgroups.read(str(tmp_path), "absent") is None
    assert cgroups.controllers(tree(tmp_path, "cgroup.controllers")) == {"cpu", "memory", "pids"}
    assert cgroups.controllers(str(tmp_path / "absent")) == frozenset()
