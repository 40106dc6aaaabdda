"""Restart policies: who is started again, how often, and what stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from system_tools import BUSYBOX, Sampan, ended, until


def status(sampan: Sampan, name: str) -> str:
    return sampan.text("ps", "-a", "--filter", f"name={name}", "--format", "{{.Status}}")


def test_on_failure_is_tried_as_often_as_it_says(sampan: Sampan) -> None:
    sampan.text(
        "run",
        "-d",
        "--name",
        "c",
        "--restart",
        "on-failure:2",
        BUSYBOX,
        "sh",
        "-c",
        "echo x; exit 3",
    )
    assert sampan.text("wait", "c") == "3"
    assert sampan.text("logs", "c") == "x\nx\nx"
    document = json.loads(sampan.text("inspect", "c"))[0]
    assert document["RestartCount"] == 2
    assert document["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert document["State"]["Status"] == "exited" and document["State"]["ExitCode"] == 3


def test_on_failure_leaves_a_success_alone(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", "--restart", "on-failure", BUSYBOX, "echo", "x")
    assert sampan.text("wait", "c") == "0"
    time.sleep(0.3)
    assert sampan.text("logs", "c") == "x"
    assert sampan.state("c")["Status"] == "exited"


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_always_keeps_files_streams_and_log(sampan: Sampan, policy: str) -> None:
    """The writable layer stays, `logs -f` goes on through the restarts, and ends with the last one."""
    sampan.text(
        "run",
        "-d",
        "--name",
        "c",
        "--restart",
        policy,
        BUSYBOX,
        "sh",
        "-c",
        "n=$(($(cat /n 2>/dev/null) + 1)); echo $n | tee /n; [ $n -lt 3 ] || sleep 100",
    )
    follower = sampan.spawn("logs", "-f", "c", stdout=subprocess.PIPE)
    assert follower.stdout
    assert [follower.stdout.readline() for _ in range(3)] == [b"1\n", b"2\n", b"3\n"]
    assert until(lambda: sampan.state("c")["Status"] == "running")
    assert follower.poll() is None
    sampan.text("stop", "-t", "0", "c")
    assert follower.communicate(timeout=5)[0] == b""
    time.sleep(0.3)
    assert sampan.state("c")["Status"] == "exited", "what the user stops stays stopped"
    assert sampan.text("logs", "c") == "1\n2\n3"


def test_stop_while_it_waits(sampan: Sampan) -> None:
    """Between two runs: `ps` says Restarting, `stop` does not wait for the next one, `rm` wants force."""
    sampan.text("run", "-d", "--name", "c", "--restart", "always", BUSYBOX, "sh", "-c", "exit 7")
    assert until(lambda: json.loads(sampan.text("inspect", "c"))[0]["RestartCount"] >= 4)
    assert until(lambda: status(sampan, "c").startswith("Restarting (7)"))  # for 1.6 s
    assert sampan.state("c")["Restarting"] is True
    assert "c" in sampan.text("ps", "--format", "{{.Names}}")
    assert sampan("exec", "c", "true").returncode == 125
    assert sampan("rm", "c").returncode == 2
    begun = time.monotonic()
    sampan.text("stop", "c")
    assert time.monotonic() - begun < 2
    assert sampan.state("c")["Status"] == "exited"
    runs = 1 + json.loads(sampan.text("inspect", "c"))[0]["RestartCount"]
    told = sampan.text(
        "events",
        "--stream=false",
        "--since",
        "30s",
        "--filter",
        "container=c",
        "--format",
        "{{.Status}}",
    )
    last = told.split()[-runs * 2 - 1 :]  # an end for every run, told once
    assert last.count("died") == runs, told
    sampan.text("start", "c")
    assert until(lambda: sampan.state("c")["Restarting"])
    sampan.text("rm", "-f", "c")
    assert sampan.leftovers() == []


def test_stop_at_any_moment(sampan: Sampan) -> None:
    """A container that ends and begins all the time: whenever `stop` comes, it is the last word."""
    for turn in range(8):
        sampan.text("run", "-d", "--name", "c", "--restart", "always", BUSYBOX, "sleep", "0.02")
        time.sleep(0.05 * turn)
        monitor = sampan.state("c")["ConmonPid"]
        sampan.text("stop", "-t", "1", "c")
        assert sampan.state("c")["Status"] == "exited", turn
        assert until(lambda pid=monitor: ended(pid), 2)  # type: ignore[misc]
        sampan.text("rm", "c")


def test_a_kill_is_final_and_a_death_is_not(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", "--restart", "always", BUSYBOX, "sleep", "100")
    os.kill(sampan.state("c")["Pid"], signal.SIGKILL)
    assert until(lambda: json.loads(sampan.text("inspect", "c"))[0]["RestartCount"] == 1)
    assert until(lambda: sampan.state("c")["Status"] == "running")
    sampan.text("kill", "c")
    time.sleep(0.4)
    assert sampan.state("c")["Status"] == "exited"


def test_the_foreground_hears_of_the_first_end(sampan: Sampan) -> None:
    result = sampan(
        "run", "--name", "c", "--restart", "on-failure:1", BUSYBOX, "sh", "-c", "echo x; exit 4"
    )
    assert (result.returncode, result.stdout) == (4, b"x\n")
    assert sampan.text("wait", "c") == "4"
    assert sampan.text("logs", "c") == "x\nx"


def test_a_killed_monitor_restarts_nothing(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", "--restart", "always", BUSYBOX, "sleep", "100")
    state = sampan.state("c")
    os.kill(state["ConmonPid"], signal.SIGKILL)
    assert until(lambda: sampan.state("c")["Status"] == "exited", 2)
    assert ended(state["Pid"])
    assert status(sampan, "c").startswith("Exited (unknown)")


def test_who_starts_after_a_boot(sampan: Sampan) -> None:
    """always; unless-stopped unless it was; never one that was never started, or has no policy."""
    for name, policy in (
        ("a", "always"),
        ("u", "unless-stopped"),
        ("w", "unless-stopped"),
        ("n", "no"),
    ):
        sampan.text("run", "-d", "--name", name, "--restart", policy, BUSYBOX, "sleep", "100")
    sampan.text("create", "--name", "new", "--restart", "always", BUSYBOX, "true")
    sampan.text("stop", "-t", "0", "a", "u")
    for name in ("w", "n"):  # as a power cut leaves it
        os.kill(sampan.state(name)["ConmonPid"], signal.SIGKILL)
    assert until(lambda: sampan.text("ps", "-q") == "", 3)
    told = sampan.text("start", "--all", "--filter", "should-start-on-boot=true").split()
    running = sampan.text("ps", "--format", "{{.Names}}").split()
    assert sorted(running) == ["a", "w"] and len(told) == 2


def test_words_that_are_refused(sampan: Sampan) -> None:
    for words in (
        ["--restart", "maybe"],
        ["--restart", "always:3"],
        ["--restart", "on-failure:x"],
        ["--rm", "--restart", "always"],
    ):
        result = sampan("run", *words, BUSYBOX, "true")
        assert result.returncode == 125 and result.stdout == b"", words
    assert sampan.text("ps", "-aq") == ""


def test_wait_hears_of_a_container_that_is_removed(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--rm", "--name", "c", BUSYBOX, "sh", "-c", "sleep 0.3; exit 9")
    assert sampan.text("wait", "c") == "9"


def restarts(sampan: Sampan, name: str) -> int:
    count: int = json.loads(sampan.text("inspect", name))[0]["RestartCount"]
    return count


@pytest.mark.parametrize("policy", ["always", "unless-stopped", "on-failure:2"])
def test_a_policy_that_is_given_to_a_running_container(sampan: Sampan, policy: str) -> None:
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sleep", "100")
    assert sampan.text("update", "--restart", policy, "c")
    os.kill(sampan.state("c")["Pid"], signal.SIGKILL)
    assert until(lambda: restarts(sampan, "c") == 1)
    assert until(lambda: sampan.state("c")["Status"] == "running")
    name, _, count = policy.partition(":")
    document = json.loads(sampan.text("inspect", "c"))[0]
    told = document["HostConfig"]["RestartPolicy"]
    assert told == {"Name": name, "MaximumRetryCount": int(count or 0)}
    sampan.text("stop", "-t", "0", "c")
    time.sleep(0.3)
    assert sampan.state("c")["Status"] == "exited"


def test_a_policy_that_is_taken_from_a_running_container(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", "--restart", "always", BUSYBOX, "sleep", "100")
    monitor = sampan.state("c")["ConmonPid"]
    sampan.text("update", "--restart", "no", "c")
    os.kill(sampan.state("c")["Pid"], signal.SIGKILL)
    assert until(lambda: ended(monitor))
    assert sampan.state("c")["Status"] == "exited" and restarts(sampan, "c") == 0


@pytest.mark.parametrize(
    "policy, ends", [("no", True), ("on-failure:2", True), ("on-failure", False), ("always", False)]
)
def test_a_policy_that_comes_between_two_runs(sampan: Sampan, policy: str, ends: bool) -> None:
    """The monitor asks again when the next run is due, here after 0.8 s."""
    sampan.text("run", "-d", "--name", "c", "--restart", "always", BUSYBOX, "sh", "-c", "exit 7")
    assert until(lambda: restarts(sampan, "c") >= 3 and sampan.state("c")["Restarting"])
    count, monitor = restarts(sampan, "c"), sampan.state("c")["ConmonPid"]
    sampan.text("update", "--restart", policy, "c")
    if ends:
        assert until(lambda: ended(monitor))
        assert restarts(sampan, "c") == count
        state = sampan.state("c")
        assert (state["Status"], state["ExitCode"]) == ("exited", 7)
    else:
        assert until(lambda: restarts(sampan, "c") > count)
    sampan.text("rm", "-f", "c")


def test_a_policy_of_a_success(sampan: Sampan) -> None:
    """on-failure, given while it runs, leaves the status 0 alone; the policy of a stopped one counts from its start."""
    sampan.text(
        "run", "-d", "--name", "c", BUSYBOX, "sh", "-c", "until [ -e /go ]; do sleep .05; done"
    )
    sampan.text("update", "--restart", "on-failure", "c")
    sampan.text("exec", "c", "touch", "/go")
    assert sampan.text("wait", "c") == "0"
    time.sleep(0.3)
    assert sampan.state("c")["Status"] == "exited"
    sampan.text("update", "--restart", "always", "c")
    sampan.text("start", "c")
    assert until(lambda: restarts(sampan, "c") >= 1)
    sampan.text("rm", "-f", "c")


def test_update_of_a_policy_is_refused(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--rm", "--name", "c", BUSYBOX, "sleep", "100")
    for words in (["--restart", "maybe"], ["--restart", "always"], []):
        result = sampan("update", *words, "c")
        assert result.returncode == 125 and result.stderr.count(b"\n") == 1, words
    sampan.text("rm", "-f", "-t", "0", "c")
