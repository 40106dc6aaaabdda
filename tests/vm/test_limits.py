"""Limits that the kernel enforces, under both managers: of the user's systemd from an ssh session, and delegated."""

from __future__ import annotations

import json
import shlex
import time
from typing import Any

import pytest

from vm.machine import Done, Machine

pytestmark = pytest.mark.timeout(1200)  # the first test builds and boots

SCOPE = "systemd-run --user --scope -q -p Delegate=yes"
MANAGERS = {"systemd": "", "delegated": "delegated"}
# What a driver answers, beside what the kernel's files say; the argument is a cgroup.
FIGURES = """
import importlib, json, sys
name, path = sys.argv[1:]
module = importlib.import_module("sampan_cgroup." + name)
manager = module.sampan_cgroup_manager(None)
def read(file): return open(f"{path}/{file}").read().strip()
manager.freeze(path, True)
frozen = "frozen 1" in read("cgroup.events")
first = read("cpu.stat").split()[1]
answer = manager.stats(path)
files = {"memory": read("memory.current"), "most": read("memory.max"), "pids": read("pids.current"),
         "pids_most": read("pids.max"), "cpu": read("cpu.stat").split()[1]}
manager.freeze(path, False)
print(json.dumps({"frozen": frozen, "first": first, "stats": answer, "files": files,
                  "thawed": "frozen 0" in read("cgroup.events")}))
"""
AGAIN = """
import importlib, os, sys
name, path = sys.argv[1:]
module = importlib.import_module("sampan_cgroup." + name)
manager = module.sampan_cgroup_manager(None)
second = os.path.dirname(path) + "/second"
manager.renew(second, {"pids": {"limit": 7}})
limit = open(second + "/pids.max").read().strip()
os.rmdir(second)
print(limit, os.path.isdir(path))
"""
SPEED = """
import sys, time
def usage(): return int(open(sys.argv[1] + "/cpu.stat").read().split()[1]) / 1e6
time.sleep(2)
begun, before = time.monotonic(), usage()
time.sleep(8)
print((usage() - before) / (time.monotonic() - begun))
"""


class Under:
    """Commands of one manager: as they are typed at a prompt, or in a scope that is delegated."""

    def __init__(self, vm: Machine, manager: str) -> None:
        self.vm, self.manager = vm, manager

    def run(self, script: str, **more: Any) -> Done:
        if self.manager == "delegated":
            script = f"{SCOPE} env SAMPAN_CGROUP_MANAGER=delegated PATH=$PATH sh -c {shlex.quote(script)}"
        return self.vm.run(script, **more)

    def ok(self, script: str) -> str:
        done = self.run(script)
        assert done.status == 0, done
        return str(done.out)


@pytest.fixture(params=["systemd", "delegated"])
def under(request: pytest.FixtureRequest, vm: Machine) -> Under:
    return Under(vm, request.param)


def python(script: str, *words: str) -> str:
    return f"/srv/sampan/bin/python -c {shlex.quote(script)} {' '.join(words)}"


CGROUP = "$(echo /sys/fs/cgroup$(sampan inspect c --format '{{.State.CgroupPath}}'))"


@pytest.mark.smoke
def test_the_best_manager_is_chosen_for_each_session(under: Under) -> None:
    chosen = under.ok("sampan info --format '{{.Host.CgroupManager}} {{.Host.CgroupControllers}}'")
    assert chosen == f"{under.manager} [cpu cpuset io memory pids]"


