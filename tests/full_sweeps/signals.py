"""F26: a signal to the command at every millisecond of a run: the status tells it, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from full_sweeps.crowd import start
from full_sweeps.harness import Machine
from system_tools import BUSYBOX

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SCRIPT = "trap 'exit 42' INT TERM HUP; sleep 0.1 & wait; exit 7"


def run(machine: Machine, milliseconds: range, number: signal.Signals) -> tuple[int, list[str]]:
    """(moments tried, failures): SIGNAL after so many milliseconds of `run --rm`.

    Before the container has the signal's handler the status is 128+n, or 130 for the interpreter's own; then 42; after
    the end 7.
    """
    machine.text("pull", "-q", BUSYBOX)
    failures: list[str] = []
    for moment in milliseconds:
        process = start(machine, "run", "--rm", "--name", "prize", BUSYBOX, "sh", "-c", SCRIPT)
        time.sleep(moment / 1000)
        process.send_signal(number)
        try:
            _, error = process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            failures.append(f"{number.name} after {moment} ms: it does not end")
            process.kill()
            process.communicate()
            machine("rm", "-af", "-t", "0")
            continue
        status = process.returncode if process.returncode >= 0 else 128 - process.returncode
        if _starting(error):  # SIGINT while Python itself was coming up
            continue
        if status not in (128 + number, 42, 7):
            failures.append(f"{number.name} after {moment} ms: status {status} {error[-300:]!r}")
        if b"Traceback" in error:
            failures.append(f"{number.name} after {moment} ms: {error[-300:]!r}")
        try:
            _gone(machine, f"{number.name} after {moment} ms")
        except AssertionError as problem:
            failures.append(str(problem)[:400])
            machine("rm", "-af", "-t", "0")
    return len(milliseconds), failures


def _starting(error: bytes) -> bool:
    """Whether a traceback has the interpreter's own lines alone (its start-up files among them)."""
    frames = [line for line in error.splitlines() if line.lstrip().startswith(b'File "')]
    return bool(frames) and not any(b"/sampan" in line for line in frames)


def _gone(machine: Machine, point: str) -> None:
    """At once or in the time that a monitor takes, the name is free and nothing of the run is there."""
    end = time.monotonic() + 3
    while (machine.text("ps", "-aq") or machine.processes()) and time.monotonic() < end:
        time.sleep(0.02)
    assert not machine.text("ps", "-aq"), (point, "a container is left")
    machine.recover(point)
    left = machine.sampan.leftovers()
    if left:
        machine.clean(point)  # what the next writer takes


def stopped(machine: Machine, rounds: int) -> list[str]:
    """SIGSTOP and SIGCONT of the command in the middle: the container's output is whole."""
    machine.text("pull", "-q", BUSYBOX)
    failures: list[str] = []
    for round_ in range(rounds):
        process = start(
            machine,
            "run",
            "--rm",
            BUSYBOX,
            "sh",
            "-c",
            "for i in 1 2 3 4 5; do echo $i; sleep 0.02; done",
        )
        time.sleep(0.02 + round_ * 0.005)
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(process.pid, signal.SIGCONT)
        out, error = process.communicate(timeout=15)
        if (process.returncode, out) != (0, b"1\n2\n3\n4\n5\n"):
            failures.append(f"stopped, round {round_}: {process.returncode} {out!r} {error!r}")
    return failures
