"""registry.py [--size MIB] [-n RUNS] DIRECTORY: `sampan registry serve` beside docker-registry, in one run.

Both serve from DIRECTORY, over HTTP on the loopback interface.  A blob of random bytes is pushed (POST, PATCH, PUT) and
pulled over one connection; small manifests are pulled by eight at once.  Every digest is checked by the server when it
is pushed.  Medians, and the median of the ratio pair by pair; `peak` is the largest resident set of a serving process.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
REQUESTS = 2000


@contextmanager
def serving(command: list[str], port: int, **more: object) -> Iterator[int]:
    """Its pid, once it answers; it is ended afterwards."""
    quiet = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    process = subprocess.Popen(command, **quiet, **more)  # type: ignore[call-overload]
    try:
        for _ in range(100):
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def peak(pid: int) -> float:
    """MiB of the process or its child that has had most."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = 0
    for one in (str(pid), *children):
        for row in Path(f"/proc/{one}/status").read_text().splitlines():
            if row.startswith("VmHWM"):
                found = max(found, int(row.split()[1]))
    return found / 1024


def call(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: object = b"",
    **headers: str,
) -> http.client.HTTPResponse:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=sent)  # type: ignore[arg-type]
    response = connection.getresponse()
    if response.status >= 300:
        sys.exit(f"{method} {path}: {response.status} {response.read()!r}")
    return response


def new_blob(path: Path, size: int) -> str:
    """Write random bytes, which no registry has; returns their digest."""
    hashed = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(size):
            chunk = os.urandom(1 << 20)
            hashed.update(chunk)
            file.write(chunk)
    return f"sha256:{hashed.hexdigest()}"


def push(port: int, name: str, source: Path, digest: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, blocksize=1 << 20)
    begun = time.perf_counter()
    response = call(connection, "POST", f"/v2/{name}/blobs/uploads/", Content_Length="0")
    response.read()
    place = response.headers["Location"]
    with source.open("rb") as file:
        size = str(source.stat().st_size)
        kind = "application/octet-stream"
        response = call(connection, "PATCH", place, file, Content_Length=size, Content_Type=kind)
        response.read()
    place = response.headers["Location"]
    mark = "&" if "?" in place else "?"
    call(connection, "PUT", f"{place}{mark}digest={digest}", Content_Length="0").read()
    return time.perf_counter() - begun


def pull(port: int, name: str, digest: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    begun = time.perf_counter()
    response = call(connection, "GET", f"/v2/{name}/blobs/{digest}")
    buffer = bytearray(1 << 20)
    while response.readinto(buffer):
        pass
    return time.perf_counter() - begun


def small(port: int, directory: Path) -> float:
    """Manifests a second, pulled by eight clients."""
    config = directory / "config"
    config.write_bytes(b'{"os":"linux"}')
    digest = f"sha256:{hashlib.sha256(config.read_bytes()).hexdigest()}"
    push(port, "small", config, digest)
    part = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": 14}
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": part, "layers": []}
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps(document).encode()
    call(connection, "PUT", "/v2/small/manifests/x", body, Content_Type=MANIFEST).read()

    def client(_: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(REQUESTS // 8):
            call(connection, "GET", "/v2/small/manifests/x", Accept=MANIFEST).read()

    begun = time.perf_counter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))
    return REQUESTS / (time.perf_counter() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--size", type=int, default=1024, help="MiB")
    parser.add_argument("-n", type=int, default=5, help="runs")
    options = parser.parse_args()
    top: Path = options.directory
    source = top / "blob"
    ports = {"docker-registry": free_port(), "sampan": free_port()}
    (top / "theirs.yml").write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{ports['docker-registry']}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: {top}/theirs}}, delete: {{enabled: true}}}}\n"
    )
    (top / "run").mkdir(mode=0o700, exist_ok=True)
    environment = {
        **os.environ,
        "SAMPAN_ROOT": str(top / "root"),
        "SAMPAN_RUN_DIR": str(top / "run"),
    }
    ours = ["sampan", "registry", "serve", "--listen", f"127.0.0.1:{ports['sampan']}"]
    theirs = ["docker-registry", "serve", str(top / "theirs.yml")]
    rows: dict[tuple[str, str], list[float]] = {}
    with (
        serving(theirs, ports["docker-registry"]) as their_pid,
        serving(ours, ports["sampan"], env=environment) as our_pid,
    ):
        pids = {"docker-registry": their_pid, "sampan": our_pid}
        for number in range(options.n):
            digest = new_blob(source, options.size)
            for who, port in ports.items():
                name = f"bench/n{number}"
                os.sync()
                seconds = push(port, name, source, digest)
                rows.setdefault(("push, MiB/s", who), []).append(options.size / seconds)
                seconds = pull(port, name, digest)
                rows.setdefault(("pull, MiB/s", who), []).append(options.size / seconds)
                rows.setdefault(("manifests/s", who), []).append(small(port, top))
        for who, pid in pids.items():
            rows["peak, MiB", who] = [peak(pid)]
    print(f"{'':14} {'docker-registry':>16} {'sampan':>10} {'ratio':>8}")
    for what in sorted({what for what, _ in rows}):
        theirs_of, ours_of = rows[what, "docker-registry"], rows[what, "sampan"]
        ratio = statistics.median(b / a for a, b in zip(theirs_of, ours_of, strict=True))
        medians = statistics.median(theirs_of), statistics.median(ours_of)
        print(f"{what:14} {medians[0]:16.0f} {medians[1]:10.0f} {ratio:8.2f}   n={len(ours_of)}")


main()