@pytest.mark.smoke
def test_the_container_sees_its_limits(under: Under) -> None:
    """It is in a namespace of cgroups whose root is its own."""
    limits = "-m 64m --memory-swap 96m --memory-reservation 32m --cpus 0.5 --cpu-shares 1024"
    limits += " --cpuset-cpus 1 --pids-limit 20"
    files = "memory.max memory.swap.max memory.low cpu.max cpu.weight cpuset.cpus pids.max"
    found = under.ok(
        f"sampan run --rm {limits} --blkio-weight 500 --cgroup-conf memory.high=50003968 busybox "
        f"sh -c 'cat /proc/self/cgroup; cd /sys/fs/cgroup; cat {files} memory.high; cat cgroup.procs'"
    )
    assert found.split("\n")[:9] == [
        "0::/", "67108864", "33554432", "33554432", "50000 100000", "39", "1", "20", "50003968"
    ]  # fmt: skip
    assert under.ok("sampan run --rm busybox cat /sys/fs/cgroup/pids.max") == "2048"


@pytest.mark.smoke
def test_memory_runs_out(under: Under) -> None:
    hog = (
        "sampan run --name c -m 32m --memory-swap 32m busybox sh -c 'x=a; while :; do x=$x$x; done'"
    )
    done = under.run(
        f"{hog}; echo $?; sampan inspect c --format '{{{{.State.OOMKilled}}}} {{{{.State.ExitCode}}}}'"
    )
    assert done.out.split("\n") == ["137", "true 137"], done
    quiet = under.ok(
        "sampan run --name d busybox true; sampan inspect d --format '{{.State.OOMKilled}}'"
    )
    assert quiet == "false"


@pytest.mark.smoke
def test_a_processor_is_shared(under: Under) -> None:
    """Half a processor is half a processor, within a tenth."""
    share = under.ok(
        "sampan run -d --name c --cpus 0.5 busybox sh -c 'while :; do :; done' >/dev/null;"
        + python(SPEED, CGROUP)
        + "; sampan rm -f -t 0 c >/dev/null"
    )
    print(f"{under.manager}: {float(share):.3f} of 0.5 processors")
    assert 0.45 <= float(share) <= 0.55


@pytest.mark.smoke
def test_a_fork_bomb_is_stopped(under: Under) -> None:
    bomb = "f() { f | f & }; f; sleep 60"
    begun = time.monotonic()
    found = under.ok(
        f"sampan run -d --name c --pids-limit 20 busybox sh -c {shlex.quote(bomb)} >/dev/null; sleep 3; p={CGROUP};"
        "cat $p/pids.current $p/pids.events; sampan rm -f -t 0 c; test ! -e $p"
    )
    rows = found.split("\n")
    assert 1 < int(rows[0]) <= 20 and int(rows[1].split()[1]) > 0 and rows[-1] == "c"
    assert time.monotonic() - begun < 60


def test_figures_and_freezing(under: Under) -> None:
    """Statistics are the kernel's own; what is frozen uses no processor."""
    found = json.loads(
        under.ok(
            "sampan run -d --name c -m 64m busybox sh -c 'while :; do :; done' >/dev/null; sleep 1;"
            + python(FIGURES, under.manager, CGROUP)
            + "; sampan rm -f -t 0 c >/dev/null"
        )
    )
    stats, files = found["stats"], found["files"]
    assert found["frozen"] and found["thawed"]
    assert str(stats["cpu"]["usage_usec"]) == files["cpu"] == found["first"]
    assert str(stats["pids"]["current"]) == files["pids"] and stats["pids"]["max"] == 2048
    assert str(stats["memory"]["max"]) == files["most"] == str(64 << 20)
    assert abs(stats["memory"]["current"] - int(files["memory"])) <= 1 << 20
    assert stats["oom_kills"] == 0


@pytest.mark.smoke
def test_update_of_a_running_and_of_a_stopped_container(under: Under) -> None:
    look = (
        "sampan exec c cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max"
    )
    found = under.run(
        "sampan run -d --name c -m 64m busybox sleep 100 >/dev/null;"
        f"sampan update -m 128m --memory-swap 256m --pids-limit 30 --cpus 0.25 c; {look};"
        "sampan stop -t 0 c; sampan update --pids-limit 40 c; sampan start c;"
        f"{look}; sampan inspect c --format '{{{{.HostConfig.Memory}}}} {{{{.HostConfig.PidsLimit}}}}';"
        "sampan update -m 512m c"
    ).out
    rows = found.split("\n")
    assert rows[1:4] == ["134217728", "30", "25000 100000"]
    assert rows[7:11] == ["134217728", "40", "25000 100000", "134217728 40"]


