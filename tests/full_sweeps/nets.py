"""Bridge networks under faults: kills at system calls of their verbs, a holder that stands still, a full run directory.

A kill may hit the command, the monitor, the holder, or a child of theirs: strace follows all that the command starts.
Where a neighbour is on the network already, its holder is not among them, and must serve on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from full_sweeps.harness import Machine, apart, spread, sweep
from networks import free_port, holder
from system_tools import BUSYBOX, until

PATIENCE = 25.0  # seconds: a holder that stands still is given up after 20
SERVED = ("httpd", "-f", "-p", "80", "-h", "/etc")
# busybox's own resolver library may be missing in a static one: nslookup brings its own
LOOK = "nslookup neighbour | sed -n 's/^Address: *//p' | tail -n 1"
ASK = ("sh", "-c", rf"printf 'GET /passwd HTTP/1.0\r\n\r\n' | nc -w 5 $({LOOK}) 80")
PORT = "{port}:80"
Setup = Callable[[Machine], None]


def _nothing(machine: Machine) -> None:
    pass


def _fresh(machine: Machine) -> None:
    machine("network", "create", "--ignore", "fresh")


def _neighbour(machine: Machine) -> None:
    machine.text("run", "-d", "--name", "neighbour", "--network", "net", BUSYBOX, *SERVED)


def _prize(machine: Machine) -> None:
    _neighbour(machine)
    words = ("run", "-d", "--name", "prize", "--network", "net", "-p", f"{free_port()}:80")
    machine.text(*words, BUSYBOX, "sleep", "100")


def _both(machine: Machine) -> None:
    _prize(machine)
    machine.text("network", "connect", "more", "prize")


JOIN = ("--network", "net", "-p", PORT, BUSYBOX)
VERBS: dict[str, tuple[Setup, tuple[str, ...]]] = {
    "create": (_nothing, ("network", "create", "fresh")),
    "rm": (_fresh, ("network", "rm", "fresh")),
    "prune": (_fresh, ("network", "prune", "-f")),
    "run, the first": (_nothing, ("run", "--rm", "--name", "prize", *JOIN, "true")),
    "run, a further": (_neighbour, ("run", "--rm", "--name", "prize", *JOIN, "true")),
    "run -d": (_neighbour, ("run", "-d", "--name", "prize", *JOIN, "sleep", "0.2")),
    "stop": (_prize, ("stop", "-t", "0", "prize")),
    "connect": (_prize, ("network", "connect", "--alias", "x", "more", "prize")),
    "disconnect": (_both, ("network", "disconnect", "more", "prize")),
}


def prepare(machine: Machine) -> None:
    machine.text("pull", "-q", "--policy", "missing", BUSYBOX)
    for name in ("net", "more"):
        machine.text("network", "create", "--ignore", name)


def kills(machine: Machine, verb: str, size: int) -> tuple[int, list[str]]:
    """(points tried, failures)."""
    setup, plain = VERBS[verb]
    port = free_port()
    words = tuple(word.format(port=port) for word in plain)
    prepare(machine)
    _clear(machine)
    setup(machine)
    counts = machine.counts(*words)

    def one(call: str, number: int) -> None:
        point = f"{verb}, {call} {number}"
        _clear(machine)
        prepare(machine)
        setup(machine)
        options = ["-o", "/dev/null", "-e", f"inject=?{call}:signal=KILL:when={number}"]
        machine.traced(options, *words)
        _serves(machine, port, point, neighbour=setup in (_neighbour, _prize, _both))
        _clear(machine)
        machine.recover(point)
        machine.clean(point)
        left = members(machine)
        assert not left, (point, left)

    points = spread(counts, size)
    found = sweep(points, one)
    _clear(machine)
    return len(points), found


def _clear(machine: Machine) -> None:
    assert until(lambda: machine("rm", "-af", "-t", "0").returncode == 0, 5)
    machine("network", "rm", "fresh")


def members(machine: Machine) -> list[str]:
    """What the holder has written down of members that are gone; it does so until it ends."""
    place = machine.sampan.run_dir / "bridge/members"
    until(lambda: not place.exists() or not os.listdir(place), 3)
    return os.listdir(place) if place.exists() else []


def _serves(machine: Machine, port: int, point: str, *, neighbour: bool) -> None:
    """What was on the network is; who comes to it is served, with the same port; a network's name is free, or known."""
    if neighbour:
        told = machine.text("exec", "neighbour", "cat", "/etc/hostname")
        assert told, point
    machine("rm", "-f", "-t", "0", "prize")
    words = ("run", "--rm", "--network", "net", "-p", f"{port}:80", BUSYBOX)
    result = machine(*words, *(ASK if neighbour else ("true",)))
    assert result.returncode == 0, (point, result.stderr[-300:])
    assert not neighbour or b"root:" in result.stdout, point
    rows = json.loads(machine.text("network", "ls", "--format", "json"))
    known = [row["Name"] for row in rows]
    assert ("net" in known and "more" in known) or point.startswith("prune"), (point, known)
    assert machine("network", "create", "--ignore", "fresh").returncode == 0, point
    assert machine("network", "rm", "fresh").returncode == 0, point


