"""life.py --image IMAGE [-n RUNS] [--many N]: a container's verbs beside podman's, interleaved, in one run.

What counts is the median of the ratios, pair by pair.  --many: how many containers `ps -a` lists at the end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable

from beside import ENGINES, call, compare

GOALS = {
    "exec": 0.3, "create": 1.0, "start": 0.6, "run -d": 0.6, "stop -t 0": 0.4, "rm -f": 0.4, "rm": 0.4, "inspect": 1.0,
    "ps": 1.0, "logs": 0.5, "parallel": 0.5, "ps -a 100": 0.5, "ps -a 1000": 0.3,
}  # fmt: skip


def life(image: str, runs: int) -> None:
    alone = ["--network", "none"]
    sleeping = [image, "sleep", "1000"]

    def with_running(verb: list[str], after: list[str]) -> Callable[[str, int], float]:
        def once(engine: str, number: int) -> float:
            name = f"b{number}"
            call(engine, "run", "-d", "--name", name, *alone, *sleeping)
            taken = call(engine, *verb, name)
            if after:
                call(engine, *after, name)
            return taken

        return once

    def created(engine: str, number: int) -> float:
        taken = call(engine, "create", "--name", f"b{number}", *alone, *sleeping)
        call(engine, "rm", f"b{number}")
        return taken

    def started(engine: str, number: int) -> float:
        call(engine, "create", "--name", f"b{number}", *alone, *sleeping)
        taken = call(engine, "start", f"b{number}")
        call(engine, "rm", "-f", "-t", "0", f"b{number}")
        return taken

    def detached(engine: str, number: int) -> float:
        taken = call(engine, "run", "-d", "--name", f"b{number}", *alone, *sleeping)
        call(engine, "rm", "-f", "-t", "0", f"b{number}")
        return taken

    def removed(engine: str, number: int) -> float:
        call(engine, "create", "--name", f"b{number}", *alone, *sleeping)
        return call(engine, "rm", f"b{number}")

    for engine in ENGINES:
        call(engine, "run", "-d", "--name", "steady", *alone, *sleeping)
    compare("exec", runs, GOALS["exec"], lambda engine, _: call(engine, "exec", "steady", "true"))
    compare("create", runs, GOALS["create"], created)
    compare("start", runs, GOALS["start"], started)
    compare("run -d", runs, GOALS["run -d"], detached)
    compare("stop -t 0", runs, GOALS["stop -t 0"], with_running(["stop", "-t", "0"], ["rm"]))
    compare("rm -f", runs, GOALS["rm -f"], with_running(["rm", "-f", "-t", "0"], []))
    compare("rm", runs, GOALS["rm"], removed)
    compare("inspect", runs, GOALS["inspect"], lambda engine, _: call(engine, "inspect", "steady"))
    compare("ps", runs, GOALS["ps"], lambda engine, _: call(engine, "ps"))
    for engine in ENGINES:
        call(engine, "rm", "-f", "-t", "0", "steady")


def logs(image: str) -> None:
    """A million lines of 100 bytes."""
    script = f"yes {'0123456789' * 10} | cut -c2- | head -n 1000000"
    options = ["--network", "none", "--log-driver", "k8s-file"]
    for engine in ENGINES:
        call(engine, "run", "--name", "wordy", *options, image, "sh", "-c", script)
    compare("logs", 3, GOALS["logs"], lambda engine, _: call(engine, "logs", "wordy"))
    for engine in ENGINES:
        call(engine, "rm", "wordy")


def parallel(image: str, crowd: int = 50) -> None:
    def once(engine: str, _: int) -> float:
        begun = time.perf_counter()
        words = [engine, "run", "--rm", "--network", "none", image, "true"]
        runs = [subprocess.Popen(words, stdin=subprocess.DEVNULL) for _ in range(crowd)]
        codes = {process.wait() for process in runs}
        if codes != {0}:
            sys.exit(f"{words}: {codes}")
        return time.perf_counter() - begun

    compare("parallel", 3, GOALS["parallel"], once)


def monitors(image: str, count: int = 50) -> None:
    """Proportional memory of each monitor, with so many of them, when their commands are gone.

    A monitor is not dumpable: only root of the host may read it; bench/pss does, of these pids.
    """
    for number in range(count):
        call(
            "sampan",
            "run",
            "-d",
            "--name",
            f"m{number}",
            "--network",
            "none",
            image,
            "sleep",
            "1000",
        )
    words = [
        "sampan",
        "inspect",
        "--format",
        "{{.State.ConmonPid}}",
        *(f"m{n}" for n in range(count)),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    print("monitors", *done.stdout.split(), flush=True)
    time.sleep(5)
    call("sampan", "rm", "-f", "-t", "0", *(f"m{number}" for number in range(count)))


def many(image: str, most: int) -> None:
    made = 0
    for count in (100, 1000):
        if count > most:
            break
        for engine in ENGINES:
            for number in range(made, count):
                call(engine, "create", "--name", f"x{number}", "--network", "none", image, "true")
        made = count
        compare(
            f"ps -a {count}", 7, GOALS[f"ps -a {count}"], lambda engine, _: call(engine, "ps", "-a")
        )
    for engine in ENGINES:
        call(engine, "rm", "-a")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("-n", type=int, default=11)
    parser.add_argument("--many", type=int, default=100)
    chosen = parser.parse_args()
    for engine in ENGINES:
        call(engine, "pull", "-q", "--tls-verify=false", chosen.image)
    life(chosen.image, chosen.n)
    parallel(chosen.image)
    logs(chosen.image)
    monitors(chosen.image)
    many(chosen.image, chosen.many)


main()
