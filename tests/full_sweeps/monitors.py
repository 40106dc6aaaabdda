"""F14, F16 and F17: monitors and first processes are killed, stopped, and their pids used again by others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from functools import partial
from typing import Any

from full_sweeps.harness import Machine
from system_tools import BUSYBOX, ended, until

KNOWN = 2.0  # seconds after which the state must be right


def _state(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.text("inspect", "prize"))[0]["State"]
    return found


def killed_monitors(machine: Machine, rounds: int) -> list[str]:
    """SIGKILL of the monitor at more and more time after `run -d`, the first process waiting or writing."""
    machine.text("pull", "-q", BUSYBOX)
    failures: list[str] = []
    for round_ in range(rounds):
        script = "while :; do echo x; done" if round_ % 2 else "sleep 100"
        machine.text("run", "-d", "--name", "prize", BUSYBOX, "sh", "-c", script)
        state = _state(machine)
        time.sleep(round_ * 0.002)
        os.kill(state["ConmonPid"], signal.SIGKILL)
        if not until(lambda: _state(machine)["Status"] == "exited", KNOWN):
            failures.append(f"round {round_}: still {_state(machine)['Status']}")
        after = _state(machine)
        if after["ExitCodeKnown"] or not until(partial(ended, state["Pid"]), 2):
            failures.append(f"round {round_}: {after}")
        for words in (("logs", "--tail", "1", "prize"), ("stop", "-t", "0", "prize"), ("start", "prize"),
                      ("rm", "-f", "prize")):  # fmt: skip
            result = machine(*words)
            if result.returncode:
                failures.append(f"round {round_}: {words}: {result.stderr[-200:]!r}")
        machine.recover(f"monitor killed, round {round_}")
    return failures + machine.sampan.leftovers()


def first_processes(machine: Machine, rounds: int) -> list[str]:
    """The first process is killed or stopped from outside: the code is 137, and stop works in its time."""
    machine.text("pull", "-q", BUSYBOX)
    failures: list[str] = []
    for round_ in range(rounds):
        machine.text("run", "-d", "--name", "prize", BUSYBOX, "sleep", "100")
        pid = _state(machine)["Pid"]
        if round_ % 2:
            os.kill(pid, signal.SIGSTOP)
            begun = time.monotonic()
            machine.text("stop", "-t", "1", "prize")
            if time.monotonic() - begun > 3:
                failures.append(f"round {round_}: stop took {time.monotonic() - begun:.1f} s")
        else:
            os.kill(pid, signal.SIGKILL)
        if machine.text("wait", "prize") != "137":
            failures.append(f"round {round_}: {_state(machine)}")
        machine.text("rm", "prize")
    return failures + machine.sampan.leftovers()


def reused_pids(machine: Machine, rounds: int) -> list[str]:
    """The pid of a record belongs to a bystander: it is never signalled, whatever is asked."""
    machine.text("pull", "-q", BUSYBOX)
    failures: list[str] = []
    for round_ in range(rounds):
        container = machine.text("run", "-d", "--name", "prize", BUSYBOX, "sleep", "100")
        machine.text("stop", "-t", "0", "prize")
        path = machine.sampan.root / "containers" / container / "run.json"
        bystander = subprocess.Popen(["sleep", "100"])
        run = json.loads(path.read_text())
        run["pid"] = run["monitor"] = bystander.pid
        if round_ % 2:
            run["boot"] = "00000000-0000-0000-0000-000000000000"
        path.write_text(json.dumps(run))
        for words in (("kill", "prize"), ("stop", "-t", "0", "prize"), ("rm", "-f", "prize")):
            machine(*words)
        if bystander.poll() is not None:
            failures.append(f"round {round_}: a foreign process was signalled")
        bystander.kill()
        bystander.wait()
    return failures + machine.sampan.leftovers()
