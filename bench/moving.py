"""moving.py --image IMAGE [-n RUNS] [--place DIRECTORY] [--mib SIZE]: `container move` between two stores of this user.

The container has written a file of random bytes.  Each round moves it through a real sshd on the loopback interface
and, for comparison, through a stand-in for ssh that runs the other side directly: the difference is ssh's share.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

DIRECT = '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n'


def call(*words: str, **more: str) -> str:
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env={**os.environ, **more}
    )
    if done.returncode:
        raise SystemExit(f"{words}: {done.stderr}")
    return done.stdout.strip()


def serve(place: Path) -> tuple[subprocess.Popen[bytes], list[str]]:
    """An sshd of this user, and the words to get in."""
    for name in ("host", "key"):
        call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (place / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\n"
        f"AuthorizedKeysFile {place}/key.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
    )
    server = subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-f", str(place / "config")], stdin=subprocess.DEVNULL
    )
    time.sleep(0.5)
    known = f"[127.0.0.1]:{port} {(place / 'host.pub').read_text()}"
    (place / "known").write_text(known)
    return server, [
        "--port", str(port), "--identity", f"{place}/key", "--ssh-option", f"UserKnownHostsFile={place}/known",
    ]  # fmt: skip


def once(place: Path, words: list[str], image: str, mib: int, path: str) -> float:
    """Seconds of one move of a new container that has stopped; the other store has the image."""
    script = f"dd if=/dev/urandom of=/big bs=1048576 count={mib}"
    call("sampan", "run", "--network", "none", "--name", "mover", image, "sh", "-c", script)
    begun = time.perf_counter()
    call("sampan", "container", "move", "-q", *words, "mover", "127.0.0.1", PATH=path)
    taken = time.perf_counter() - begun
    call(str(place / "there"), "rm", "mover")
    call(str(place / "there"), "image", "prune", "-f")
    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", required=True)
    parser.add_argument("--place", default="/var/tmp")
    parser.add_argument("--mib", type=int, default=100)
    parser.add_argument("-n", type=int, default=5)
    chosen = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="moving-", dir=chosen.place))
    there = place / "there"
    roots = f"export SAMPAN_ROOT='{place}/root' SAMPAN_RUN_DIR='{place}/run'"
    there.write_text(f'#!/bin/sh\n{roots}\nexec {shutil.which("sampan")} "$@"\n')
    direct = place / "bin" / "ssh"
    direct.parent.mkdir()
    direct.write_text(DIRECT)
    for script in (there, direct):
        script.chmod(0o755)
    server, words = serve(place)
    words += ["--remote-program", str(there)]
    path = os.environ["PATH"]
    ways = {"ssh": path, "direct": f"{direct.parent}:{path}"}
    try:
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for number in range(chosen.n + 1):
            for way, where in ways.items():
                seconds = once(place, words, chosen.image, chosen.mib, where)
                if number:  # the first round sends the image
                    taken[way].append(seconds)
        for way, seconds in taken.items():
            print(
                f"{chosen.mib} MiB {way}: median {statistics.median(seconds):.2f} s of {len(seconds)}"
            )
        shares = [1 - b / a for a, b in zip(taken["ssh"], taken["direct"], strict=True)]
        print(f"share of ssh: {statistics.median(shares):.0%}")
    finally:
        server.terminate()
        subprocess.run([str(there), "rmi", "-af"], capture_output=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
