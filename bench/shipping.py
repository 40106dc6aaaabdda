"""shipping.py --place DIR --registry HOST:PORT [-n RUNS] IMAGE...: pull, push, save and load beside podman and skopeo.

Interleaved, in one run; the ratio is the median of the pairs with podman.  Each push goes to an empty registry
(Debian's docker-registry, started for it), since one that has the blobs would only be asked.  Memory is the peak
of the largest process.  skopeo copies between the registry and an OCI layout, which it does not unpack.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

PLAIN = "--tls-verify=false"


class Sample(NamedTuple):
    seconds: float
    mebibytes: float


def once(command: Sequence[str]) -> Sample:
    os.sync()
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command}: {errors.decode(errors='replace')[-500:]}")
    return Sample(time.perf_counter() - begun, usage.ru_maxrss / 1024)


@contextlib.contextmanager
def empty_registry(place: str) -> Iterator[str]:
    root = f"{place}/registry"
    shutil.rmtree(root, ignore_errors=True)
    os.makedirs(root)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with open(f"{root}/config.yml", "w") as file:
        file.write(
            f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: {root}/data}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        )
    process = subprocess.Popen(
        ["docker-registry", "serve", f"{root}/config.yml"], stderr=subprocess.DEVNULL
    )
    try:
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(root, ignore_errors=True)


class Bench:
    def __init__(self, place: str, runs: int) -> None:
        self.place, self.runs = place, runs
        podman = ["podman", "--root", f"{place}/podman", "--runroot", f"{place}/run"]
        self.engines = {"podman": podman, "sampan": ["sampan", "--root", f"{place}/sampan"]}

    def compare(
        self,
        name: str,
        command: Callable[[str, list[str]], Sequence[str]],
        before: Callable[[str, list[str]], object],
    ) -> None:
        """command, before: given a tool's name and the words that begin its commands; without one it is left out."""
        tools = {**self.engines, "skopeo": ["skopeo", "--insecure-policy"]}
        samples: dict[str, list[Sample]] = {}
        for number in range(self.runs + 1):
            for tool, words in tools.items():
                if not command(tool, words):
                    continue
                before(tool, words)
                sample = once(
                    command(tool, words)
                )  # asked again: `before` may have found a place for it
                if number:  # the first round warms up
                    samples.setdefault(tool, []).append(sample)
        self.show(name, samples)

    def show(self, name: str, samples: dict[str, list[Sample]]) -> None:
        told: list[str] = []
        for tool, kept in samples.items():
            seconds = statistics.median(one.seconds for one in kept)
            told.append(f"{tool} {seconds:6.2f} s {max(one.mebibytes for one in kept):4.0f} MiB")
        pairs = zip(samples["sampan"], samples["podman"], strict=True)
        ratio = statistics.median(ours.seconds / theirs.seconds for ours, theirs in pairs)
        print(f"{name:32} {'  '.join(told)}  ratio {ratio:5.2f}", flush=True)

    def pull(self, source: str) -> None:
        layout = f"{self.place}/layout"

        def command(tool: str, words: list[str]) -> list[str]:
            if tool == "skopeo":
                return [
                    *words,
                    "copy",
                    "-q",
                    "--src-tls-verify=false",
                    f"docker://{source}",
                    f"oci:{layout}:x",
                ]
            return [*words, "pull", "-q", PLAIN, source]

        def before(tool: str, words: list[str]) -> None:
            if tool == "skopeo":
                shutil.rmtree(layout, ignore_errors=True)
            else:
                subprocess.run([*words, "rmi", "-af"], capture_output=True, check=False)

        self.compare(f"pull {source.partition('/')[2]}", command, before)

    def push(self, source: str, *options: str) -> None:
        name = source.partition("/")[2]
        with contextlib.ExitStack() as stack:
            target = ""

            def before(tool: str, words: list[str]) -> None:
                nonlocal target
                stack.close()
                target = stack.enter_context(empty_registry(self.place))

            def command(tool: str, words: list[str]) -> list[str]:
                to = f"docker://{target}/x"
                if tool == "skopeo":
                    copy = [
                        "copy",
                        "-q",
                        "--dest-tls-verify=false",
                        f"oci:{self.place}/layout:x",
                        to,
                    ]
                    return [] if options else [*words, *copy]
                return [*words, "push", "-q", PLAIN, *options, source, to]

            self.compare(f"push {name} {' '.join(options)}", command, before)

    def archives(self, source: str, form: str) -> None:
        name = source.partition("/")[2]

        def remove(tool: str, words: list[str]) -> None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.place}/{tool}.tar")

        def save(tool: str, words: list[str]) -> list[str]:
            if tool == "skopeo":
                return []
            return [
                *words,
                "save",
                "-q",
                "--format",
                form,
                "-o",
                f"{self.place}/{tool}.tar",
                source,
            ]

        def forget(tool: str, words: list[str]) -> None:
            subprocess.run([*words, "rmi", "-af"], capture_output=True, check=False)

        def load(tool: str, words: list[str]) -> list[str]:
            return (
                [] if tool == "skopeo" else [*words, "load", "-q", "-i", f"{self.place}/{tool}.tar"]
            )

        self.compare(f"save {name} {form}", save, remove)
        self.compare(f"load {name} {form}", load, forget)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", required=True)
    parser.add_argument("--registry", required=True)
    parser.add_argument("-n", type=int, default=5)
    parser.add_argument("images", nargs="+")
    options = parser.parse_args()
    bench = Bench(options.place, options.n)
    for image in options.images:
        source = f"{options.registry}/{image}"
        bench.pull(source)
        bench.push(source)
        bench.push(source, "--compression-format=zstd")
        for form in ("docker-archive", "oci-archive"):
            bench.archives(source, form)


if __name__ == "__main__":
    main()
