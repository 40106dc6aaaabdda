"""Whole commands beside podman's, interleaved, in one run: what counts is the median of the ratios, pair by pair."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

ENGINES = ("podman", "sampan")


def call(*words: str) -> float:
    """Seconds of a command, which must succeed."""
    begun = time.perf_counter()
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )  # fmt: skip
    taken = time.perf_counter() - begun
    if done.returncode:
        sys.exit(
            f"{words}: status {done.returncode}: {done.stderr.decode(errors='replace')[-400:]}"
        )
    return taken


def compare(name: str, runs: int, goal: float, once: Callable[[str, int], float]) -> None:
    """Print a row. once: (engine, round) -> seconds; goal: the ratio that we want."""
    taken: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for number in range(runs + 1):
        for engine in ENGINES:
            seconds = once(engine, number)
            if number:  # the first round warms up
                taken[engine].append(seconds)
    ratio = statistics.median(b / a for a, b in zip(*taken.values(), strict=True))
    podman, sampan = (statistics.median(taken[engine]) * 1000 for engine in ENGINES)
    row = f"{name:12} podman {podman:8.1f} ms  sampan {sampan:8.1f} ms  ratio {ratio:.2f}"
    print(f"{row}  goal {goal}", flush=True)
