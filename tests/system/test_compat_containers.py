"""The verbs on containers: --latest, --filter, restart, what is printed, and podman's words and statuses."""

from __future__ import annotations

import time

import pytest

from system_tools import BUSYBOX, Sampan, until

TRAP = "trap 'echo stopped; exit' TERM; echo ready; while :; do sleep 0.1; done"
DEAF = "trap 'echo deaf' TERM; echo ready; while :; do sleep 0.1; done"


def ready(sampan: Sampan, name: str) -> None:
    assert until(lambda: b"ready" in sampan("logs", name).stdout)


def error(sampan: Sampan, *words: str, status: int = 125) -> str:
    result = sampan(*words)
    assert result.returncode == status, (words, result.returncode, result.stderr)
    return result.stderr.decode().rstrip("\n")


@pytest.mark.parametrize(
    ("verb", "status"),
    [("rm", 1), ("stop", 125), ("kill", 125), ("start", 125), ("restart", 125), ("wait", 125), ("logs", 125)],
)  # fmt: skip
def test_a_missing_container(sampan: Sampan, verb: str, status: int) -> None:
    text = error(sampan, verb, "bogus", status=status)
    assert text == 'Error: no container with name or ID "bogus" found: no such container'
    if verb in ("rm", "stop"):
        assert sampan.text(verb, "--ignore", "bogus") == ""


def test_latest(sampan: Sampan) -> None:
    sampan.text("create", "--name", "first", BUSYBOX, "true")
    second = sampan.text("run", "-d", "--name", "second", BUSYBOX, "sh", "-c", TRAP)
    ready(sampan, "second")
    assert sampan.text("exec", "-l", "echo", "x") == "x"
    assert sampan.text("logs", "-l") == "ready"
    assert sampan.text("inspect", "-l", "--format", "{{.Name}}") == "second"
    assert sampan.text("stop", "-l") == second
    assert sampan.text("wait", "-l") == "0"
    assert sampan.text("rm", "-l") == second
    for verb in ("rm", "stop", "kill", "start", "restart"):
        text = error(sampan, verb, "--latest", "first")
        assert "--latest and containers cannot be used together" in text
        assert "--all and --latest cannot be used together" in error(sampan, verb, "--all", "-l")


def test_restart(sampan: Sampan) -> None:
    name = sampan.text("run", "-d", "--name", "r", BUSYBOX, "sh", "-c", TRAP)
    ready(sampan, "r")
    pid = sampan.state("r")["Pid"]
    assert sampan.text("restart", "r") == "r"
    assert sampan.state("r")["Running"] and sampan.state("r")["Pid"] != pid
    assert until(lambda: sampan("logs", "r").stdout == b"ready\nstopped\nready\n")
    sampan.text("stop", "-t", "0", "r")
    assert sampan.text("restart", "--running") == ""
    assert sampan.text("restart", "--all", "-t", "0") == name
    sampan.text("run", "-d", "--rm", "--name", "gone", BUSYBOX, "sleep", "100")
    assert "is gone once it is stopped" in error(sampan, "restart", "gone")
    assert sampan.state("gone")["Running"]


def test_start_all_and_filters(sampan: Sampan) -> None:
    text = error(sampan, "start", "--all", "x")
    assert (
        text == "Error: either start all containers or the container(s) provided in the arguments"
    )
    good = sampan.text("run", "-d", "--name", "good", BUSYBOX, "true")
    sampan.text("run", "-d", "--name", "bad", BUSYBOX, "false")
    sampan.text("wait", "good", "bad")
    assert sampan.text("start", "--all", "--filter", "exited=0") == good
    assert sampan.text("start", "--filter", "restart-policy=always", "good") == ""
    assert sampan.text("start", "--filter", "restart-policy=none", "bad") == "bad"
    text = error(sampan, "start", "--filter", "restart-policy=fake", "bad")
    assert text == "Error: fake invalid restart policy"
    sampan("wait", "good", "bad")
    assert (
        sampan.text("ps", "--filter", "status=stopped", "--format", "{{.Names}}", "--sort", "names")
        == "bad\ngood"
    )
    shown = sampan.text("ps", "-a", "--format", "{{.Names}}", "--sort", "created")
    assert shown == "good\nbad"


