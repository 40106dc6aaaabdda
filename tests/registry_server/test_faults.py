"""Killed workers, a killed server, many clients at once, and what it takes of memory."""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from registryserver import Client, Served, digest, eventually

T = TypeVar("T")
SHARED = os.urandom(2_000_000)
MEMORY = 60 << 20  # bytes that a worker may have


def persistent(action: Callable[[], T]) -> T:
    """As clients do: once more after a connection was lost."""
    for attempt in range(20):
        try:
            return action()
        except (OSError, http.client.HTTPException):
            if attempt == 19:
                raise
            time.sleep(0.05)
    raise AssertionError


def push_and_pull(served: Served, number: int, layer: bytes) -> bytes:
    """One client: an image of its own, and one that all push; returns its manifest."""
    name = f"many/n{number % 7}"

    def push() -> bytes:
        client = served.client()
        client.image("many/same", "latest", SHARED)
        return client.image(name, f"t{number}", SHARED, layer)

    def pull() -> None:
        client = served.client()
        assert client("GET", f"/v2/{name}/manifests/t{number}").body == document
        for blob in (SHARED, layer):
            assert client("GET", f"/v2/{name}/blobs/{digest(blob)}").body == blob

    document = persistent(push)
    persistent(pull)
    return document


def test_twenty_clients_while_workers_are_killed(program: str, base: Path) -> None:
    layers = [os.urandom(500_000) for _ in range(20)]
    with Served(program, base) as served:
        stop = threading.Event()
        killed: list[int] = []

        def killer() -> None:
            while not stop.wait(0.15):
                if len(killed) < 6 and (there := served.workers()):
                    killed.append(random.choice(there))
                    os.kill(killed[-1], signal.SIGKILL)

        thread = threading.Thread(target=killer)
        thread.start()
        with ThreadPoolExecutor(20) as pool:
            documents = list(pool.map(lambda n: push_and_pull(served, n, layers[n]), range(20)))
        stop.set()
        thread.join()
        assert killed
        client = served.client()
        for number, document in enumerate(documents):
            answer = client("GET", f"/v2/many/n{number % 7}/manifests/t{number}")
            assert answer.body == document
        assert len(client("GET", "/v2/_catalog").json["repositories"]) == 8
        assert set(map(digest, [SHARED, *layers, *documents])) <= served.blobs()


def test_a_killed_worker_is_replaced_within_a_second(program: str, base: Path) -> None:
    with Served(program, base, "--workers", "3") as served:
        time.sleep(0.6)  # one that has just begun is given more time
        before = set(served.workers())
        assert len(before) == 3
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        eventually(lambda: len(set(served.workers()) - before) == 3)
        assert served.client()("GET", "/v2/").status == 200
        assert time.monotonic() - killed < 1


def test_what_was_acknowledged_outlives_the_server(program: str, base: Path) -> None:
    """kill -9 of all processes amid pushes, three times; each answer that a client had is true afterwards."""
    acknowledged: dict[str, bytes] = {}
    manifests: dict[str, bytes] = {}
    for number in range(3):
        served = Served(program, base)
        with served:
            lock = threading.Lock()

            def push(worker: int, served: Served = served, lock: threading.Lock = lock) -> None:
                while True:
                    layer = os.urandom(100_000)
                    tag = f"t{digest(layer)[7:20]}"
                    try:
                        client = served.client()
                        done = client.push("kill/it", layer)
                        with lock:
                            acknowledged[done] = layer
                        document = client.image("kill/it", tag, layer)
                        with lock:
                            manifests[tag] = document
                    except (OSError, http.client.HTTPException):
                        return

            threads = [threading.Thread(target=push, args=(n,)) for n in range(6)]
            for thread in threads:
                thread.start()
            time.sleep(0.7 + number / 10)
            for pid in (served.process.pid, *served.workers()):
                os.kill(pid, signal.SIGKILL)
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive()
    assert len(manifests) > 10
    with Served(program, base) as served:
        client = served.client()
        for tag, document in manifests.items():
            assert client("GET", f"/v2/kill/it/manifests/{tag}").body == document
        for wanted, layer in acknowledged.items():
            assert client("GET", f"/v2/kill/it/blobs/{wanted}").body == layer
        assert set(manifests) <= set(client("GET", "/v2/kill/it/tags/list").json["tags"])
        served.blobs()  # looks at every digest


