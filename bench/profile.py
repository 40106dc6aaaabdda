"""profile.py [-n RUNS] COMMAND...: where the time of `sampan run` goes, stage by stage (medians, milliseconds).

Stages of the monitor, which works beside the command, are indented.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time


def run_once(command: list[str], path: str) -> list[tuple[str, float]]:
    """(label, milliseconds after the start) of every mark of one run."""
    begun = time.monotonic_ns()
    subprocess.run(
        command, check=True, env={**os.environ, "SAMPAN_MARKS": path}, stdin=subprocess.DEVNULL
    )
    ended = time.monotonic_ns()
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split(" ", 2) for line in file]
    os.unlink(path)
    marks = [(label, (int(moment) - begun) / 1e6) for moment, _, label in rows]
    return [*marks, ("reaped", (ended - begun) / 1e6)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=15, help="runs")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    times: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(options.n + 1):
            for label, moment in run_once(options.command, f"{directory}/marks"):
                if number:
                    times.setdefault(label, []).append(moment)
    rows = sorted(((statistics.median(v), label) for label, v in times.items()))
    previous = {False: 0.0, True: 0.0}
    print(f"{'at':>7} {'took':>6}  stage (medians of {options.n}, ms)")
    for moment, label in rows:
        inner = label.startswith(" ")
        print(f"{moment:7.1f} {moment - previous[inner]:6.1f}  {label}")
        previous[inner] = moment


main()
