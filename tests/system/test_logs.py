"""Logs over time: rotation, followers, and every byte."""

from __future__ import annotations

import subprocess
import textwrap
import time
from pathlib import Path

import pytest

from system_tools import BUSYBOX, Sampan, until

LIMIT = 1 << 20


def directory(sampan: Sampan, name: str) -> Path:
    return sampan.root / "containers" / sampan.text("inspect", "--format", "{{.Id}}", name)


@pytest.mark.parametrize("driver", ["k8s-file", "json-file"])
def test_rotation_with_a_follower(sampan: Sampan, driver: str) -> None:
    """A fast writer, three files of 1 MiB: the disk holds no more, and the follower gets every line in order."""
    bursts = (
        "for n in $(seq 0 39); do seq $((n * 10000 + 1)) $((n * 10000 + 10000)); sleep 0.1; done"
    )
    options = ["--log-driver", driver, "--log-opt", "max-size=1m", "--log-opt", "max-file=3"]
    sampan.text("run", "-d", "--name", "c", *options, BUSYBOX, "sh", "-c", bursts)
    follower = sampan.spawn("logs", "-f", "c", stdout=subprocess.PIPE)
    assert follower.stdout
    heard = [int(word) for word in follower.stdout.read().split()]
    assert follower.wait() == 0
    assert heard == list(range(1, 400_001))
    kept = sorted(p for p in directory(sampan, "c").iterdir() if p.name.startswith("log"))
    assert [p.name for p in kept] == ["log", "log.1", "log.2"]
    assert all(p.stat().st_size <= 1_000_000 for p in kept)
    numbers = [int(word) for word in sampan.text("logs", "c").split()]
    numbers = numbers[1:]  # what is kept may begin within a line
    assert numbers == list(range(numbers[0], 400_001)) and len(numbers) > 20_000
    assert sampan.text("logs", "--tail", "3", "c").split() == ["399998", "399999", "400000"]


def test_the_limit_holds_after_a_restart(sampan: Sampan) -> None:
    words = ["--log-opt", "max-size=20k", "--log-opt", "max-file=2"]
    sampan.text("run", "-d", "--name", "c", *words, BUSYBOX, "seq", "1", "300")
    for _ in range(4):
        sampan.text("wait", "c")
        sampan.text("start", "c")
    sampan.text("wait", "c")
    kept = [p for p in directory(sampan, "c").iterdir() if p.name.startswith("log")]
    assert len(kept) == 2 and all(p.stat().st_size <= 20_000 for p in kept)
    assert sampan.text("logs", "--tail", "1", "c") == "300"


def test_what_a_child_writes_after_the_stop_signal(sampan: Sampan) -> None:
    command = "trap 'echo last words; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sh", "-c", command)
    follower = sampan.spawn("logs", "-f", "c", stdout=subprocess.PIPE)
    assert follower.stdout and follower.stdout.readline() == b"ready\n"
    sampan.text("stop", "c")
    assert follower.communicate(timeout=5)[0] == b"last words\n"


def test_bytes_that_are_no_text(sampan: Sampan) -> None:
    """NUL, invalid UTF-8, a line of 1 MiB, a last line without newline."""
    script = r"printf 'a\000b\377\n'; head -c 1048576 /dev/zero | tr '\0' x; printf '\nend'"
    for driver in ("k8s-file", "json-file"):
        sampan("run", "--name", driver, "--log-driver", driver, BUSYBOX, "sh", "-c", script)
        shown = sampan("logs", driver).stdout
        assert shown == b"a\0b\xff\n" + b"x" * 1048576 + b"\nend"
        assert sampan("logs", "-n", "--tail", "1", driver).stdout == driver.encode() + b" end"


def test_a_follower_that_stands_still_holds_up_nobody(sampan: Sampan) -> None:
    """It reads a file: a stopped reader makes no difference to the container."""
    sampan.text(
        "run",
        "-d",
        "--name",
        "c",
        BUSYBOX,
        "sh",
        "-c",
        "sleep 0.5; seq 1 200000; touch /done; sleep 50",
    )
    follower = sampan.spawn("logs", "-f", "c", stdout=subprocess.PIPE)
    time.sleep(0.3)
    follower.send_signal(19)
    assert until(lambda: sampan("exec", "c", "test", "-e", "/done").returncode == 0, 10)
    follower.send_signal(18)
    assert follower.stdout
    assert [follower.stdout.readline() for _ in range(200_000)][-1] == b"200000\n"
    follower.kill()
    follower.wait()


def test_words_that_are_refused(sampan: Sampan) -> None:
    for words in (
        ["--log-opt", "max-file=0"],
        ["--log-opt", "max-size=x"],
        ["--log-opt", "mode=x"],
        ["--log-driver", "syslog"],
    ):
        result = sampan("run", *words, BUSYBOX, "true")
        assert result.returncode == 125 and result.stderr.count(b"\n") == 1, words


def test_records_that_a_full_disk_did_not_take(fresh: Sampan) -> None:
    """The container goes on; `logs` and `inspect` say how much is lost, also when it has ended."""
    script = textwrap.dedent(
        f"""
        mkdir -p "$SAMPAN_ROOT"; mount -t tmpfs -o size=12m none "$SAMPAN_ROOT" || exit 77
        sampan pull -q {BUSYBOX} > /dev/null
        sampan run -d --restart always --name r {BUSYBOX} sleep 100 > /dev/null
        sampan run -d --name c {BUSYBOX} sh -c 'yes 0123456789 | head -c 30000000; exec sleep 100' > /dev/null
        for _ in $(seq 300); do sampan top c -eo pid,comm | grep -q sleep && break; sleep 0.1; done
        sampan inspect --format '{{{{.State.Status}}}} {{{{.State.LostLogRecords}}}} {{{{.State.LostLogReason}}}}' c
        sampan logs c | tail -n 1; echo
        sampan kill c > /dev/null
        sampan wait c > /dev/null; sampan stop -t 0 r; sleep 0.5; sampan ps --format '{{{{.Names}}}}'; sampan rm r
        sampan logs --tail 1 c > /dev/null
        sampan rm c && sampan run --name d {BUSYBOX} echo fine && sampan logs d
        """
    )
    result = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script],
        env=fresh.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    if result.returncode == 77:
        pytest.skip("no tmpfs in a user namespace")
    first, last, *rest = result.stdout.decode().splitlines()
    status, lost, why = first.split(" ", 2)
    assert (status, why) == ("running", "No space left on device") and int(lost) > 1_000_000
    assert last and "0123456789".startswith(last), "a piece ends where it was read"
    assert rest == ["r", "r", "c", "fine", "fine"], result.stderr
    notices = result.stderr.decode().splitlines()
    assert len(notices) == 2 and notices[0] == (
        f"sampan: {lost} records of the log of c were lost: No space left on device"
    )