def stopped(machine: Machine, rounds: int) -> list[str]:
    """SIGSTOP of the holder: nobody waits for ever, what needs it says so, and after SIGCONT all is well."""
    failures: list[str] = []
    prepare(machine)
    for round_ in range(rounds):
        _clear(machine)
        _prize(machine)
        pid = holder(machine.sampan)
        os.kill(pid, signal.SIGSTOP)
        try:
            failures += [f"round {round_}: {text}" for text in _standing_still(machine)]
        finally:
            os.kill(pid, signal.SIGCONT)
        result = machine("run", "--rm", "--network", "net", BUSYBOX, *ASK)
        if b"root:" not in result.stdout:
            failures.append(f"round {round_}: afterwards: {result.stderr[-200:]!r}")
        _clear(machine)
        machine.recover(f"holder stopped, round {round_}")
    return failures + machine.sampan.leftovers() + members(machine)


def _standing_still(machine: Machine) -> list[str]:
    failures: list[str] = []
    for words, status in (
        (("ps",), 0),
        (("exec", "prize", "true"), 0),
        (("inspect", "prize"), 0),
        (("network", "ls"), 0),
        (("network", "connect", "more", "prize"), 125),
        (("run", "--rm", "--network", "net", BUSYBOX, "true"), 125),
        (("stop", "-t", "0", "prize"), 0),
        (("rm", "prize"), 0),
    ):
        begun = time.monotonic()
        result = machine(*words, timeout=90)
        taken = time.monotonic() - begun
        told = result.stderr.decode(errors="replace").strip()
        if (
            result.returncode != status
            or taken > PATIENCE
            or (status and "did not answer" not in told)
        ):
            failures.append(f"{words}: {result.returncode} after {taken:.1f} s: {told[-300:]}")
    return failures


LARGEST = 20 * 4096  # of a run directory: room for all that is tried
RUNS: tuple[tuple[str, ...], ...] = (
    ("run", "--rm", "--network", "net", BUSYBOX, "true"),
    ("run", "-d", "--name", "c", "--network", "net", BUSYBOX, "sleep", "100"),
    ("run", "--rm", "--network", "net", BUSYBOX, "true"),
)
AFTER: tuple[tuple[str, ...], ...] = (("ps", "-a"), ("rm", "-af", "-t", "0"), ("network", "ls"))


def one_size(machine: Machine, size: int) -> tuple[bool, str]:
    """Whether all of it worked with a run directory of that many bytes; what went wrong otherwise, or nothing."""
    worked = True
    place = str(machine.sampan.run_dir)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", place]
    subprocess.run(mount, check=True)
    try:
        for words in RUNS:
            result = machine(*words, timeout=60)
            worked = worked and result.returncode == 0
            told = result.stderr.decode(errors="replace")
            if "Traceback" in told or (result.returncode and len(told.strip().splitlines()) != 1):
                return worked, f"{size}: {words}: {result.returncode} {told[-300:]}"
        for words in AFTER:
            result = machine(*words, timeout=60)
            if result.returncode:
                return worked, f"{size}: {words}: {result.stderr.decode()[-300:]}"
        if not until(lambda: not machine.processes(), 5):
            return worked, f"{size}: processes are left: {machine.processes()}"
        return worked, ""
    finally:
        for pid in machine.processes():
            os.kill(pid, signal.SIGKILL)
        subprocess.run(["umount", "-l", place], check=True)


def full_run_directories(program: str, registries_conf: str, size: int) -> tuple[int, list[str]]:
    """(sizes tried, failures), from inside a namespace."""
    return apart(__file__, program, registries_conf, size)


def _inside(program: str, registries_conf: str, count: str) -> None:
    machine = Machine(program, registries_conf)
    prepare(machine)
    steps = range(1, int(count) + 1)
    found = [one_size(machine, LARGEST * step // int(count)) for step in steps]
    failures = [text for _, text in found if text]
    if not found[-1][0]:
        failures.append("the largest one is too small")
    json.dump([len(found), failures], sys.stdout)
    machine.close()


if __name__ == "__main__":
    _inside(*sys.argv[1:])