def test_a_cgroup_is_made_again(under: Under) -> None:
    """For a monitor that starts its container again."""
    found = under.ok(
        f"sampan run -d --name c busybox sleep 100 >/dev/null; p={CGROUP};"
        + python(AGAIN, under.manager, "$p")
        + "; sampan rm -f -t 0 c"
    )
    assert found.split("\n") == ["7 True", "c"]


@pytest.mark.smoke
def test_exec_joins_the_cgroup(under: Under) -> None:
    """Beside the first process: the program, and the two that join the namespaces and hand on its status."""
    found = under.ok(
        "sampan run -d --name c busybox sleep 100 >/dev/null; sampan exec c sleep 50 & sleep 4;"
        f"wc -l < {CGROUP}/cgroup.procs; sampan exec c cat /proc/self/cgroup; sampan rm -f -t 0 c; wait"
    )
    assert found.split("\n") == ["4", "0::/", "c"]


def test_what_a_killed_monitor_leaves_is_removed(under: Under) -> None:
    found = under.ok(
        f"sampan run -d --name c busybox sleep 100 >/dev/null; p={CGROUP};"
        "kill -9 $(sampan inspect c --format '{{.State.ConmonPid}}'); sleep 2;"
        "sampan inspect c --format '{{.State.Status}} {{.State.ExitCodeKnown}}';"
        "sampan start c; sampan inspect c --format '{{.State.Status}}'; sampan rm -f -t 0 c; test ! -e $p"
    )
    assert found.split("\n") == ["exited false", "c", "running", "c"]


def test_cgroups_disabled(under: Under) -> None:
    inside = under.ok("sampan run --rm --cgroups disabled busybox cat /proc/self/cgroup")
    assert inside == "0::/"
    refused = under.run("sampan run --rm --cgroups disabled -m 64m busybox true")
    assert refused.status == 125 and "cgroups are disabled" in refused.err
    refused = under.run("sampan run --rm --cgroups split busybox true; sampan ps -aq")
    assert "--cgroups split" in refused.err and refused.out == ""


def test_the_parent(vm: Machine) -> None:
    path = "sampan inspect c --format '{{.State.CgroupPath}}'"
    found = vm.ok(f"sampan run -d --name c --cgroup-parent site.slice busybox sleep 100; {path}")
    assert "/site.slice/sampan-" in found
    refused = vm.run("sampan run --rm --cgroup-parent /a/b busybox true")
    assert refused.status == 125 and "systemd slice" in refused.err
    vm.ok("sampan rm -f -t 0 c")
    found = Under(vm, "delegated").ok(
        f"sampan run -d --name c --cgroup-parent a/b busybox sleep 100; {path}; sampan rm -f -t 0 c"
    )
    assert "/a/b/sampan-" in found


def test_bad_limits_are_refused_before_anything_is_made(vm: Machine) -> None:
    for words, sentence in (
        ("-m 5m", "minimum is 6m"),
        ("--cpus 3", "only 2 CPUs"),
        ("--cpuset-cpus 7", "7 is not available; available: 0-1"),
        ("--memory-swap 64m", "needs a memory limit"),
        ("--oom-kill-disable", "cannot switch the OOM killer off"),
        ("--memory-swappiness 10", "no swappiness"),
    ):
        done = vm.run(f"sampan run {words} busybox true; sampan ps -aq")
        assert sentence in done.err and done.out == "", done


def test_a_device_is_throttled(vm: Machine) -> None:
    rates = "--device-read-bps /dev/vda:1m --device-write-iops /dev/vda:100"
    found = vm.ok(f"sampan run --rm {rates} busybox cat /sys/fs/cgroup/io.max")
    assert found == "254:0 rbps=1048576 wbps=max riops=max wiops=100"
