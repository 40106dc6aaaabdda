"""storage.py --registry HOST:PORT --place DIR [-n RUNS] [--mebibytes N]: the storage drivers beside podman's.

Interleaved, in one run; the ratio is the median of the pairs.  Both engines get stores of their own below DIR.
Measured: pull and unpack, run and remove (per driver), commit of a change of N MiB, images with 200 images, rmi.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import tarfile
import time
from collections.abc import Callable

DRIVERS = ("overlay", "fuse-overlayfs", "vfs")
Engine = Callable[..., list[str]]


def engines(place: str, driver: str) -> dict[str, Engine]:
    root = f"{place}/{{}}-{driver}"
    option = ["--storage-driver", "vfs" if driver == "vfs" else "overlay"]
    if driver == "fuse-overlayfs":
        option += ["--storage-opt", "overlay.mount_program=/usr/bin/fuse-overlayfs"]
    ours, theirs = root.format("sampan"), root.format("podman")
    return {
        "podman": lambda *words: [
            "podman",
            "--root",
            theirs,
            "--runroot",
            f"{theirs}.run",
            *option,
            *words,
        ],
        "sampan": lambda *words: ["sampan", "--root", ours, "--storage-driver", driver, *words],
    }


def run(command: list[str], **more: object) -> float:
    begun = time.perf_counter()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, **more
    )  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"{command}: {done.stderr.decode(errors='replace')[-500:]}")
    return time.perf_counter() - begun


def compare(
    name: str, both: dict[str, Engine], words: list[str], runs: int, after: list[str] | None = None
) -> None:
    """after: what undoes the command, not timed."""
    times: dict[str, list[float]] = {"podman": [], "sampan": []}
    for number in range(runs + 1):
        for engine, made in both.items():
            seconds = run(made(*words))
            if after:
                run(made(*after))
            if number:  # the first round warms up
                times[engine].append(seconds)
    ratio = statistics.median(a / b for a, b in zip(times["sampan"], times["podman"], strict=True))
    told = "  ".join(
        f"{engine} {statistics.median(kept) * 1000:8.0f} ms" for engine, kept in times.items()
    )
    print(f"{name:34} {told}  ratio {ratio:5.2f}  ({runs})", flush=True)


def small_archive(path: str, number: int) -> None:
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("file")
        data = str(number).encode()
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", required=True)
    parser.add_argument("--place", required=True)
    parser.add_argument("-n", type=int, default=10)
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--images", type=int, default=200)
    options = parser.parse_args()
    image = f"{options.registry}/library/debian:bookworm"
    for driver in DRIVERS:
        both = engines(options.place, driver)
        compare(
            f"{driver}: pull and unpack",
            both,
            ["pull", "-q", "--tls-verify=false", image],
            3,
            ["rmi", "-f", image],
        )
        for made in both.values():
            run(made("pull", "-q", "--tls-verify=false", image))
        words = ["run", "--rm", "--network", "none", image, "true"]
        compare(f"{driver}: run --rm true", both, words, options.n)
    both = engines(options.place, "overlay")
    write = f"head -c {options.mebibytes}M /dev/urandom > /big"
    for made in both.values():
        run(made("run", "--name", "big", "--network", "none", image, "sh", "-c", write))
    compare(
        f"overlay: commit of {options.mebibytes} MiB",
        both,
        ["commit", "-q", "big", "big:1"],
        3,
        ["rmi", "big:1"],
    )
    archive = f"{options.place}/small.tar"
    for number in range(options.images):
        small_archive(archive, number)
        for made in both.values():
            run(made("import", archive, f"small:{number}"))
    os.unlink(archive)
    compare(f"images, {options.images} of them", both, ["images"], options.n)
    for number in range(5):
        small_archive(archive, 10_000 + number)
        for made in both.values():
            run(made("import", archive, f"gone:{number}"))
    times = {
        name: [run(made("rmi", f"gone:{number}")) for number in range(5)]
        for name, made in both.items()
    }
    medians = {name: statistics.median(kept) for name, kept in times.items()}
    told = "  ".join(f"{name} {value * 1000:8.0f} ms" for name, value in medians.items())
    print(f"{'rmi':34} {told}  ratio {medians['sampan'] / medians['podman']:5.2f}  (5)")


main()