def test_start_of_what_cannot_be_executed(sampan: Sampan) -> None:
    sampan.text("create", "--name", "no", BUSYBOX, "/no/such/command")
    assert sampan.text("wait", "no") in ("0", "-1")
    assert "/no/such/command" in error(sampan, "start", "no")


def test_removing_a_running_container(sampan: Sampan) -> None:
    name = sampan.text("run", "-d", "--name", "r", BUSYBOX, "sleep", "100")
    assert error(sampan, "rm", "r", status=2) == (
        f"Error: cannot remove container {name} as it is running - running or paused containers "
        "cannot be removed without force: container state improper"
    )
    assert sampan.text("rm", "-f", "-t", "0", "r") == "r"


def test_a_container_that_is_being_stopped(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "deaf", BUSYBOX, "sh", "-c", DEAF)
    ready(sampan, "deaf")
    stopping = sampan.spawn("stop", "-t", "20", "deaf")
    assert until(lambda: b"deaf" in sampan("logs", "deaf").stdout)
    assert sampan.state("deaf")["Status"] == "stopping" and not sampan.state("deaf")["Running"]
    began = time.monotonic()
    sampan.text("kill", "deaf")
    assert stopping.wait(10) == 0 and time.monotonic() - began < 5
    assert sampan.state("deaf")["Status"] == "exited" and sampan.state("deaf")["ExitCode"] == 137


def test_stop_tells_that_it_kills(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "s", BUSYBOX, "sleep", "100")
    told = sampan("stop", "--timeout", "1", "s").stderr.decode()
    assert (
        "StopSignal SIGTERM failed to stop container s in 1 seconds, resorting to SIGKILL" in told
    )


def test_wait_for_a_state(sampan: Sampan) -> None:
    sampan.text("create", "--name", "w", BUSYBOX, "sleep", "100")
    assert sampan.text("wait", "--condition", "created", "w") == "-1"
    waiting = sampan.spawn("wait", "--condition=running", "w")
    sampan.text("start", "w")
    assert waiting.wait(10) == 0
    assert "invalid condition" in error(sampan, "wait", "--condition=happy", "w")


def test_signals(sampan: Sampan) -> None:
    script = (
        'for i in 1 2 10; do trap "echo got $i" $i; done; echo ready; while :; do sleep 0.1; done'
    )
    sampan.text("run", "-d", "--name", "k", BUSYBOX, "sh", "-c", script)
    ready(sampan, "k")
    for signal, number in (("-1", 1), ("-INT", 2), ("SIGUSR1", 10)):
        sampan.text("kill", "-s", signal, "k")
        assert until(lambda told=f"got {number}\n": told.encode() in sampan("logs", "k").stdout)  # type: ignore[misc]
    for text in ("0", "BADSIG", "SIG", "%%", "''", "-0", "-"):
        told = error(sampan, "kill", "-s", text, "x")
        assert told == f"Error: invalid signal: {text.removeprefix('-')}"
    for text in ("65", "-65", "99999999"):
        assert error(sampan, "kill", "-s", text, "x") == "Error: valid signals are 1 through 64"


def test_several_logs(sampan: Sampan) -> None:
    ids = [
        sampan.text("run", "-d", "--name", name, BUSYBOX, "sh", "-c", f"{wait}; echo {name}")[:12]
        for name, wait in (("a", "sleep 0.2"), ("b", "sleep 1"))
    ]
    assert sampan.text("logs", "-f", "a", "b") == f"{ids[0]} a\n{ids[1]} b"
    assert sampan.text("logs", "-n", "a", "b") == "a a\nb b"
