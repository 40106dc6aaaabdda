"""A registry in the test's process that answers as told: well by default, badly by rules."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from httpthread import HttpThread, Quiet
from imagemaker import MadeImage, digest
from sampan.model import image as model


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]  # lower-case names
    turn: int  # how often this path was asked for, this time included
    body: bytes = b""


class Reply:
    """What is sent. cut: only so many bytes and then the end; stall: silence for so long before
    it.
    """

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        headers: dict[str, str] | list[tuple[str, str]] | None = None,
        *,
        cut: int | None = None,
        stall: float = 0.0,
        length: int | None = None,
    ) -> None:
        self.status, self.body, self.cut, self.stall = status, body, cut, stall
        self.headers = list(headers.items()) if isinstance(headers, dict) else (headers or [])
        self.length = len(body) if length is None else length


Rule = Callable[[Request], Reply | None]


class BadRegistry(HttpThread):
    """`with BadRegistry() as registry: registry.add("a/b", "1", image)`."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """With a context it speaks TLS."""
        self.scheme = "https" if context else "http"
        self.rules: list[Rule] = []
        self.requests: list[Request] = []
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.blobs: dict[str, bytes] = {}
        self.uploads: dict[str, bytearray] = {}
        self.cuts: list[int] = []  # after so many bytes of each next PATCH the connection ends
        self._counts: dict[str, int] = {}
        registry = self

        class Handler(Quiet):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry._serve(self)

            do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

        super().__init__(Handler)
        if context:  # the handshake is the handling thread's
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    def name(self, repository: str = "x", tag: str = "1") -> str:
        return f"{self.host}/{repository}:{tag}"

    def add(
        self, image: MadeImage, *, tag: str = "1", media_type: str = model.OCI_MANIFEST
    ) -> None:
        """Serve the image in every repository."""
        self.put(image.manifest, media_type, tag)
        self.blobs.update(image.blobs)

    def put(self, manifest: bytes, media_type: str, tag: str = "") -> None:
        for key in (tag, digest(manifest)):
            if key:
                self.manifests[key] = manifest, media_type

    def paths(self, part: str = "") -> list[str]:
        return [request.path for request in self.requests if part in request.path]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path
        self._counts[path] = self._counts.get(path, 0) + 1
        headers = {name.lower(): value for name, value in handler.headers.items()}
        length = int(headers.get("content-length") or 0)
        cut = self.cuts.pop(0) if handler.command == "PATCH" and self.cuts else None
        body = handler.rfile.read(length if cut is None else cut) if length else b""
        request = Request(handler.command, path, headers, self._counts[path], body)
        self.requests.append(request)
        if cut is not None:
            self.uploads[path.rsplit("/", 1)[1].partition("?")[0]] += body
            handler.close_connection = True
            return
        reply = next((r for r in (rule(request) for rule in self.rules) if r), None)
        self._send(handler, reply or self.good(request))

    def good(self, request: Request) -> Reply:
        """What a faultless registry answers."""
        words = request.path.split("/")
        if request.path == "/v2/":
            return Reply()
        get = request.method in ("GET", "HEAD")
        if get and len(words) > 4 and words[-2] == "manifests" and words[-1] in self.manifests:
            data, media_type = self.manifests[words[-1]]
            headers = {"Content-Type": media_type, "Docker-Content-Digest": digest(data)}
            return Reply(200, data, headers)
        if len(words) > 4 and words[-2] == "blobs" and words[-1] in self.blobs:
            return self.ranged(request, self.blobs[words[-1]])
        if "/blobs/uploads/" in request.path:
            return self._upload(request)
        if request.method == "PUT" and words[-2] == "manifests":
            self.put(request.body, request.headers["content-type"], words[-1])
            return Reply(201, headers={"Docker-Content-Digest": digest(request.body)})
        return Reply(404, b'{"errors":[{"code":"NOT_FOUND","message":"there is none"}]}')

    def _upload(self, request: Request) -> Reply:
        """POST begins, PATCH adds, GET tells how much there is, PUT ends (distribution-spec)."""
        path, _, query = request.path.partition("?")
        if request.method == "POST":
            name = f"u{len(self.uploads)}"
            self.uploads[name] = bytearray()
            return Reply(202, headers={"Location": f"{path}{name}"})
        name = path.rsplit("/", 1)[1]
        upload = self.uploads.get(name)
        if upload is None:
            return Reply(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        begin = request.headers.get("content-range", "").partition("-")[0]
        if begin and int(begin) != len(upload):
            return Reply(416)
        upload += request.body
        told = {"Location": path, "Range": f"0-{max(0, len(upload) - 1)}"}
        if request.method != "PUT":
            return Reply(204 if request.method == "GET" else 202, headers=told)
        wanted = dict(parse_qsl(query)).get("digest")
        if digest(bytes(upload)) != wanted:
            return Reply(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
        self.blobs[wanted] = bytes(self.uploads.pop(name))
        return Reply(201, headers={"Docker-Content-Digest": wanted})

    @staticmethod
    def ranged(request: Request, data: bytes, **options: Any) -> Reply:
        wanted = request.headers.get("range")
        if not wanted:
            return Reply(200, data, **options)
        begin = int(wanted.removeprefix("bytes=").partition("-")[0])
        span = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        return Reply(206, data[begin:], {"Content-Range": span}, **options)

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        try:
            if reply.stall:
                time.sleep(reply.stall)
            handler.send_response(reply.status)
            for name, value in reply.headers:
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(reply.length))
            handler.end_headers()
            if handler.command == "HEAD":
                return
            handler.wfile.write(reply.body if reply.cut is None else reply.body[: reply.cut])
            if reply.cut is not None or reply.length != len(reply.body):
                handler.wfile.flush()
                handler.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True
