"""`sampan registry serve` as a process of a test's own, and what is said to it over HTTP."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, media_type: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


def manifest(config: bytes, *layers: bytes, config_type: str = CONFIG, **more: Any) -> bytes:
    """An image manifest; its bytes are no other program's way of writing JSON."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config, config_type),
        "layers": [descriptor(layer, LAYER) for layer in layers],
        **more,
    }
    return json.dumps(document, indent=3).encode() + b"\n"


def index(*manifests: bytes, **more: Any) -> bytes:
    rows = [descriptor(data, MANIFEST) for data in manifests]
    document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": rows, **more}
    return json.dumps(document).encode()


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The specification's code of an error."""
        return str(self.json["errors"][0]["code"])


class Client:
    """One connection, that is kept."""

    def __init__(self, address: str, context: ssl.SSLContext | None = None) -> None:
        self.connection = (
            http.client.HTTPSConnection(address, context=context, timeout=30)
            if context
            else http.client.HTTPConnection(address, timeout=30)
        )

    def __call__(self, method: str, path: str, body: Any = b"", **headers: str) -> Answer:
        """Header names have `_` for `-`. A body is bytes, a file, or an iterator, which is sent in chunks."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body == b"":
            sent.setdefault("Content-Length", "0")
        self.connection.request(method, path, body=body or None, headers=sent)
        response = self.connection.getresponse()
        return Answer(response.status, response.headers, response.read())

    def push(self, name: str, data: bytes) -> str:
        """A blob, by POST and PUT."""
        begun = self("POST", f"/v2/{name}/blobs/uploads/")
        assert begun.status == 202, begun
        place = begun.headers["Location"]
        done = self("PUT", f"{place}?digest={digest(data)}", data)
        assert done.status == 201, done
        return digest(data)

    def put(self, name: str, tag: str, data: bytes, media_type: str = MANIFEST) -> Answer:
        return self("PUT", f"/v2/{name}/manifests/{tag}", data, Content_Type=media_type)

    def image(self, name: str, tag: str, *layers: bytes, **more: Any) -> bytes:
        """An image of these layers; returns its manifest."""
        config = json.dumps({"os": "linux", "of": [digest(layer) for layer in layers]}).encode()
        for data in (config, *layers):
            self.push(name, data)
        document = manifest(config, *layers, **more)
        answer = self.put(name, tag, document)
        assert answer.status == 201, answer
        return document


class Served:
    """A server over a store of its own; `with` starts it and ends it."""

    def __init__(
        self, program: str, base: Path, *options: str, listen: str = "127.0.0.1:0", level: str = ""
    ) -> None:
        self.program, self.base = program, base
        self.options, self.listen, self.level = options, listen, level
        self.address = ""
        self.process: subprocess.Popen[bytes]
        self.environment = {
            **{k: v for k, v in os.environ.items() if k in ("HOME", "PATH", "USER", "LANG")},
            "SAMPAN_ROOT": str(base / "root"),
            "SAMPAN_RUN_DIR": str(base / "run"),
        }

    def __enter__(self) -> Self:
        (self.base / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        words = [*(["--log-level", self.level] if self.level else []), "registry", "serve"]
        with open(self.base / "errors", "ab") as errors:
            self.process = subprocess.Popen(
                [self.program, *words, "--listen", self.listen, *self.options],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        assert self.process.stdout
        line = self.process.stdout.readline().decode()
        assert line.startswith("listening on "), (line, self.errors())
        self.address = line.removeprefix("listening on ").strip()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def stop(self, how: int = signal.SIGTERM) -> int:
        """End it; returns its status."""
        self.process.send_signal(how)
        status = self.process.wait(20)
        assert self.process.stdout
        self.process.stdout.close()
        return status

    def client(self, context: ssl.SSLContext | None = None) -> Client:
        return Client(self.address, context)

    def raw(self, data: bytes, *, wait: float = 10.0) -> bytes:
        """Send these bytes and read until the server closes."""
        host, _, port = self.address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=wait) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            received = b""
            while chunk := sock.recv(65536):
                received += chunk
        return received

    def sampan(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self.program, *words],
            env=self.environment,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )

    def workers(self) -> list[int]:
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def blobs(self) -> set[str]:
        """The digests of all blobs of the store, each of which is checked."""
        found: set[str] = set()
        for path in (self.base / "root/blobs/sha256").iterdir():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # a collection has just taken it
            if not path.name.startswith("."):
                assert digest(data) == f"sha256:{path.name}"
                found.add(digest(data))
        return found

    def errors(self) -> str:
        return (self.base / "errors").read_text()


def eventually(condition: Any, seconds: float = 10.0) -> None:
    """Wait until the condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