def test_the_workers_follow_their_parent(program: str, base: Path) -> None:
    served = Served(program, base, "--workers", "2")
    with served:
        workers = served.workers()
        served.process.kill()
        served.process.wait()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 5)
        served.listen = served.address
        with served:
            assert served.client()("GET", "/v2/").status == 200


def test_an_upload_goes_on_after_everything_was_killed(program: str, base: Path) -> None:
    blob = os.urandom(3_000_000)
    served = Served(program, base, "--workers", "1")
    with served:
        place = served.client()("POST", "/v2/on/it/blobs/uploads/").headers["Location"]
        host, _, port = served.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.putrequest("PATCH", place)
        connection.putheader("Content-Length", str(len(blob)))
        connection.endheaders()
        connection.send(blob[:1_000_000])
        time.sleep(0.3)
        os.kill(served.workers()[0], signal.SIGKILL)
    with served:
        client = served.client()
        answer = client("GET", place)
        assert answer.status == 204
        offset = int(answer.headers["Range"].partition("-")[2]) + 1
        assert 0 < offset <= 1_000_000
        span = f"{offset}-{len(blob) - 1}"
        answer = client("PUT", f"{place}?digest={digest(blob)}", blob[offset:], Content_Range=span)
        assert answer.status == 201
        assert client("GET", f"/v2/on/it/blobs/{digest(blob)}").body == blob


def test_one_request_at_a_time_is_at_an_upload(program: str, base: Path) -> None:
    with Served(program, base) as served:
        place = served.client()("POST", "/v2/one/it/blobs/uploads/").headers["Location"]
        slow = http.client.HTTPConnection(served.address, timeout=20)
        slow.putrequest("PATCH", place)
        slow.putheader("Content-Length", "2")
        slow.endheaders()
        slow.send(b"a")
        time.sleep(0.2)
        answer = served.client()("PATCH", place, b"x")
        assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
        slow.send(b"b")
        assert slow.getresponse().headers["Range"] == "0-1"
        done = served.client()("PUT", f"{place}?digest={digest(b'ab')}")
        assert done.status == 201


def test_stale_uploads_and_unused_blobs_are_swept(program: str, base: Path) -> None:
    used, unused, recent = (os.urandom(1000) for _ in range(3))
    with Served(program, base, "--workers", "1") as served:
        client = served.client()
        document = client.image("old/it", "x", used)
        for blob in (unused, recent):
            client.push("old/it", blob)
        old = client("POST", "/v2/old/it/blobs/uploads/").headers["Location"].rpartition("/")[2]
        new = client("POST", "/v2/old/it/blobs/uploads/").headers["Location"].rpartition("/")[2]
        place = base / "root/registry/repositories/old@it"
        past = time.time() - 2 * 86400
        os.utime(place / "uploads" / old, (past, past))
        # A process of that number cannot be: it was killed while it wrote.
        left = [
            at / ".tmp-4194305-0-ab"
            for at in (place / "blobs", place / "tags", base / "root/blobs/sha256")
        ]
        for file in left:
            file.write_bytes(b"half")
        for blob in (used, unused, recent):
            os.utime(place / "blobs" / digest(blob)[7:], (past, past))
        assert client("HEAD", f"/v2/old/it/blobs/{digest(recent)}").status == 200
        client.image("old/that", "x", b"another")
        assert client("DELETE", "/v2/old/that/manifests/x").status == 202  # which has it tidied
        eventually(lambda: digest(unused) not in served.blobs())
        assert {digest(one) for one in (used, recent, document)} <= served.blobs()
        eventually(lambda: not any(file.exists() for file in left))
        assert [path.name for path in (place / "uploads").iterdir()] == [new]
        assert client("GET", f"/v2/old/it/blobs/{digest(unused)}").status == 404


