"""Limits on a machine whose cgroups are nobody's to give: refusals, best effort, and the door for other managers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sampan.linux import cgroups
from system_tools import Sampan

BUSYBOX = "busybox"
undelegated = pytest.mark.skipif(
    cgroups.layout() == "v2", reason="this machine has cgroup version 2"
)
EFFORT = {"SAMPAN_LIMITS": "best-effort"}
ENFORCE = {"SAMPAN_LIMITS": "enforce"}


@undelegated
def test_a_limit_is_refused_before_anything_is_made(sampan: Sampan) -> None:
    for words, controllers in (
        (["--memory=64m"], "controller memory"),
        (["-m", "64m", "--cpus=1", "--pids-limit=5"], "controllers cpu, memory, pids"),
        (["--cpuset-cpus=0"], "controller cpuset"),
    ):
        for verb in (["run", "--rm"], ["create"]):
            result = sampan(*verb, *words, BUSYBOX, "true", env=ENFORCE)
            assert result.returncode == 125 and result.stderr.count(b"\n") == 1
            assert f"the cgroup {controllers} cannot be used".encode() in result.stderr
            assert b"systemd.unified_cgroup_hierarchy=1" in result.stderr
    assert sampan.text("ps", "-aq") == ""
    assert (
        sampan.text(
            "run", "--rm", "--memory=0", "--pids-limit=-1", BUSYBOX, "echo", "x", env=ENFORCE
        )
        == "x"
    )


@undelegated
def test_best_effort_warns_once_and_is_remembered(sampan: Sampan) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    words = ["--memory=64m", "--cpus=1", f"--cpuset-cpus={allowed[-1]}"]
    result = sampan(
        "run",
        "--name",
        "c",
        *words,
        BUSYBOX,
        "grep",
        "Cpus_allowed_list",
        "/proc/self/status",
        env=EFFORT,
    )
    assert result.stdout.split() == [b"Cpus_allowed_list:", str(allowed[-1]).encode()]
    assert (
        result.stderr
        == b"Resource limits are not supported and ignored on cgroups V1 rootless systems\n"
    )
    result = sampan("run", "--rm", "--memory=0", BUSYBOX, "echo", "x", env=EFFORT)
    assert result.stdout == b"x\n" and result.stderr.startswith(
        b"Resource limits are not supported"
    )
    (shown,) = json.loads(sampan.text("inspect", "c"))
    host = shown["HostConfig"]
    assert host["LimitsNotEnforced"] == ["cpu", "cpuset", "memory"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"]) == (64 << 20, 128 << 20, 10**9)
    assert (host["CpuQuota"], host["CpuPeriod"], host["CpusetCpus"]) == (
        100_000,
        100_000,
        str(allowed[-1]),
    )
    assert host["CgroupManager"] == "none" and shown["State"]["CgroupPath"] == ""


@undelegated
def test_update_without_a_cgroup(sampan: Sampan) -> None:
    sampan.text("create", "--name", "c", BUSYBOX, "sleep", "100")
    result = sampan("update", "-m", "64m", "c", env=ENFORCE)
    assert (
        result.returncode == 125 and b"the cgroup controller memory cannot be used" in result.stderr
    )
    assert sampan.text("inspect", "c", "--format", "{{.HostConfig.Memory}}") == "0"
    assert sampan("update", "-m", "64m", "c", env=EFFORT).returncode == 0
    assert sampan.text("inspect", "c", "--format", "{{.HostConfig.Memory}}") == str(64 << 20)
    assert sampan("start", "c", env=EFFORT).returncode == 0
    result = sampan("update", "-m", "32m", "c", env=EFFORT)
    assert b"it runs without a cgroup of its own" in result.stderr
    for words, sentence in (
        (["c"], b"no limit and no policy is given"),
        (["-m", "1", "c"], b"minimum is 6m"),
        (["-m", "9m", "no"], b"no such"),
    ):
        result = sampan("update", *words)
        assert result.returncode == 125 and sentence in result.stderr


@undelegated
def test_managers_that_cannot_work_here_say_why(sampan: Sampan) -> None:
    for name in ("systemd", "delegated", "cgroupfs"):
        result = sampan(
            "--cgroup-manager", name, "run", "--rm", "-m", "64m", BUSYBOX, "true", env=ENFORCE
        )
        assert result.returncode == 125 and result.stderr.count(b"\n") == 1, result.stderr
        assert b"controller memory" in result.stderr
    assert (
        b"no cgroup plugin is named 'chroot'"
        in sampan("--cgroup-manager=chroot", "run", "--rm", BUSYBOX, "true").stderr
    )
    rows = {
        row["Name"]: row
        for row in json.loads(sampan.text("plugin", "ls", "--format", "json"))
        if row["Concern"] == "cgroup"
    }
    assert set(rows) >= {"systemd", "delegated", "none"} and rows["none"]["Chosen"] == "*"
    assert cgroups.layout() in rows["systemd"]["Why"] and rows["delegated"]["Usable"] == "no"
    info = json.loads(sampan.text("info", "--format", "json"))
    assert info["host"]["cgroupManager"] == "none" and info["host"]["cgroupControllers"] == []
    assert "needs cgroup version 2" in info["choices"]["auto cgroup"]["reasons"]["systemd"]


def test_disabled(sampan: Sampan) -> None:
    assert sampan.text("run", "--rm", "--cgroups=disabled", BUSYBOX, "echo", "x") == "x"
    result = sampan("run", "--rm", "--cgroups=disabled", "-m=64m", BUSYBOX, "true")
    assert result.returncode == 125 and b"when cgroups are disabled" in result.stderr
    assert (
        b"it is one of enabled, disabled"
        in sampan("run", "--rm", "--cgroups=on", BUSYBOX, "true").stderr
    )
    for words in (["--cgroups=split"], ["--cgroup-parent", "x.slice"]):
        result = sampan("--cgroup-manager=none", "run", "--rm", *words, BUSYBOX, "true")
        assert b"the cgroup manager none makes no cgroup" in result.stderr


RAFT = """
from sampan.drivers import Probe
from sampan.errors import UnsupportedError

