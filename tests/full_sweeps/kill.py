"""F1: SIGKILL at a system call of each verb, for as many calls as it makes."""

from __future__ import annotations

import os
from collections.abc import Callable

from full_sweeps.harness import Machine, spread, sweep
from system_tools import BUSYBOX, until

Setup = Callable[[Machine], None]


def _nothing(machine: Machine) -> None:
    pass


def _no_image(machine: Machine) -> None:
    machine("rmi", "-af")


def _created(machine: Machine) -> None:
    machine.text("create", "--name", "prize", BUSYBOX, "true")


def _running(machine: Machine) -> None:
    machine.text("run", "-d", "--name", "prize", BUSYBOX, "sleep", "100")


def _saved(machine: Machine) -> None:
    machine.text("save", "-q", "-o", f"{machine.base}/in.tar", BUSYBOX)
    machine.text("rmi", "-f", BUSYBOX)


def _context(machine: Machine) -> None:
    """A Dockerfile, none of whose steps is known."""
    machine("rmi", "-f", "made")
    machine.text("builder", "prune", "-af")
    context = machine.base / "context"
    context.mkdir(exist_ok=True)
    (context / "file").write_text("words")
    steps = f"FROM {BUSYBOX}\nRUN --mount=type=cache,target=/c echo a > /c/a; cp /c/a /a\nCOPY file /b\n"
    (context / "Dockerfile").write_text(steps)
    context.chmod(0o755)


def _built(machine: Machine) -> None:
    _context(machine)
    machine.text("build", "-q", f"{machine.base}/context")
    machine.text("rmi", "-af")
    machine.text("pull", "-q", BUSYBOX)


VERBS: dict[str, tuple[Setup, tuple[str, ...]]] = {
    "pull": (_no_image, ("pull", "-q", BUSYBOX)),
    "create": (_nothing, ("create", "--name", "prize", BUSYBOX, "true")),
    "run": (_nothing, ("run", "--name", "prize", BUSYBOX, "true")),
    "run --rm": (_nothing, ("run", "--rm", "--name", "prize", BUSYBOX, "true")),
    "run -d": (_nothing, ("run", "-d", "--name", "prize", BUSYBOX, "sleep", "0.2")),
    "start": (_created, ("start", "-a", "prize")),
    "stop": (_running, ("stop", "-t", "0", "prize")),
    "rm": (_created, ("rm", "prize")),
    "rm -f": (_running, ("rm", "-f", "prize")),
    "rmi": (_nothing, ("rmi", BUSYBOX)),
    "save": (_nothing, ("save", "-q", "-o", "{base}/out.tar", BUSYBOX)),
    "load": (_saved, ("load", "-q", "-i", "{base}/in.tar")),
    "build": (_context, ("build", "-q", "-t", "made", "{base}/context")),
    "builder prune": (_built, ("builder", "prune", "-af")),
}


def run(machine: Machine, verb: str, size: int) -> tuple[int, list[str]]:
    """(points tried, failures)."""
    setup, words = VERBS[verb]
    words = tuple(word.format(base=machine.base) for word in words)
    machine.text("pull", "-q", BUSYBOX)
    setup(machine)
    counts = machine.counts(*words)
    machine("rm", "-af", "-t", "0")

    def one(call: str, number: int) -> None:
        point = f"{verb}, {call} {number}"
        machine("rm", "-af", "-t", "0")
        if verb != "pull":
            machine.text("pull", "-q", "--policy", "missing", BUSYBOX)
        setup(machine)
        machine.traced(
            ["-o", "/dev/null", "-e", f"inject=?{call}:signal=KILL:when={number}"], *words
        )
        if verb in ("stop", "rm -f"):  # they may have been killed before they did anything
            assert until(lambda: machine("rm", "-af", "-t", "0").returncode == 0, 5), point
        machine.recover(point)
        if machine("pull", "-q", BUSYBOX).returncode:
            raise AssertionError(f"{point}: pull fails")
        if setup in (_context, _built):
            machine.text("build", "-q", "-t", "made", f"{machine.base}/context")
            machine.text("builder", "prune", "-af")
            for place in ("building", "build/locks"):
                assert not os.listdir(machine.sampan.root / place), (point, place)
        machine.clean(point)
        left = set(os.listdir(machine.base)) - {
            "root",
            "run",
            "trace",
            "in.tar",
            "out.tar",
            "context",
        }
        assert not left, f"{point}: {left}"

    points = spread(counts, size)
    return len(points), sweep(points, one)
