"""Requests that nobody means well with: what is not grammar, not HTTP, too large, too slow, or a lie."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from registryserver import Client, Served, digest, eventually

ZERO = "sha256:" + "0" * 64
NAMES = [
    "..", "../..", "a/../b", "a/..", "./a", "a//b", "/a", "a/", "A", "a/B", "-a", "a-", "a..b", "a___b",
    "a._b", ".a", "_a", "a b", "a\\b", "é", "a" * 256, "a@b", "a\n", "a\x00b", "a/.tmp-1", "%", "a;b",
    "blobs/uploads/..", "a/%2e%2e/b",
]  # fmt: skip


def encoded(text: str) -> str:
    """Every byte percent-encoded: the server has to see what is meant."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none(served: Served, client: Client, name: str) -> None:
    for method, path in (
        ("GET", f"/manifests/{ZERO}"),
        ("GET", f"/blobs/{ZERO}"),
        ("PUT", "/manifests/x"),
        ("POST", "/blobs/uploads/"),
        ("DELETE", f"/blobs/{ZERO}"),
        ("GET", "/tags/list"),
        ("GET", f"/referrers/{ZERO}"),
    ):
        answer = client(method, f"/v2/{encoded(name)}{path}")
        assert answer.status in (400, 404), (method, path)
        assert answer.code in ("NAME_INVALID", "NAME_UNKNOWN"), (method, path)
    entries = {path.name for path in (served.base / "root").iterdir()}
    assert entries <= {
        "blobs",
        "registry",
        "leases",
        "oci-layout",
        "store.lock",
        "ingest",
        "index.json",
        "cache",
    }
    assert not any("." in path.name for path in (served.base / "root/registry").rglob("*"))


@pytest.mark.parametrize(
    "selector",
    ["..", ".x", "-x", "a" * 129, "a/b", "sha256:" + "G" * 64, "sha256:", "@", "a b", "\x00",
     "sha256:" + "0" * 63 + "/", "../../../../blobs/sha256/x"],
)  # fmt: skip
def test_a_tag_or_digest_that_is_none(client: Client, selector: str) -> None:
    client.push("hostile/it", b"{}")
    for method in ("GET", "PUT", "DELETE"):
        answer = client(method, f"/v2/hostile/it/manifests/{encoded(selector)}", b"{}")
        assert answer.status in (400, 404)
        assert client("HEAD", f"/v2/hostile/it/blobs/{encoded(selector)}").status in (400, 404)
    answer = client("GET", f"/v2/hostile/it/referrers/{encoded(selector)}")
    assert answer.status in (400, 404)


@pytest.mark.parametrize(
    "upload", ["..", "x", "0" * 36, "-" * 36, ".." + "0" * 34, "../../../store.lock" + "0" * 17]
)
def test_an_upload_that_is_none(client: Client, upload: str) -> None:
    client.push("hostile/it", b"{}")
    for method in ("GET", "PATCH", "DELETE"):
        answer = client(method, f"/v2/hostile/it/blobs/uploads/{encoded(upload)}")
        assert answer.status == 404
    answer = client("PUT", f"/v2/hostile/it/blobs/uploads/{encoded(upload)}?digest={ZERO}", b"x")
    assert answer.status == 404


