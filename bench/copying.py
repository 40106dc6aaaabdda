"""copying.py --image IMAGE [-n RUNS] [--place DIRECTORY]: `sampan cp` beside `podman cp`, interleaved, in one run.

A file of 1 GiB of random bytes and a tree of 10,000 files, into a running container and out of it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ENGINES = ("podman", "sampan")
FILES = 10_000


def call(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr}")
    return done.stdout.strip()


def make(place: Path) -> None:
    with (place / "big").open("wb") as file:
        for _ in range(1024):
            file.write(os.urandom(1 << 20))
    for number in range(FILES):
        directory = place / "tree" / f"{number // 100:03d}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{number}").write_bytes(b"x" * (number % 4096))


def once(engine: str, name: str, place: Path, what: str, way: str) -> float:
    """Seconds of one copy; what was there is removed before."""
    inside = f"/copied-{what}"
    outside = place / f"out-{engine}"
    shutil.rmtree(outside, ignore_errors=True)
    outside.unlink(missing_ok=True)
    if way == "in":
        call(engine, "exec", name, "rm", "-rf", inside)
        words = (str(place / what), f"{name}:{inside}")
    else:
        words = (f"{name}:{inside}", str(outside))
    begun = time.perf_counter()
    call(engine, "cp", *words)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", required=True)
    parser.add_argument("--place", default="/var/tmp")
    parser.add_argument("-n", type=int, default=5)
    chosen = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="copying-", dir=chosen.place))
    names = {
        engine: call(engine, "run", "-d", "--network", "none", chosen.image, "sleep", "10000")
        for engine in ENGINES
    }
    try:
        make(place)
        for what in ("big", "tree"):
            for way in ("in", "out"):
                taken: dict[str, list[float]] = {engine: [] for engine in ENGINES}
                for _ in range(chosen.n):
                    for engine in ENGINES:
                        taken[engine].append(once(engine, names[engine], place, what, way))
                podman, sampan = (statistics.median(taken[engine]) for engine in ENGINES)
                ratio = statistics.median(
                    b / a for a, b in zip(taken["podman"], taken["sampan"], strict=True)
                )
                print(
                    f"cp {what} {way}: podman {podman:.2f} s, sampan {sampan:.2f} s, ratio {ratio:.2f}"
                )
    finally:
        for engine, name in names.items():
            call(engine, "rm", "-f", "-t", "0", name)
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
