"""Health checks: run by the monitor, without systemd."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from system_tools import BUSYBOX, Sampan, ended, until


def health(sampan: Sampan, name: str = "c") -> dict[str, Any]:
    found: dict[str, Any] = sampan.state(name)["Health"]
    return found


def run(sampan: Sampan, *words: str, command: str = "sleep 100") -> None:
    sampan.text("run", "-d", "--name", "c", *words, BUSYBOX, "sh", "-c", command)


def test_from_starting_to_unhealthy_to_healthy(sampan: Sampan) -> None:
    run(
        sampan,
        "--health-cmd",
        "echo seen; test -e /ok",
        "--health-interval",
        "200ms",
        "--health-retries",
        "3",
    )
    assert health(sampan)["Status"] == "starting"
    assert "(starting)" in sampan.text("ps", "--format", "{{.Status}}")
    assert sampan.text("wait", "--condition", "unhealthy", "c") == "-1"
    found = health(sampan)
    assert found["FailingStreak"] >= 3 and found["Log"][-1]["ExitCode"] == 1
    assert found["Log"][-1]["Output"] == "seen\n"
    assert sampan.text("ps", "-q", "--filter", "health=unhealthy")
    assert sampan("healthcheck", "run", "c").returncode == 1
    sampan.text("exec", "c", "touch", "/ok")
    assert sampan("healthcheck", "run", "c").returncode == 0
    assert health(sampan)["Status"] == "healthy" and health(sampan)["FailingStreak"] == 0
    assert len(health(sampan)["Log"]) <= 5
    told = sampan.text(
        "events",
        "--stream=false",
        "--filter",
        "event=health_status",
        "--format",
        "{{.HealthStatus}}",
    )
    assert told.split()[-2:] == ["unhealthy", "healthy"]


def test_a_start_period_forgives(sampan: Sampan) -> None:
    run(
        sampan,
        "--health-cmd",
        "false",
        "--health-interval",
        "100ms",
        "--health-retries",
        "1",
        "--health-start-period",
        "1s",
    )
    time.sleep(0.5)
    assert health(sampan)["Status"] == "starting" and len(health(sampan)["Log"]) >= 2
    assert until(lambda: health(sampan)["Status"] == "unhealthy", 3)


def test_a_check_that_takes_too_long_is_ended(sampan: Sampan) -> None:
    run(
        sampan,
        "--health-cmd",
        "sleep 77 | cat",
        "--health-interval",
        "100ms",
        "--health-timeout",
        "300ms",
        "--health-retries",
        "1",
    )
    assert until(lambda: health(sampan)["Status"] == "unhealthy", 3)
    assert health(sampan)["Log"][0]["ExitCode"] == -1
    assert "exceeded timeout (0.3s)" in health(sampan)["Log"][0]["Output"]
    sampan.text("exec", "c", "true")
    assert until(lambda: sampan.text("exec", "c", "ps").count("sleep 77") <= 2), (
        "the shell's words and one sleep"
    )


@pytest.mark.parametrize("action", ["kill", "stop", "restart"])
def test_what_follows_from_a_bad_one(sampan: Sampan, action: str) -> None:
    run(
        sampan,
        "--health-cmd",
        "false",
        "--health-interval",
        "100ms",
        "--health-retries",
        "1",
        "--health-on-failure",
        action,
        command="trap 'exit 5' TERM; while :; do sleep 0.05; done",
    )
    if action == "restart":
        assert until(lambda: json.loads(sampan.text("inspect", "c"))[0]["RestartCount"] >= 1, 5)
        return
    assert sampan.text("wait", "c") == {"kill": "137", "stop": "5"}[action]


def test_of_the_image_and_none(sampan: Sampan) -> None:
    """HEALTHCHECK of the image counts, flags win over it, and --no-healthcheck over both."""
    sampan.text("run", "--name", "base", BUSYBOX, "true")
    change = 'HEALTHCHECK --interval=1s --retries=2 CMD ["test", "-e", "/ok"]'
    sampan.text("commit", "-q", "-c", change, "base", "localhost/checked")
    sampan.text("run", "-d", "--name", "c", "localhost/checked", "sleep", "100")
    document = json.loads(sampan.text("inspect", "c"))[0]["Config"]["Healthcheck"]
    assert document["Test"] == ["CMD", "test", "-e", "/ok"]
    assert (document["Interval"], document["Retries"]) == (1_000_000_000, 2)
    sampan.text("run", "-d", "--name", "d", "--no-healthcheck", "localhost/checked", "sleep", "100")
    assert health(sampan, "d")["Status"] == ""
    assert sampan("healthcheck", "run", "d").returncode == 125
    sampan.text(
        "run",
        "-d",
        "--name",
        "e",
        "--health-interval",
        "100ms",
        "--health-cmd",
        "true",
        "localhost/checked",
        "sleep",
        "100",
    )
    assert until(lambda: health(sampan, "e")["Status"] == "healthy", 3)
    sampan.text("rm", "-f", "-t", "0", "base", "c", "d", "e")
    sampan.text("rmi", "localhost/checked")


def test_as_the_container_s_user_with_its_environment(sampan: Sampan) -> None:
    user = "root" if _single() else "user"
    check = ["--health-cmd", "id -un; echo $WORD", "--health-interval", "100ms"]
    run(sampan, "-u", user, "-e", "WORD=seen", *check)
    assert until(lambda: bool(health(sampan)["Log"]))
    assert health(sampan)["Log"][0]["Output"] == f"{user}\nseen\n"


def _single() -> bool:
    return f"{os.environ.get('USER')}:" not in Path("/etc/subuid").read_text()


def test_nothing_is_left_of_a_check(sampan: Sampan) -> None:
    """The container ends during a check: so does the check, and the monitor."""
    run(sampan, "--health-cmd", "sleep 50", "--health-interval", "50ms", command="sleep 0.6")
    monitor = sampan.state("c")["ConmonPid"]
    assert sampan.text("wait", "c") == "0"
    assert until(lambda: ended(monitor), 2)


def test_a_monitor_that_checks_is_idle(sampan: Sampan) -> None:
    """Under 1 % of a processor with a check a second."""
    run(sampan, "--health-cmd", "true", "--health-interval", "1s")
    monitor = sampan.state("c")["ConmonPid"]
    before = _used(monitor)
    time.sleep(3)
    assert (_used(monitor) - before) / 3 < 0.05  # on a busy machine; a loop would use all of it


def _used(pid: int) -> float:
    """Seconds on a processor, exactly: a clock tick is 10 ms, and hits whoever runs then."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def test_words_that_are_refused(sampan: Sampan) -> None:
    for words in (
        ["--health-interval", "1s"],
        ["--health-cmd", "true", "--health-retries", "0"],
        ["--health-cmd", "true", "--health-interval", "soon"],
        ["--health-cmd", "true", "--health-on-failure", "cry"],
        ["--health-cmd", "true", "--no-healthcheck"],
        ["--health-cmd", "[1]"],
    ):
        result = sampan("run", *words, BUSYBOX, "true")
        assert result.returncode == 125, words
        assert result.stderr.count(b"\n") == 1
    assert sampan.text("ps", "-aq") == ""