class Raft:
    name = "raft"
    advice = "build a larger raft"

    def __init__(self, context):
        self.notes = context.run_dir + "/raft"

    def note(self, *words):
        with open(self.notes, "a") as file:
            print(*words, file=file)

    def controllers(self):
        return frozenset({"memory"})

    def create(self, container, resources, monitor, options):
        self.note("create", resources["memory"]["limit"], options["mode"], monitor > 1)
        return ""

    def renew(self, cgroup, resources): ...
    def join(self, cgroup, pid): ...
    def update(self, cgroup, resources): ...
    def stats(self, cgroup): ...
    def freeze(self, cgroup, frozen): ...
    def kill(self, cgroup): ...
    def remove(self, cgroup): ...

def sampan_cgroup_manager(context):
    return Raft(context)

def sampan_probe(context):
    return Probe(True, "wood", rank=500)
"""


def test_a_manager_of_a_stranger(fresh: Sampan, tmp_path: Path) -> None:
    """It is chosen by its rank, is asked for what it says it delivers, and refused what it does not."""
    (tmp_path / "sampan_raft.py").write_text(RAFT)
    about = tmp_path / "sampan_raft-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: sampan-raft\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[sampan.cgroup]\nraft = sampan_raft\n")
    fresh.environment["PYTHONPATH"] = str(tmp_path)
    fresh.text("pull", "-q", BUSYBOX)
    assert (
        fresh.text("run", "--rm", "-m", "64m", BUSYBOX, "echo", "afloat", env=ENFORCE) == "afloat"
    )
    notes = (Path(fresh.text("info", "--format", "{{.Store.RunRoot}}")) / "raft").read_text()
    assert notes == "create 67108864 enabled True\n"
    result = fresh("run", "--rm", "-m", "64m", "--cpus=1", BUSYBOX, "true", env=ENFORCE)
    assert (
        b"controller cpu cannot be used by this user (manager raft); build a larger raft"
        in result.stderr
    )
