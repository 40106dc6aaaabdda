"""networks.py --image IMAGE [--small IMAGE] [-n RUNS]: each network beside podman's, interleaved, in one run.

`run --rm` of `true` of the small image, and what `sampan network bench` measures, through a port of a container that is
published at 127.0.0.1.  IMAGE needs perl (debian has it): both engines run the same server, the same client asks it.
podman has two port handlers for slirp4netns: its default, rootlesskit, hides the client's address; the other does what
sampan does.  podman's "bridge" is its default network, which rootless containers reach through rootlesskit, too.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

from beside import ENGINES, call, compare

from sampan.engine import netbench_wire

ROWS: dict[str, tuple[str, str]] = {  # podman's word, sampan's word
    "host": ("host", "host"),
    "slirp4netns": ("slirp4netns", "slirp4netns"),
    "the same handler": ("slirp4netns:port_handler=slirp4netns", "slirp4netns"),
    "pasta": ("pasta", "pasta"),
    "bridge": ("bridge", "bridge"),
}
FIGURES = {"InMBs": "in MB/s", "OutMBs": "out MB/s", "LatencyUs": "there and back us", "LatencyP99Us": "of 99 % us",
           "ConnectsPerSecond": "connections/s"}  # fmt: skip
GOAL = 0.5  # of `run --rm`
# netbench_wire.serve: perl -e SERVER ADDRESS PORT
SERVER = r"""
use Socket qw(:DEFAULT IPPROTO_TCP TCP_NODELAY);
my ($address, $port) = @ARGV;
$SIG{PIPE} = "IGNORE";
my $data = "\0" x 262144;
socket(my $s, AF_INET, SOCK_STREAM, 0) or die;
setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, pack_sockaddr_in($port, inet_aton($address))) && listen($s, 128) or die "$!";
while (accept(my $c, $s)) {
    setsockopt($c, IPPROTO_TCP, TCP_NODELAY, 1);
    sysread($c, my $verb, 1);
    if ($verb eq "i") {
        my $count = 0;
        while (my $got = sysread($c, $_, 262144)) { $count += $got }
        syswrite($c, $count);
    } elsif ($verb eq "o") {
        1 while syswrite($c, $data);
    } elsif ($verb eq "e") {
        while (sysread($c, $_, 262144)) { syswrite($c, $_) or last }
    }
    close($c);
}
"""


def able(engine: str, network: str, image: str) -> str:
    """Why the engine cannot run a container on it, in its own words."""
    done = subprocess.run(
        [engine, "run", "--rm", "--network", network, image, "true"], capture_output=True, text=True, check=False
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if "Error" in line] or [done.stderr.strip()]
    return lines[-1] if done.returncode else ""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def served(engine: str, network: str, image: str) -> dict[str, Any]:
    """The figures of one container."""
    port = free_port()
    options, place = ["-p", f"127.0.0.1:{port}:80"], ["0.0.0.0", "80"]
    if network == "host":
        options, place = [], ["127.0.0.1", str(port)]
    name = f"{engine}-networks"
    call(
        engine, "run", "-d", "--name", name, "--network", network, *options, image, "perl", "-e", SERVER, *place
    )  # fmt: skip
    try:
        await_answer(port)
        return netbench_wire.measure("127.0.0.1", port)
    finally:
        call(engine, "rm", "-f", "-t", "0", name)


def await_answer(port: int) -> None:
    """A helper may listen before the server does."""
    for _ in range(100):
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as sock:
                sock.sendall(netbench_wire.ECHO + b"x")
                if sock.recv(1):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"nothing answers at port {port}")


def figures(label: str, engines: dict[str, str], image: str, runs: int) -> None:
    """Print a row for each figure. engines: {engine: its word for the network}."""
    found: dict[str, list[dict[str, Any]]] = {engine: [] for engine in engines}
    for _ in range(runs):
        for engine, network in engines.items():
            measured = served(engine, network, image)
            found[engine].append(measured)
            if measured["Why"]:
                print(f"{label:17}{engine}: {measured['Why']}", flush=True)
    for figure, shown in FIGURES.items():
        rounds = [
            values
            for row in zip(*found.values(), strict=True)
            if None not in (values := [one.get(figure) for one in row])
        ]
        if not rounds:
            continue
        medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
        text = "".join(f"  {engine} {m:9.1f}" for engine, m in zip(engines, medians, strict=True))
        if len(engines) == 2:
            text += f"  ratio {statistics.median(b / a for a, b in rounds):.2f}"
        print(f"{label:17}{shown:18}{text}  (of {len(rounds)})", flush=True)


def running(engines: dict[str, str], image: str) -> Callable[[str, int], float]:
    def once(engine: str, _: int) -> float:
        return call(engine, "run", "--rm", "--network", engines[engine], image, "true")

    return once


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True)
    parser.add_argument("--small", help="what `run --rm` runs, by default IMAGE")
    parser.add_argument("-n", type=int, default=5)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(ROWS)}; without one, all")
    chosen = parser.parse_args()
    small = chosen.small or chosen.image
    for engine in ENGINES:
        for image in {chosen.image, small}:
            call(engine, "pull", "-q", "--tls-verify=false", image)
    for label in chosen.rows or ROWS:
        words = dict(zip(ENGINES, ROWS[label], strict=True))
        for engine in ENGINES:
            if wrong := able(engine, words[engine], small):
                print(f"{label:17}{engine} has it not: {wrong}", flush=True)
                del words[engine]
        if len(words) == 2:
            compare(f"run {label}", chosen.n, GOAL, running(dict(words), small))
        if words:
            figures(label, words, chosen.image, chosen.n)


main()
