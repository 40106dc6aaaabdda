"""The long sweeps by name, with the figures that they saw: see docs/testing.md."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator

from full_sweeps import crowd, disk, errors, kill, monitors, nets, output, signals
from full_sweeps.harness import Machine

Rows = Iterator[tuple[str, list[str]]]


def _kill(machine: Machine, size: int) -> Rows:
    for verb in kill.VERBS:
        tried, failures = kill.run(machine, verb, size)
        yield f"{verb}: {tried} points", failures


def _nets(machine: Machine, size: int) -> Rows:
    for verb in nets.VERBS:
        tried, failures = nets.kills(machine, verb, size)
        yield f"{verb}: {tried} points", failures
    yield "a holder that stands still, 3 rounds", nets.stopped(machine, 3)


def _errors(machine: Machine, size: int) -> Rows:
    for verb in ("pull", "create", "run", "run --rm", "start", "stop", "rm", "rmi"):
        for error in errors.ERRORS:
            tried, failures = errors.run(machine, verb, error, size)
            yield f"{verb}, {error}: {tried} points", failures


def _crowd(machine: Machine, size: int) -> Rows:
    taken, failures = crowd.at_once(machine, size)
    yield f"50 at once, {size} rounds of {min(taken):.2f} to {max(taken):.2f} s", failures
    yield f"16 creators of one name, {size} rounds", crowd.racers(machine, size)


def _rounds(machine: Machine, size: int) -> Rows:
    count, failures = crowd.rounds(machine, size)
    yield f"{count} rounds of create, start, exec, stop, wait, rm by 4 at once", failures


def _creations(machine: Machine, size: int) -> Rows:
    count, failures = crowd.rounds(machine, size, crowd.creations)
    yield f"{count} rounds of create and rm by 4 at once", failures


def _soak(machine: Machine, size: int) -> Rows:
    taken, before, after = crowd.soak(machine, size)
    grown = [
        f"{key}: {before[key]} to {after[key]}"
        for key in before
        if after[key] > before[key] + (key == "KiB") * 64
    ]
    yield (
        f"{size} runs, p50 {taken[size // 2]:.3f} s, p99 {taken[size * 99 // 100]:.3f} s, {after}",
        grown,
    )


def _monitors(machine: Machine, size: int) -> Rows:
    for check in (monitors.killed_monitors, monitors.first_processes, monitors.reused_pids):
        yield f"{check.__name__}: {size} rounds", check(machine, size)


def _signals(machine: Machine, size: int) -> Rows:
    for number in signals.SIGNALS:
        tried, failures = signals.run(machine, range(size), number)
        yield f"{number.name}: {tried} moments", failures
    yield "stopped and continued", signals.stopped(machine, 20)


def _line(machine: Machine, size: int) -> Rows:
    yield output.endless_line(machine, size)


SWEEPS: dict[str, tuple[Callable[[Machine, int], Rows], int]] = {  # name: (sweep, size by default)
    "kill": (_kill, 200), "errors": (_errors, 60), "crowd": (_crowd, 10), "soak": (_soak, 500),
    "rounds": (_rounds, 500), "creations": (_creations, 10_000),
    "line": (_line, 1024), "monitors": (_monitors, 50), "signals": (_signals, 250), "nets": (_nets, 60),
}  # fmt: skip


ALONE = ("disk", "full", "run-dir")  # in namespaces of their own, as a user


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/full", description=__doc__)
    parser.add_argument("program", help="the installed sampan")
    parser.add_argument("conf", help="a registries.conf that names a registry with busybox in it")
    parser.add_argument(
        "sweeps", nargs="*", metavar="SWEEP[=SIZE]", help=f"of {', '.join([*SWEEPS, *ALONE])}"
    )
    parser.add_argument("--user", default="", help="as root: whose containers they are")
    chosen = parser.parse_args()
    if os.getuid() == 0 and not chosen.user:
        parser.error("root names a --user")
    failed = 0
    for word in chosen.sweeps or [*SWEEPS, *([] if chosen.user else ALONE)]:
        name, _, size = word.partition("=")
        begun = time.monotonic()
        rows = _rows(name, int(size or 0), chosen)
        for text, failures in rows:
            failed += len(failures)
            print(f"{name}: {text}: {len(failures)} failures", *failures, sep="\n    ", flush=True)
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    return 1 if failed else 0


def _rows(name: str, size: int, chosen: argparse.Namespace) -> Rows:
    if name == "disk":
        tried, failures = disk.run(chosen.program, chosen.conf, size or 100)
        yield f"{tried} sizes", failures
        return
    if name == "full":
        yield output.full_disk(chosen.program, chosen.conf, size or 10)
        return
    if name == "run-dir":
        tried, failures = nets.full_run_directories(chosen.program, chosen.conf, size or 20)
        yield f"{tried} sizes", failures
        return
    sweep, usual = SWEEPS[name]
    machine = Machine(chosen.program, chosen.conf, chosen.user)
    try:
        yield from sweep(machine, size or usual)
        if machine.slow:
            yield (
                f"next command slower than a second, {len(machine.slow)} times, at most {max(machine.slow):.1f} s",
                [],
            )
    finally:
        machine.close()


if __name__ == "__main__":
    sys.exit(main())
