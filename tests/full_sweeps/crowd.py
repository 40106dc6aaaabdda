"""F5, F25, F27 and S10: many at once, many in a row, many for one name; nothing grows and nobody fails."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

from full_sweeps.harness import Machine
from system_tools import BUSYBOX

Work = Callable[[Machine, int, int], list[str]]  # machine, worker, count -> failures


def start(machine: Machine, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        machine.words(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=machine.sampan.environment, cwd="/",
    )  # fmt: skip


def at_once(machine: Machine, rounds: int, crowd: int = 50) -> tuple[list[float], list[str]]:
    """(seconds of each round, failures) of `crowd` containers that run at once."""
    machine.text("pull", "-q", BUSYBOX)
    taken: list[float] = []
    failures: list[str] = []
    for round_ in range(rounds):
        begun = time.monotonic()
        runs = [
            start(machine, "run", "--rm", BUSYBOX, "echo", str(number)) for number in range(crowd)
        ]
        for number, process in enumerate(runs):
            out, error = process.communicate(timeout=120)
            if (process.returncode, out) != (0, f"{number}\n".encode()):
                failures.append(
                    f"round {round_}, {number}: {process.returncode} {out!r} {error[-300:]!r}"
                )
        taken.append(time.monotonic() - begun)
        if left := machine.text("ps", "-aq"):
            failures.append(f"round {round_}: left {left.split()}")
    machine.recover("a crowd")
    failures += machine.sampan.leftovers()
    return taken, failures


def footprint(machine: Machine) -> dict[str, int]:
    """What a leak would make grow."""
    root = machine.sampan.root
    entries = sum(len(names) + len(set(others) - {"events", "events.old"})
                  for place in (root, machine.sampan.run_dir)
                  for _, names, others in os.walk(place))  # fmt: skip
    with open("/proc/mounts", "rb") as file:
        mounts = file.read().count(str(machine.base).encode())
    # the log of events grows up to its limit, whatever happens
    command = ["du", "-sk", "--exclude=events", "--exclude=events.old", str(root)]
    used = subprocess.run(command, capture_output=True, check=False).stdout.split()
    return {
        "entries": entries,
        "mounts": mounts,
        "processes": len(machine.processes()),
        "KiB": int(used[0]),
    }


def soak(machine: Machine, count: int) -> tuple[list[float], dict[str, int], dict[str, int]]:
    """(seconds of each run, footprint before, after) of as many `run --rm` in a row."""
    machine.text("pull", "-q", BUSYBOX)
    machine.text("run", "--rm", BUSYBOX, "true")
    before = footprint(machine)
    taken: list[float] = []
    for _ in range(count):
        begun = time.monotonic()
        machine.text("run", "--rm", BUSYBOX, "true")
        taken.append(time.monotonic() - begun)
    return sorted(taken), before, footprint(machine)


def rounds(
    machine: Machine, count: int, work: Work | None = None, workers: int = 4
) -> tuple[int, list[str]]:
    """(rounds, failures) of create, start, exec, stop and rm, by several at once: no wrong code, nothing left."""
    work = work or _rounds
    machine.text("pull", "-q", BUSYBOX)
    machine.text("run", "--name", "first", BUSYBOX, "true")
    machine.text("rm", "first")
    before = footprint(machine)
    sockets = _sockets()
    pids: list[tuple[int, int]] = []
    for worker in range(workers):
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read_end)
            told = "\n".join(work(machine, worker, count // workers))
            os.write(write_end, told[:60_000].encode())
            os._exit(0)
        os.close(write_end)
        pids.append((pid, read_end))
    failures: list[str] = []
    for pid, read_end in pids:
        with open(read_end, "rb") as file:
            failures += file.read().decode().splitlines()
        os.waitpid(pid, 0)
    machine.recover("rounds")
    after = footprint(machine)
    failures += [f"{key}: {before[key]} to {after[key]}" for key in ("entries", "mounts", "processes")
                 if after[key] > before[key]]  # fmt: skip
    if _sockets() > sockets:
        failures.append(f"sockets: {sockets} to {_sockets()}")
    return count // workers * workers, failures + machine.sampan.leftovers()


def creations(machine: Machine, worker: int, count: int) -> list[str]:
    """create and rm alone, of names that others want, too: whoever gets one, its end is clean."""
    failures: list[str] = []
    for turn in range(count):
        name = f"n{turn % 10}" if turn % 2 else f"w{worker}-{turn}"
        made = machine("create", "--name", name, BUSYBOX, "true")
        if made.returncode == 125 and b"is already in use" in made.stderr and turn % 2:
            continue
        removed = machine("rm", made.stdout.decode().strip() or "nothing")
        if made.returncode or removed.returncode:
            failures.append(f"{name}: {made.stderr[-200:]!r} {removed.stderr[-200:]!r}")
    return failures


def _sockets() -> int:
    with open("/proc/net/unix", "rb") as file:
        return sum(b"/containers/" in line for line in file)


def _rounds(machine: Machine, worker: int, count: int) -> list[str]:
    failures: list[str] = []
    for turn in range(count):
        name, code = f"w{worker}-{turn}", turn % 100 + 1
        script = f"trap 'exit {code}' TERM; touch /ready; while :; do sleep 0.02; done"
        steps: list[tuple[tuple[str, ...], int, bytes]] = [
            (("create", "--name", name, BUSYBOX, "sh", "-c", script), 0, b""),
            (("start", name), 0, name.encode()),
            (
                (
                    "exec",
                    name,
                    "sh",
                    "-c",
                    f"until [ -e /ready ]; do sleep 0.01; done; exit {code}",
                ),
                code,
                b"",
            ),
            (("stop", "-t", "10", name), 0, name.encode()),
            (("wait", name), 0, str(code).encode()),
            (("rm", name), 0, name.encode()),
        ]
        for words, wanted, told in steps:
            result = machine(*words)
            if result.returncode != wanted or not result.stdout.strip().endswith(told):
                failures.append(
                    f"{name}: {words}: {result.returncode} {result.stdout!r} {result.stderr[-200:]!r}"
                )
                machine("rm", "-f", "-t", "0", name)
                break
    return failures


def racers(machine: Machine, rounds: int, crowd: int = 16) -> list[str]:
    """Creators of one name: exactly one wins each time."""
    machine.text("pull", "-q", BUSYBOX)
    failures: list[str] = []
    for round_ in range(rounds):
        runs = [start(machine, "create", "--name", "prize", BUSYBOX) for _ in range(crowd)]
        for process in runs:
            process.communicate(timeout=120)
        codes = sorted(process.returncode for process in runs)
        if codes != [0] + [125] * (crowd - 1):
            failures.append(f"round {round_}: {codes}")
        machine.text("rm", "prize")
    return failures + machine.sampan.leftovers()
