"""compare.py --registry HOST:PORT [--gate] [-n RUNS]: sampan beside podman, interleaved, in one run.

Machines are noisy, so what counts is the median of the ratio, pair by pair.  `wall` is the
command's time; `settle` also waits for whatever the command left running.  With --gate the
status is 1 if a ratio is beyond 1.5 times its goal.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from typing import NamedTuple

GOALS = {"run": 0.5, "create": 1.0, "ps": 1.0, "pull": 0.5, "exec": 0.3}
TOLERANCE = 1.5
PR_SET_CHILD_SUBREAPER = 36


class Sample(NamedTuple):
    wall: float
    settle: float
    cpu: float


def once(command: list[str]) -> Sample:
    """One run: seconds until it was reaped, until its last orphan was, and their CPU seconds."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begun
    cpu = usage.ru_utime + usage.ru_stime
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid:
            cpu += usage.ru_utime + usage.ru_stime
        else:
            time.sleep(0.001)
    if process.returncode:
        sys.exit(
            f"{command}: status {process.returncode}: {errors.decode(errors='replace')[-500:]}"
        )
    return Sample(wall, time.perf_counter() - begun, cpu)


def compare(name: str, words: list[str], runs: int, *, before: list[str] | None = None) -> float:
    """Print both engines' medians and return the median ratio of sampan's wall time to podman's."""
    samples: dict[str, list[Sample]] = {"podman": [], "sampan": []}
    for number in range(runs + 1):
        for engine, kept in samples.items():
            if before:
                subprocess.run([engine, *before], check=True, stdout=subprocess.DEVNULL)
            sample = once([engine, *words])
            if number:  # the first round warms up
                kept.append(sample)
    pairs = list(zip(samples["sampan"], samples["podman"], strict=True))
    ratios = [statistics.median(ours[i] / theirs[i] for ours, theirs in pairs) for i in range(3)]
    row = "{:8} {:8} wall {:8.{d}f}  settle {:8.{d}f}  cpu {:8.{d}f}"
    for engine, kept in samples.items():
        medians = [statistics.median(column) * 1000 for column in zip(*kept, strict=True)]
        print(row.format(name, engine, *medians, d=1), f"ms  (medians of {len(kept)})")
    print(row.format(name, "ratio", *ratios, d=2), f"    goal {GOALS[name]}", flush=True)
    return max(ratios[0], ratios[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--gate", action="store_true")
    parser.add_argument("-n", type=int, default=11)
    parser.add_argument("--image", default="library/busybox:latest", help="what is run")
    parser.add_argument("--pull", default="library/debian:bookworm", help="what is pulled")
    options = parser.parse_args()
    image, pulled = f"{options.registry}/{options.image}", f"{options.registry}/{options.pull}"
    for engine in ("podman", "sampan"):
        subprocess.run(
            [engine, "pull", "-q", "--tls-verify=false", image],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    ratios = {
        "run": compare("run", ["run", "--rm", "--network", "none", image, "true"], options.n),
        "ps": compare("ps", ["ps", "-a"], options.n),
        "pull": compare("pull", ["pull", "-q", "--tls-verify=false", pulled], max(3, options.n // 3),
                        before=["rmi", "-f", pulled]),
    }  # fmt: skip
    profile = os.path.join(os.path.dirname(__file__), "profile.py")
    print()
    subprocess.run(
        [sys.executable, profile, "sampan", "run", "--rm", "--network", "none", image, "true"],
        check=True,
    )
    missed = {name: ratio for name, ratio in ratios.items() if ratio > GOALS[name] * TOLERANCE}
    if options.gate and missed:
        sys.exit(f"beyond {TOLERANCE} times the goal: {missed}")


main()