def test_a_collection_of_images_leaves_the_registry_alone(program: str, base: Path) -> None:
    with Served(program, base, "--workers", "1") as served:
        blob = os.urandom(1000)
        client = served.client()
        document = client.image("keep/it", "x", blob)
        unreferenced = client.push("keep/it", os.urandom(1000))
        assert served.sampan("system", "prune", "-af").returncode == 0
        assert served.sampan("rmi", "-af").returncode == 0
        assert {digest(blob), digest(document), unreferenced} <= served.blobs()


def test_memory_does_not_grow_with_blobs(program: str, base: Path) -> None:
    size = 192 << 20
    path = base / "blob"
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(os.urandom(1 << 20))
    wanted = digest(path.read_bytes())
    with Served(program, base, "--workers", "2") as served:

        def push_and_pull(number: int) -> None:
            client = Client(served.address)
            begun = client("POST", f"/v2/large/n{number}/blobs/uploads/").headers["Location"]
            with open(path, "rb") as file:
                answer = client("PATCH", begun, file, Content_Length=str(size))
            assert answer.status == 202
            done = served.client()("PUT", f"{begun}?digest={wanted}")
            assert done.status == 201, done
            client.connection.request("GET", f"/v2/large/n{number}/blobs/{wanted}")
            response = client.connection.getresponse()
            received = 0
            while chunk := response.read(1 << 20):
                received += len(chunk)
            assert received == size

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(push_and_pull, range(3)))
        for pid in served.workers():
            status = Path(f"/proc/{pid}/status").read_text()
            peak = next(row for row in status.splitlines() if row.startswith("VmHWM"))
            assert int(peak.split()[1]) << 10 < MEMORY


def test_a_full_disk(program: str, base: Path) -> None:
    """The push is refused, what was received of it is gone, and the rest is served and can be removed."""
    small = base / "small"
    small.mkdir()
    user = f"--map-user={os.getuid()} --map-group={os.getgid()}"
    wrapper = base / "program"
    wrapper.write_text(
        f"#!/bin/sh\nexec unshare -rm sh -c 'mount -t tmpfs -o size=16m none {small} && mkdir {small}/run && "
        f'chmod 700 {small}/run && exec unshare -U {user} {program} "$@"\' sh "$@"\n'
    )
    wrapper.chmod(0o755)
    served = Served(str(wrapper), base, "--workers", "2")
    served.environment |= {"SAMPAN_ROOT": f"{small}/root", "SAMPAN_RUN_DIR": f"{small}/run"}
    with served:
        client = served.client()
        first = os.urandom(6 << 20)
        document = client.image("full/it", "x", first)
        for _ in range(3):
            much = os.urandom(12 << 20)
            client = served.client()
            answer = client("POST", f"/v2/full/it/blobs/uploads/?digest={digest(much)}", much)
            assert (answer.status, answer.code) == (507, "UNSUPPORTED")
            place = client("POST", "/v2/full/it/blobs/uploads/").headers["Location"]
            assert served.client()("PATCH", place, much).status == 507
            assert served.client()("GET", place).status == 404
        client = served.client()
        assert client("GET", "/v2/full/it/manifests/x").body == document
        assert client("GET", f"/v2/full/it/blobs/{digest(first)}").body == first
        assert client("DELETE", f"/v2/full/it/manifests/{digest(document)}").status == 202
        assert client("DELETE", f"/v2/full/it/blobs/{digest(first)}").status == 202

        def fits() -> bool:
            return served.client()("POST", path, much).status == 201

        path = f"/v2/full/it/blobs/uploads/?digest={digest(much)}"
        eventually(fits)
    assert "No space left on device" in served.errors()
