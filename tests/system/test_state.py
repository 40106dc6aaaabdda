"""Containers over time: stop, start, logs, and what is known after anything was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from system_tools import BUSYBOX, DEBIAN, Sampan, ended, until


def test_a_file_survives_stop_and_start(sampan: Sampan) -> None:
    sampan.text(
        "run",
        "-d",
        "--name",
        "c",
        BUSYBOX,
        "sh",
        "-c",
        "echo $(($(cat /n 2>/dev/null) + 1)) > /n; cat /n; sleep 100",
    )
    assert until(lambda: sampan.text("logs", "c") == "1")
    sampan.text("stop", "-t", "0", "c")
    assert sampan.state("c")["Status"] == "exited" and sampan.state("c")["ExitCode"] == 137
    sampan.text("start", "c")
    assert until(lambda: sampan.text("logs", "c") == "1\n2")


def test_a_killed_monitor_is_noticed(sampan: Sampan) -> None:
    """The container dies with it, the end is called unknown, and everything else still works."""
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sh", "-c", "echo kept > /f; sleep 100")
    state = sampan.state("c")
    assert until(lambda: state["Pid"] > 0)
    time.sleep(0.3)
    os.kill(state["ConmonPid"], signal.SIGKILL)
    assert until(lambda: sampan.state("c")["Status"] == "exited", 2)
    after = sampan.state("c")
    assert after["ExitCode"] == -1 and after["ExitCodeKnown"] is False
    assert "Exited (unknown)" in sampan.text("ps", "-a")
    assert ended(state["Pid"])
    sampan.text("start", "c")
    sampan.text("stop", "-t", "0", "c")
    sampan.text("rm", "c")


def test_a_killed_command_leaves_the_container(sampan: Sampan) -> None:
    process = sampan.spawn(
        "run", "--name", "c", BUSYBOX, "sh", "-c", "echo ready; sleep 100", stdout=subprocess.PIPE
    )
    assert process.stdout and process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    assert sampan.state("c")["Status"] == "running"
    sampan.text("rm", "-f", "c")


def test_a_reused_pid_is_never_signalled(sampan: Sampan) -> None:
    """A record whose pid now belongs to another process: the container is not running."""
    container = sampan.text("run", "-d", BUSYBOX, "sleep", "100")
    sampan.text("stop", "-t", "0", container)
    directory = sampan.root / "containers" / container
    bystander = subprocess.Popen(["sleep", "100"])
    try:
        run = json.loads((directory / "run.json").read_text())
        run["pid"] = bystander.pid
        (directory / "run.json").write_text(json.dumps(run))
        (directory / "exit.json").unlink()
        assert sampan.state(container)["Status"] == "exited"
        assert sampan("kill", container).returncode == 125
        sampan.text("stop", container)
        sampan.text("rm", "-f", container)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_another_boot(sampan: Sampan) -> None:
    """After a reboot everything shows exited, and starts again."""
    container = sampan.text("run", "-d", BUSYBOX, "sleep", "100")
    path = sampan.root / "containers" / container / "run.json"
    run = json.loads(path.read_text())
    os.kill(run["monitor"], signal.SIGKILL)
    run["boot"] = "00000000-0000-0000-0000-000000000000"
    run["pid"] = os.getpid()
    run["start_time"] = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
    path.write_text(json.dumps(run))
    assert sampan.state(container)["Status"] == "exited"
    sampan.text("start", container)
    assert sampan.state(container)["Status"] == "running"


def test_logs_are_exact(sampan: Sampan) -> None:
    script = (
        "printf 'no newline'; printf '\\nnul\\0 \\377 byte\\n'; echo err >&2; "
        "head -c 200000 /dev/zero | tr '\\0' x; printf end"
    )
    result = sampan("run", "--name", "c", BUSYBOX, "sh", "-c", script)
    logs = sampan("logs", "c")
    assert logs.stdout == result.stdout and len(logs.stdout) > 200_000
    assert logs.stderr == b"err\n"
    assert result.stdout.startswith(b"no newline\nnul\0 \xff byte\n") and result.stdout.endswith(
        b"xend"
    )


@pytest.mark.parametrize("driver", ["k8s-file", "json-file"])
def test_log_selection(sampan: Sampan, driver: str) -> None:
    sampan.text(
        "run",
        "--log-driver",
        driver,
        "--name",
        "c",
        BUSYBOX,
        "sh",
        "-c",
        "for i in 1 2 3 4 5; do echo $i; done",
    )
    assert sampan.text("logs", "--tail", "2", "c") == "4\n5"
    assert sampan.text("logs", "--tail", "0", "c") == ""
    assert sampan.text("logs", "--since", "1h", "c") == "1\n2\n3\n4\n5"
    assert sampan.text("logs", "--until", "1h", "c") == ""
    line = sampan.text("logs", "-t", "--tail", "1", "c")
    assert line.startswith("20") and line.endswith(" 5")


def test_follow_ends_after_the_last_byte(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sh", "-c",
                "trap 'echo bye; exit' TERM; echo hi; while :; do sleep 0.05; done")  # fmt: skip
    follower = sampan.spawn("logs", "-f", "c", stdout=subprocess.PIPE)
    assert follower.stdout and follower.stdout.readline() == b"hi\n"
    sampan.text("stop", "c")
    assert follower.stdout.read() == b"bye\n" and follower.wait(10) == 0


def test_no_log(sampan: Sampan) -> None:
    assert sampan.text("run", "--log-driver", "none", "--name", "c", BUSYBOX, "echo", "x") == "x"
    assert sampan("logs", "c").returncode == 125


def test_seen_from_another_shell(sampan: Sampan) -> None:
    """While a foreground container runs, its record and log are there."""
    process = sampan.spawn(
        "run",
        "--rm",
        "--name",
        "seen",
        BUSYBOX,
        "sh",
        "-c",
        "echo a; sleep 1",
        stdout=subprocess.PIPE,
    )
    assert process.stdout and process.stdout.readline() == b"a\n"
    assert sampan.text("ps", "--format", "{{.Names}}") == "seen"
    assert sampan.text("logs", "seen") == "a"
    assert process.wait(10) == 0
    assert sampan.text("ps", "-aq") == ""


def test_stop_waits_and_kills(sampan: Sampan) -> None:
    sampan.text(
        "run",
        "-d",
        "--name",
        "polite",
        BUSYBOX,
        "sh",
        "-c",
        "trap 'exit 5' TERM; while :; do sleep 0.05; done",
    )
    time.sleep(0.3)
    sampan.text("stop", "polite")
    assert sampan.state("polite")["ExitCode"] == 5
    sampan.text("run", "-d", "--name", "deaf", BUSYBOX, "sleep", "100")
    begun = time.monotonic()
    sampan.text("stop", "-t", "1", "deaf")
    assert 0.9 < time.monotonic() - begun < 3
    assert sampan.state("deaf")["ExitCode"] == 137
    assert sampan("run", "--stop-signal", "NONSENSE", BUSYBOX, "true").returncode == 125


def test_stop_signals(sampan: Sampan) -> None:
    for given, number in (("SIGRTMIN+3", 37), ("37", 37), ("USR2", 12)):
        sampan.text("create", "--name", "s", "--stop-signal", given, BUSYBOX)
        assert sampan.text("inspect", "-f", "{{.Config.StopSignal}}", "s") == str(number)
        sampan.text("rm", "s")


def test_wait_and_kill(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "w", BUSYBOX, "sh", "-c", "sleep 0.5; exit 7")
    assert sampan.text("wait", "w") == "7"
    sampan.text("run", "-d", "--name", "k", BUSYBOX, "sleep", "100")
    sampan.text("kill", "k")
    assert sampan.text("wait", "k") == "137"
    assert sampan("kill", "k").returncode == 125


def test_remove(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "r", BUSYBOX, "sleep", "100")
    refused = sampan("rm", "r")
    assert refused.returncode == 2 and b"without force" in refused.stderr
    assert sampan("rm", "absent").returncode == 1
    assert sampan("rm", "--ignore", "absent").returncode == 0
    assert sampan("rm", "-f", "absent").returncode == 0
    sampan.text("rm", "-f", "-t", "0", "r")
    assert sampan.text("ps", "-aq") == ""


def test_containers_are_found_by_name_and_prefix(sampan: Sampan) -> None:
    container = sampan.text("create", "--name", "finder", BUSYBOX)
    for word in ("finder", container, container[:6]):
        assert sampan.text("inspect", "-f", "{{.Id}}", word) == container
    assert sampan("container", "exists", "finder").returncode == 0
    assert sampan("container", "exists", "nobody").returncode == 1


def test_ps_columns_and_filters(sampan: Sampan) -> None:
    sampan.text("create", "--name", "one", "--label", "tier=a", BUSYBOX)
    sampan.text("run", "-d", "--name", "two", BUSYBOX, "sleep", "100")
    heading = sampan.text("ps").splitlines()[0].split()
    assert heading == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert sampan.text("ps", "--format", "{{.Names}}") == "two"
    assert sampan.text("ps", "-a", "--filter", "label=tier=a", "--format", "{{.Names}}") == "one"
    assert sampan.text("ps", "-a", "--filter", "status=created", "--format", "{{.Names}}") == "one"
    rows = json.loads(sampan.text("ps", "-a", "--format", "json"))
    assert {row["Names"] if isinstance(row["Names"], str) else row["Names"][0] for row in rows} == {
        "one",
        "two",
    }


def test_racing_creators_of_one_name(sampan: Sampan) -> None:
    for _ in range(5):
        racers = [sampan.spawn("create", "--name", "prize", BUSYBOX, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                  for _ in range(8)]  # fmt: skip
        codes = sorted(racer.wait(60) for racer in racers)
        for racer in racers:
            racer.communicate()
        assert codes == [0] + [125] * 7
        sampan.text("rm", "prize")


def test_fifty_at_once(sampan: Sampan) -> None:
    runs = [
        sampan.spawn("run", "--rm", BUSYBOX, "echo", str(n), stdout=subprocess.PIPE)
        for n in range(50)
    ]
    for number, process in enumerate(runs):
        assert process.communicate(timeout=120)[0] == f"{number}\n".encode()
        assert process.returncode == 0
    assert sampan.text("ps", "-aq") == ""


def test_an_end_is_never_unknown_while_its_monitor_lives(sampan: Sampan) -> None:
    """Between the death of the first process and the record of it, and at a start right after."""
    sampan.text("create", "--name", "quick", BUSYBOX, "true")
    for _ in range(15):
        sampan.text("start", "quick")
        state = sampan.state("quick")
        assert state["Status"] in ("running", "exited") and state["ExitCodeKnown"], state
    assert until(lambda: sampan.state("quick")["Status"] == "exited")
    assert sampan.state("quick")["ExitCode"] == 0


def test_a_stopped_holder_of_a_lock_is_named(sampan: Sampan) -> None:
    """Who waits is told for whom; lists take no lock; the wait ends when the holder does."""
    code = (
        "import fcntl, os, sys, time; fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX);"
        "print(); time.sleep(99)"
    )
    sampan.text("create", "--name", "first", BUSYBOX, "true")
    command = [sys.executable, "-uc", code, str(sampan.root / "names/.lock")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline()
    holder.send_signal(signal.SIGSTOP)
    try:
        waiting = sampan.spawn(
            "create", "--name", "c", BUSYBOX, "true", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert waiting.stderr
        told = waiting.stderr.readline().decode()
        assert (
            told == f"sampan: waiting for the container names, which process {holder.pid} holds\n"
        )
        assert sampan.text("ps", "-a", "--format", "{{.Names}}") == "first"
        assert waiting.poll() is None
    finally:
        holder.kill()
        holder.wait()
    out, error = waiting.communicate(timeout=20)
    assert (waiting.returncode, error) == (0, b"") and len(out.strip()) == 64
    sampan.text("rm", "c", "first")


def test_a_container_that_is_being_read_cannot_be_started(sampan: Sampan) -> None:
    """The reader has its root mounted; a second mount would not see the same."""
    sampan.text("create", "--name", "c", DEBIAN, "sleep", "100")
    reader = sampan.spawn("export", "c", stdout=subprocess.PIPE)
    assert reader.stdout and reader.stdout.read(1 << 16)
    try:
        result = sampan("start", "c")
        told = result.stderr.decode()
        assert result.returncode == 125 and "reads its file system" in told, told
        assert sampan("diff", "c").returncode == 0, "others may read it, too"
    finally:
        reader.kill()
        reader.communicate()
    assert until(lambda: sampan("start", "c").returncode == 0)
    assert sampan.text("exec", "c", "echo", "works") == "works"
    sampan.text("rm", "-f", "-t", "0", "c")
