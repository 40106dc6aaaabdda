"""building.py --image IMAGE --work DIR [-n RUNS]: builds beside podman's, interleaved, in one run.

What counts is the median of the ratios, pair by pair.  The context of 50,000 files is made in DIR once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

ENGINES = ("podman", "sampan")
GOALS = {"ten": 0.5, "ten cached": 0.4, "stages": 0.35, "copy": 0.3, "copy cached": 0.1}
TEN = """FROM {image}
ENV A=1
WORKDIR /w
COPY f /w/f
RUN echo 1 > /w/1
RUN echo 2 > /w/2
RUN echo 3 > /w/3
RUN echo 4 > /w/4
LABEL x=y
CMD ["/bin/sh"]
"""
STAGES = (
    "".join(f"FROM {{image}} AS {name}\nRUN sleep 2; echo {name} > /{name}\n" for name in "abcd")
    + "FROM {image}\n"
    + "".join(f"COPY --from={name} /{name} /{name}\n" for name in "abcd")
)
COPY = "FROM {image}\nCOPY . /app/\nRUN true\n"


def call(words: Sequence[str]) -> float:
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


def compare(name: str, runs: int, once: Callable[[str], float]) -> None:
    taken: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for number in range(runs + 1):
        for engine in ENGINES:
            seconds = once(engine)
            if number:  # the first round warms up
                taken[engine].append(seconds)
    ratio = statistics.median(b / a for a, b in zip(*taken.values(), strict=True))
    podman, sampan = (statistics.median(taken[engine]) * 1000 for engine in ENGINES)
    row = f"{name:12} podman {podman:8.1f} ms  sampan {sampan:8.1f} ms  ratio {ratio:.2f}"
    print(f"{row}  goal {GOALS[name]}", flush=True)


def many_files(place: str, count: int = 50_000) -> None:
    """So many files of 64 bytes to 4 KiB, a hundred a directory."""
    for number in range(count):
        directory = f"{place}/{number // 1000}/{number // 100 % 10}"
        if number % 100 == 0:
            os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/{number}", "wb") as file:
            file.write(os.urandom(64) * (1 + number % 64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("-n", type=int, default=10)
    parser.add_argument("names", nargs="*", default=list(GOALS))
    given = parser.parse_args()
    ten, files = f"{given.work}/ten", f"{given.work}/files"
    os.makedirs(ten, exist_ok=True)
    with open(f"{ten}/f", "w", encoding="ascii") as file:
        file.write("hi\n")
    if not os.path.isdir(files):
        many_files(files)
    for name, text in (("ten", TEN), ("stages", STAGES), ("copy", COPY)):
        with open(f"{given.work}/{name}.Dockerfile", "w", encoding="ascii") as file:
            file.write(text.format(image=given.image))

    def build(engine: str, name: str, context: str, *words: str) -> float:
        file = f"{given.work}/{name}.Dockerfile"
        common = ["build", "-q", "--network", "none", "-t", f"bench-{name}", "-f", file]
        return call([engine, *common, *words, context])

    for name in given.names:
        which, _, cached = name.partition(" ")
        context = files if which == "copy" else ten
        runs = given.n if which == "ten" else min(given.n, 3)
        words = [] if cached else ["--no-cache"]
        compare(name, runs, lambda engine: build(engine, which, context, *words))  # noqa: B023


if __name__ == "__main__":
    main()