HEAD = b"POST /v2/hostile/it/blobs/uploads/ HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1e3\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (HEAD + b"Bad Header: 1\r\n\r\n", 400),
        (HEAD + b"X: a\x00b\r\n\r\n", 400),
        (HEAD + b"X: a\r\n folded: 1\r\n\r\n", 202),
        (HEAD + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (HEAD + b"X: " + b"a" * 2_000_000 + b"\r\n\r\n", 431),
        (HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(200)) + b"\r\n", 431),
        (b"POST " + b"/" * 20_000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET /v2/ HTTP/1.1\r\n\r\n", 400),  # without Host
        (b"GET /v2/ HTTP/1.0\r\n\r\n", 200),
        (b"GET /v2/ HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET http://elsewhere/v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
        (b"GET /v2/%ff%fe/tags/list HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /v2/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"GET /v2/?" + b"a=b&" * 500 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(100) + b"\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
def test_what_is_not_http(served: Served, data: bytes, status: int) -> None:
    answer = served.raw(data)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert answer.count(b"HTTP/1.1 ") == 1, "one answer, and the connection ended"
    assert served.client()("GET", "/v2/").status == 200


def test_a_second_request_hidden_in_the_first_is_not_answered(served: Served) -> None:
    hidden = b"GET /v2/_catalog HTTP/1.1\r\nHost: localhost\r\n\r\n"
    head = HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (
        len(hidden) + 5
    )
    answer = served.raw(head + hidden)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_bodies_that_end_early_leave_nothing(served: Served) -> None:
    data = os.urandom(1000)
    head = (
        f"POST /v2/hostile/cut/blobs/uploads/?digest={digest(data)} HTTP/1.1\r\nHost: localhost\r\n"
    )
    for way in (
        b"Content-Length: 2000\r\n\r\n" + data,
        b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + data,
        b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + data,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n" + data,
    ):
        assert served.raw(head.encode() + way) == b""
    assert digest(data) not in served.blobs()
    uploads = served.base / "root/registry/repositories/hostile@cut/uploads"
    eventually(lambda: not list(uploads.iterdir()))


def test_100_continue_is_said_where_the_body_is_wanted(served: Served) -> None:
    data = os.urandom(1000)
    host, _, port = served.address.rpartition(":")
    head = (
        "POST /v2/hostile/expect/blobs/uploads/?digest={} HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(head.format(digest(data)).encode())
        assert sock.recv(1000) == b"HTTP/1.1 100 \r\n\r\n"
        sock.sendall(data)
        assert sock.recv(1000).startswith(b"HTTP/1.1 201 ")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(head.format("sha256:no").encode())
        answer = sock.recv(1000)
        assert answer.startswith(b"HTTP/1.1 400 "), "no body is asked for"
        assert b"connection: close" in answer.lower()


def test_a_refusal_is_read_while_the_body_is_still_sent(served: Served) -> None:
    """A client that sends much more than is wanted sees the answer, not a reset."""
    client = served.client()
    answer = client("PUT", "/v2/hostile/it/manifests/x", b"x" * (30 << 20))
    assert (answer.status, answer.code) == (413, "SIZE_INVALID")


def test_slow_clients_keep_nobody_waiting(program: str, base: Path) -> None:
    """As many as are admitted stand silent; they are given up, and the others are served meanwhile."""
    with Served(program, base, "--workers", "2", "--max-connections", "20") as served:
        host, _, port = served.address.rpartition(":")
        silent: list[socket.socket] = []
        for number in range(30):
            sock = socket.create_connection((host, int(port)), timeout=5)
            sock.sendall(b"GET /v2/ HT"[: number % 11])
            silent.append(sock)
        begun = time.monotonic()
        for _ in range(20):
            assert served.client()("GET", "/v2/").status == 200
        assert time.monotonic() - begun < 5
        for sock in silent:
            sock.close()


def test_blobs_beyond_the_limit(program: str, base: Path) -> None:
    with Served(program, base, "--workers", "1", "--max-blob", "100k") as served:
        client = served.client()
        assert client.push("limit/it", b"x" * (100 << 10))
        too_much = b"y" * ((100 << 10) + 1)
        begun = client("POST", "/v2/limit/it/blobs/uploads/").headers["Location"]
        answer = client("PATCH", begun, too_much)
        assert (answer.status, answer.code) == (413, "SIZE_INVALID")
        client = served.client()
        begun = client("POST", "/v2/limit/it/blobs/uploads/").headers["Location"]
        answer = client("PATCH", begun, iter([b"z" * 60_000, b"z" * 60_000]))
        assert answer.status == 413
        assert client("GET", begun).status == 404, "what was received is gone"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("LOCALHOST:5000", 200), ("127.0.0.1:1", 200), ("127.9.9.9", 200), ("[::1]:5000", 200),
     ("::1", 421), ("evil.example:5000", 421), ("localhost.evil.example", 421), ("127.0.0.1.evil.example", 421),
     ("192.0.2.1", 421), ("[::2]", 421), ("", 421), ("127.1", 421)],
)  # fmt: skip
def test_a_name_that_points_here_is_not_enough(
    served: Served, client: Client, host: str, status: int
) -> None:
    answer = client("GET", "/v2/_catalog", Host=host)
    assert answer.status == status
    if status == 421:
        assert answer.code == "DENIED"
