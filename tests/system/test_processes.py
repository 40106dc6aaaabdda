"""top, stats, pause, rename and port: a container's processes as they are."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from system_tools import BUSYBOX, Sampan, ended, until

COUNT = "i=0; while :; do i=$((i + 1)); echo $i > /count; done"


def count(sampan: Sampan) -> str:
    """What the counting container has come to, read without it."""
    pid = sampan.state("c")["Pid"]
    return Path(f"/proc/{pid}/root/count").read_text()


def test_paused_processes_stand_still(sampan: Sampan) -> None:
    """All of them, whatever they started; ps, inspect and events say so; unpause goes on where they were."""
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sh", "-c", f"({COUNT}) & sleep 1000")
    assert until(lambda: sampan("exec", "c", "test", "-s", "/count").returncode == 0)
    assert sampan.text("pause", "c") == "c"
    pids = sampan.text("top", "c", "hpid").split()[1:]
    states = {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids}
    assert states == {"T"} and len(pids) == 2
    state = sampan.state("c")
    assert (state["Status"], state["Paused"], state["Running"]) == ("paused", True, True)
    assert "(Paused)" in sampan.text("ps", "--format", "{{.Status}}")
    assert sampan.text("ps", "-q", "--filter", "status=paused")
    assert sampan("exec", "c", "true").returncode == 125
    assert sampan("pause", "c").returncode == 125
    assert sampan.text("unpause", "--all") == sampan.text("inspect", "--format", "{{.Id}}", "c")
    assert sampan.state("c")["Status"] == "running"
    before = sampan.text("exec", "c", "cat", "/count")
    assert until(lambda: sampan.text("exec", "c", "cat", "/count") != before)
    assert sampan("unpause", "c").returncode == 125
    told = sampan.text(
        "events", "--stream=false", "--filter", "container=c", "--format", "{{.Status}}"
    )
    assert told.split()[-2:] == ["pause", "unpause"] or "unpause" in told.split()


def test_what_makes_processes_all_the_time_is_stopped(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sh", "-c", "while :; do true & done")
    sampan.text("pause", "c")
    pid = sampan.state("c")["Pid"]
    before = Path(f"/proc/{pid}/stat").read_text()
    time.sleep(0.3)
    assert Path(f"/proc/{pid}/stat").read_text() == before
    sampan.text("rm", "-f", "-t", "0", "c")


@pytest.mark.parametrize(
    "words", [["stop", "-t", "5"], ["kill"], ["rm", "-f"], ["kill", "-s", "KILL"]]
)
def test_a_paused_container_can_be_ended(sampan: Sampan, words: list[str]) -> None:
    command = "trap 'exit 3' TERM; while :; do sleep 0.02; done"
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sh", "-c", command)
    time.sleep(0.2)
    monitor = sampan.state("c")["ConmonPid"]
    sampan.text("pause", "c")
    begun = time.monotonic()
    sampan.text(*words, "c")
    assert time.monotonic() - begun < 4
    if words[0] == "rm":
        assert sampan.text("ps", "-aq") == ""
    else:
        assert sampan.state("c")["ExitCode"] == (3 if words[0] == "stop" else 137)
    assert until(lambda: ended(monitor), 2)


def test_a_pause_ends_with_the_run(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sleep", "100")
    sampan.text("pause", "c")
    sampan.text("kill", "c")
    sampan.text("start", "c")
    assert sampan.state("c")["Status"] == "running"


def test_top_shows_the_container_s_own_numbers(sampan: Sampan) -> None:
    single = f"{os.environ.get('USER')}:" not in Path("/etc/subuid").read_text()
    user = "root" if single else "user"
    sampan.text(
        "run", "-d", "-t", "--name", "c", "-u", user, BUSYBOX, "sh", "-c", "sleep 77 & wait"
    )
    assert until(lambda: "sleep 77" in sampan.text("top", "c"))
    heading, *rows = sampan.text("top", "c").splitlines()
    assert heading.split() == ["USER", "PID", "PPID", "%CPU", "ELAPSED", "TTY", "TIME", "COMMAND"]
    assert [row.split()[:3] for row in rows] == [[user, "1", "0"], [user, rows[1].split()[1], "1"]]
    assert rows[0].split()[5] == "pts/0" and rows[1].endswith("sleep 77")
    pid = str(sampan.state("c")["Pid"])
    shown = sampan.text("top", "c", "hpid,pid,huser,comm,state,seccomp").splitlines()
    assert shown[0].split() == ["HPID", "PID", "HUSER", "COMMAND", "STATE", "SECCOMP"]
    assert shown[1].split()[:2] == [pid, "1"] and shown[1].split()[-1] == "filter"
    uid = Path(f"/proc/{pid}").stat().st_uid
    assert shown[1].split()[2] in (str(uid), os.environ["USER"])
    by_ps = sampan.text("top", "c", "-eo", "pid,comm").splitlines()
    assert by_ps[0].split() == ["PID", "COMMAND"] and by_ps[1].split()[0] == pid
    assert len(by_ps) == 3
    assert "huser" in sampan.text("top", "--list-descriptors").split()
    sampan.text("stop", "-t", "0", "c")
    assert sampan("top", "c").returncode == 125


def test_stats_against_the_kernel(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sh", "-c", "while :; do :; done")
    sampan.text("run", "-d", "--name", "idle", BUSYBOX, "sleep", "100")
    pid = sampan.state("c")["Pid"]
    before, begun = _ticks(pid), time.monotonic()
    rows = json.loads(sampan.text("stats", "--no-stream", "--format", "json"))
    share = 100 * (_ticks(pid) - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)
    found = {row["name"]: row for row in rows}
    assert set(found) == {"c", "idle"} and found["c"]["pids"] == "1"
    assert abs(float(found["c"]["cpu_percent"].rstrip("%")) - share) < 30
    assert float(found["idle"]["cpu_percent"].rstrip("%")) < 5
    assert re.fullmatch(r"[\d.]+[kM]B / [\d.]+GB", found["c"]["mem_usage"])
    heading = sampan.text("stats", "--no-stream", "idle").splitlines()[0]
    assert heading.split("  ")[0] == "ID" and "MEM USAGE / LIMIT" in heading
    assert (
        sampan.text("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "idle") == "idle 1"
    )
    sampan.text("create", "--name", "new", BUSYBOX, "true")
    assert "new" in sampan.text(
        "stats", "--no-stream", "--all", "--format", "{{.Name}} {{.CPUPerc}}"
    )
    assert sampan("stats", "--no-stream", "new").returncode == 125
    assert sampan("stats", "--no-stream", "nobody").returncode == 125


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_stats_of_memory_grow_with_it(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "tail", "-c", "40000000", "/dev/zero")
    assert until(lambda: _memory(sampan) > 30_000_000)


def _memory(sampan: Sampan) -> int:
    return int(
        sampan.text("stats", "--no-stream", "--format", "{{.MemUsageBytes}}", "c").split()[0]
    )


def test_a_name_is_changed_while_it_runs(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "old", BUSYBOX, "sleep", "100")
    sampan.text("create", "--name", "taken", BUSYBOX, "true")
    assert sampan("rename", "old", "taken").returncode == 125
    assert sampan("rename", "old", "a/b").returncode == 125
    assert sorted(sampan.text("ps", "-a", "--format", "{{.Names}}").split()) == ["old", "taken"]
    sampan.text("rename", "old", "new")
    assert sampan.text("exec", "new", "echo", "x") == "x"
    assert sampan("inspect", "old").returncode == 125
    sampan.text("run", "--rm", "--name", "old", BUSYBOX, "true")
    sampan.text("rm", "-f", "-t", "0", "new")
    assert sampan.text("ps", "-a", "--format", "{{.Names}}") == "taken"
    sampan.text("run", "-d", "--rm", "--name", "brief", BUSYBOX, "sleep", "0.5")
    sampan.text("rename", "brief", "other")
    assert until(lambda: sampan("container", "exists", "other").returncode == 1)
    sampan.text("rm", "taken")
    assert sampan.leftovers() == []


def test_ports_of_a_container_that_has_none(sampan: Sampan) -> None:
    sampan.text("create", "--name", "c", BUSYBOX, "true")
    assert sampan.text("port", "c") == "" and sampan.text("port", "--all") == ""
    for words in (["c", "80"], ["c", "80/udp"], ["c", "x"], ["nobody"], []):
        assert sampan("port", *words).returncode == 125
