"""How it listens and ends, who is let in, and what a log line says."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import socket
import ssl
import stat
import subprocess
import time
from pathlib import Path

import bcrypt
import pytest

from registryserver import Client, Served, digest, eventually


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def test_a_unix_socket_is_the_users_own(program: str, base: Path) -> None:
    path = base / "socket"
    served = Served(program, base, "--workers", "1", listen=f"unix:{path}")
    for how in (signal.SIGKILL, signal.SIGTERM):  # what is left of the first is replaced
        with served:
            assert served.address == f"unix:{path}"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            connection = UnixConnection(str(path))
            connection.request("GET", "/v2/")
            assert connection.getresponse().status == 200
            second = subprocess.run(
                [program, "registry", "serve", "--listen", f"unix:{path}"],
                env=served.environment, capture_output=True, timeout=20, check=False,
            )  # fmt: skip
            assert second.returncode == 125
            assert b"another process serves it" in second.stderr
            served.stop(how)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly(program: str, base: Path, how: int) -> None:
    """An idle connection does not hold it up, and a request that is being answered is finished."""
    blob = os.urandom(1 << 20)
    with Served(program, base, "--workers", "2") as served:
        idle = [served.client() for _ in range(3)]
        for client in idle:
            assert client("GET", "/v2/").status == 200
        workers = served.workers()
        busy = http.client.HTTPConnection(served.address, timeout=10)
        place = idle[0]("POST", "/v2/end/it/blobs/uploads/").headers["Location"]
        busy.putrequest("PUT", f"{place}?digest={digest(blob)}")
        busy.putheader("Content-Length", str(len(blob)))
        busy.endheaders()
        busy.send(blob[:1000])
        time.sleep(0.2)
        served.process.send_signal(how)
        time.sleep(0.2)
        busy.send(blob[1000:])
        assert busy.getresponse().status == 201
        begun = time.monotonic()
        assert served.process.wait(10) == 0
        assert time.monotonic() - begun < 2
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert served.errors() == ""


def test_one_line_says_where(program: str, base: Path) -> None:
    with Served(program, base, "--workers", "1") as served:
        assert served.address.startswith("127.0.0.1:")
        assert int(served.address.rpartition(":")[2]) > 0
        result = served.sampan("registry", "serve", "--listen", served.address)
        assert result.returncode == 125
        assert result.stderr.startswith(b"Error: cannot listen on 127.0.0.1:")
        assert b"Address already in use; choose another with --listen" in result.stderr
        served.process.terminate()
        assert served.process.stdout
        assert served.process.stdout.read() == b""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--listen", "0.0.0.0:0"], "give --tls-cert and --tls-key and --htpasswd, or say --insecure-listen"),
        (["--listen", ":0"], "other machines could read and change everything"),
        (["--listen", "[::]:0", "--htpasswd", "/etc/passwd"], "give --tls-cert and --tls-key, or"),
        (["--listen", "nowhere"], "it is not HOST:PORT"),
        (["--listen", "::1:5"], "an IPv6 address stands in brackets"),
        (["--listen", "127.0.0.1:99999"], "it is not HOST:PORT"),
        (["--tls-cert", "x"], "--tls-cert and --tls-key go together"),
        (["--workers", "0"], "--workers is a number from 1 to 64"),
        (["--max-blob", "many"], "invalid --max-blob 'many'"),
        (["--driver", "none"], "no registry plugin is named 'none'"),
        (["--htpasswd", "/nonexistent"], "cannot read /nonexistent: No such file"),
        (["--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"], "cannot use the certificate"),
    ],
)  # fmt: skip
def test_what_is_refused(program: str, base: Path, words: list[str], says: str) -> None:
    (base / "run").mkdir(mode=0o700)
    result = Served(program, base).sampan("registry", "serve", *words)
    assert result.returncode == 125
    text = result.stderr.decode()
    assert says in text
    assert text.count("\n") == 1, "one line"


def test_every_address_when_it_is_said(program: str, base: Path) -> None:
    with Served(program, base, "--insecure-listen", "--workers", "1", listen="0.0.0.0:0") as served:
        port = served.address.rpartition(":")[2]
        assert Client(f"127.0.0.1:{port}")("GET", "/v2/").status == 200


def test_reading_only(program: str, base: Path) -> None:
    with Served(program, base, "--workers", "1") as served:
        document = served.client().image("only/read", "x", b"layer")
    with Served(program, base, "--workers", "1", "--read-only") as served:
        client = served.client()
        assert client("GET", "/v2/only/read/manifests/x").body == document
        for method, path in (
            ("POST", "/v2/only/read/blobs/uploads/"),
            ("PUT", "/v2/only/read/manifests/y"),
            ("DELETE", "/v2/only/read/manifests/x"),
            ("DELETE", f"/v2/only/read/blobs/{digest(b'layer')}"),
        ):
            answer = client(method, path)
            assert (answer.status, answer.code) == (405, "UNSUPPORTED")


def test_passwords(program: str, base: Path, htpasswd: Path) -> None:
    users = base / "users"
    users.write_text(htpasswd.read_text())
    with Served(program, base, "--workers", "1", "--htpasswd", str(users)) as served:
        client = served.client()
        for path in ("/v2/", "/v2/_catalog", "/v2/a/tags/list", "/nothing"):
            answer = client("GET", path)
            assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
            assert answer.headers["WWW-Authenticate"] == 'Basic realm="sampan"'
        assert client("PUT", "/v2/a/manifests/x", b"{}").status == 401
        right = basic("alice", "harbour")
        for _ in range(2):  # the second answer comes from memory
            assert client("GET", "/v2/", Authorization=right).status == 200
        for wrong in (
            basic("alice", "Harbour"), basic("alice", ""), basic("bob", "harbour"), basic("", ""),
            "Basic", "Basic !", "Basic " + base64.b64encode(b"alice").decode(), "Basic /w==",
            right.replace("Basic", "Bearer"), "Negotiate x", basic("# users", ""),
            basic("alice", "harbour\x00"), basic("alice", "x" * 1000),
        ):  # fmt: skip
            assert client("GET", "/v2/", Authorization=wrong).status == 401, wrong
        changed = bcrypt.hashpw(b"quay", bcrypt.gensalt(4)).decode()
        users.write_text(f"alice:{changed}\n")
        assert client("GET", "/v2/", Authorization=right).status == 401, "at once, also remembered"
        assert client("GET", "/v2/", Authorization=basic("alice", "quay")).status == 200
    assert served.errors() == ""


@pytest.mark.parametrize(
    "line",
    ["alice:harbour", "alice:{SHA}mJ5CjVCbWJ5C", "alice:$apr1$x$0123456789012345678901", "alice",
     "alice:$2y$31$" + "a" * 53, "alice:$2x$10$" + "a" * 53],
)  # fmt: skip
def test_other_hashes_are_refused(program: str, base: Path, line: str) -> None:
    (base / "run").mkdir(mode=0o700)
    (base / "users").write_text(f"{line}\n")
    served = Served(program, base)
    result = served.sampan("registry", "serve", "--htpasswd", str(base / "users"))
    assert result.returncode == 125
    assert b"users, line 1: the password of 'alice' is not hashed with bcrypt" in result.stderr


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls(program: str, base: Path, certificate: Path) -> None:
    blob = os.urandom(3_000_000)
    options = [
        "--tls-cert",
        str(certificate / "cert.pem"),
        "--tls-key",
        str(certificate / "key.pem"),
    ]
    context = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    with Served(program, base, "--workers", "1", *options) as served:
        client = served.client(context)
        client.push("tls/it", blob)
        path = f"/v2/tls/it/blobs/{digest(blob)}"
        assert client("GET", path).body == blob
        assert client("GET", path, Range="bytes=1000000-1999999").body == blob[1_000_000:2_000_000]
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            served.client()("GET", "/v2/")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.load_verify_locations(str(certificate / "cert.pem"))
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            served.client(old)("GET", "/v2/")
        assert served.client(context)("GET", "/v2/").status == 200


def test_a_line_for_each_request(program: str, base: Path) -> None:
    with Served(program, base, "--workers", "1", level="debug") as served:
        client = served.client()
        client("GET", "/v2/")
        client("GET", "/v2/log/it/manifests/x")
        client("GET", "/v2/a%0A2026%20forged%1b%5b31m/tags/list")
    lines = served.errors().splitlines()
    assert any(line.startswith("GET /v2/ 200 2 ") and line.endswith("ms") for line in lines)
    assert any(line.startswith("GET /v2/log/it/manifests/x 404 ") for line in lines)
    assert any("\\n2026 forged\\x1b[31m" in line for line in lines)
    assert not any(line.startswith("2026") for line in lines)


def test_what_goes_wrong_is_told_to_the_log(program: str, base: Path) -> None:
    with Served(program, base, "--workers", "1") as served:
        client = served.client()
        client.image("wrong/it", "x", b"layer")
        links = base / "root/registry/repositories/wrong@it/manifests"
        links.chmod(0)
        try:
            answer = client("GET", "/v2/wrong/it/manifests/x")
        finally:
            links.chmod(0o700)
        assert answer.status == 500
        assert str(base) not in answer.body.decode()
        assert client("GET", "/v2/wrong/it/manifests/x").status == 200
    assert "Error: GET /v2/wrong/it/manifests/x: [Errno 13] Permission denied" in served.errors()


def test_every_address_of_both_families(program: str, base: Path) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with Served(program, base, "--insecure-listen", "--workers", "1", listen=":0") as served:
        port = served.address.rpartition(":")[2]
        for host in ("127.0.0.1", "[::1]"):
            assert Client(f"{host}:{port}")("GET", "/v2/").status == 200
