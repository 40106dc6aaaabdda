"""One client's connection: requests in, responses out, within limits of size and time.

h11 is the parser, which is strict and does no input or output.  A request's body is an iterator over bytes as they
arrive; a response's body is bytes or a part of a file, which the kernel sends.  What a client announces in two ways
at once (Content-Length with Transfer-Encoding) is refused, since a proxy before us may have read it the other way.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote

import h11

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[["Request"], "Response"]

SILENCE = 60.0  # seconds without a byte after which a client is given up; a request's head has as many in all
HEAD_LIMIT = 16 << 10  # bytes of a request line with its headers
HEADERS_LIMIT = 100
CHUNK = 128 << 10
DRAIN_LIMIT = 1 << 20  # what is read of a body that nobody wanted, to keep the connection
_LINGER = 2.0  # seconds that a client has to read an answer that came before its body ended


class BadRequestError(Exception):
    """The client's request cannot be understood; `status` tells it so."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class GoneError(Exception):
    """The client has gone, is silent, or talks nonsense amid a body: nobody is there to be answered."""


class FilePart:
    """`count` bytes of an open file from `offset` on; the descriptor is closed when they are sent."""

    __slots__ = ("count", "fd", "offset")

    def __init__(self, fd: int, offset: int, count: int) -> None:
        self.fd, self.offset, self.count = fd, offset, count

    def __len__(self) -> int:
        return self.count


class Response:
    """Status, headers and body. Content-Length is the body's, also where HEAD leaves the body out."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, status: int, headers: dict[str, str] | None = None, body: bytes | FilePart = b""
    ) -> None:
        self.status, self.headers, self.body = status, headers or {}, body


class Request:
    """method, the decoded path, query parameters in order, and headers by their lower-case name."""

    __slots__ = ("_connection", "headers", "method", "path", "query")

    def __init__(self, connection: Connection, event: h11.Request) -> None:
        self._connection = connection
        self.method = event.method.decode("ascii")
        self.headers: dict[str, str] = {}
        if event.http_version not in (b"1.0", b"1.1"):
            raise BadRequestError(505, "this server speaks HTTP 1.0 and 1.1")
        if len(event.headers) > HEADERS_LIMIT:
            raise BadRequestError(431, "too many headers")
        for name, value in event.headers:
            text = value.decode("latin-1")
            key = name.decode("ascii")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text
        if "transfer-encoding" in self.headers and "content-length" in self.headers:
            raise BadRequestError(400, "Content-Length and Transfer-Encoding contradict each other")
        target = event.target.decode("latin-1")
        if not target.startswith("/"):  # the absolute form, which a server has to understand
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _, query = target.partition("?")
        self.path = unquote(path, errors="strict" if path.isascii() else "replace")
        try:
            self.query = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
        except ValueError:
            raise BadRequestError(400, "too many query parameters") from None

    def parameter(self, name: str) -> str | None:
        """The first query parameter of that name."""
        return next((value for key, value in self.query if key == name), None)

    @property
    def length(self) -> int | None:
        """The bytes that the body is announced to have; None if it comes in chunks."""
        if "transfer-encoding" in self.headers:
            return None
        return int(self.headers.get("content-length", "0"))

    def body(self) -> Iterator[bytes | bytearray]:
        """The body as it arrives. GoneError."""
        return self._connection.body()


class Connection:
    """A connected socket, which is closed when `serve` returns."""

    def __init__(self, sock: socket.socket, silence: float = SILENCE) -> None:
        self._sock, self._silence = sock, silence
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._buffer = memoryview(bytearray(CHUNK))
        self._ending = False
        self.idle = True

    def serve(self, handler: Handler) -> None:
        """Answer requests until one side has had enough."""
        try:
            while (request := self._next()) is not None:
                self._answer(request, handler(request))
                if self._h11.their_state is h11.SEND_BODY:
                    self._linger()
                if self._ending or self._h11.our_state is not h11.DONE:
                    return
                self._h11.start_next_cycle()
                self.idle = True
        except (GoneError, OSError):
            return
        finally:
            self._sock.close()

    def end(self) -> None:
        """From another thread: end after the request that is being answered, or at once if there is none."""
        self._ending = True
        if self.idle:
            try:
                self._sock.shutdown(socket.SHUT_RD)
            except OSError:
                pass  # it has just ended by itself

    def body(self) -> Iterator[bytes | bytearray]:
        while (data := self._more()) is not None:
            yield data

    def _more(self) -> bytes | bytearray | None:
        """The next bytes of the body, None after the last."""
        try:
            self._sock.settimeout(self._silence)
            if self._h11.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                self._sock.sendall(self._h11.send(go_on) or b"")
            while (event := self._h11.next_event()) is h11.NEED_DATA:
                self._receive(CHUNK)
        except (OSError, h11.RemoteProtocolError) as error:
            raise GoneError(str(error)) from None
        return event.data if isinstance(event, h11.Data) else None

    def _next(self) -> Request | None:
        """The next request; None if the client or we ended the connection."""
        deadline = time.monotonic() + self._silence
        room = HEAD_LIMIT
        try:
            while not self._ending:
                event = self._h11.next_event()
                if isinstance(event, h11.Request):
                    self.idle = False
                    return Request(self, event)
                if event is not h11.NEED_DATA:
                    return None
                if not room:
                    raise BadRequestError(431, f"the head has more than {HEAD_LIMIT} bytes")
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._sock.settimeout(left)
                room -= self._receive(room)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, str(error))
        except BadRequestError as error:
            self._refuse(error.status, str(error))
        except UnicodeDecodeError:
            self._refuse(400, "the path is not UTF-8")
        return None

    def _receive(self, count: int) -> int:
        received = self._sock.recv_into(self._buffer, count)
        self._h11.receive_data(bytes(self._buffer[:received]))
        return received

    def _refuse(self, status: int, why: str) -> None:
        """Answer what could not be read as a request, and end."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        self._ending = True
        text = f"{why}\n".encode(errors="replace")
        self._send(Response(status, {"Content-Type": "text/plain"}, text), head=False)
        self._linger()

    def _answer(self, request: Request, response: Response) -> None:
        try:
            if not self._read_out(request):
                self._ending = True
            self._send(response, head=request.method == "HEAD")
        finally:
            if isinstance(response.body, FilePart):
                os.close(response.body.fd)

    def _read_out(self, request: Request) -> bool:
        """Whether the whole body was read; a small rest that nobody wanted is read here."""
        if self._h11.their_state is not h11.SEND_BODY:
            return True
        if self._h11.they_are_waiting_for_100_continue or (request.length or 0) > DRAIN_LIMIT:
            return False
        left = DRAIN_LIMIT
        for data in self.body():
            left -= len(data)
            if left < 0:
                return False
        return True

    def _send(self, response: Response, *, head: bool) -> None:
        body = response.body
        headers = list(response.headers.items())
        if response.status != 204:
            headers.append(("Content-Length", str(len(body))))
        if self._ending:
            headers.append(("Connection", "close"))
        reason = HTTPStatus(response.status).phrase
        event = h11.Response(status_code=response.status, headers=headers, reason=reason)
        first = self._h11.send(event) or b""
        self._sock.settimeout(self._silence)
        if head or not len(body):
            self._sock.sendall(first)
        elif isinstance(body, bytes):
            self._sock.sendall(first + b"".join(self._passed(body)))
        else:
            self._sock.sendall(first)
            self._passed(body)
            self._send_file(body)
        self._h11.send(h11.EndOfMessage())

    def _passed(self, body: bytes | FilePart) -> list[bytes]:
        """h11 counts the body, which it only needs the length of."""
        return self._h11.send_with_data_passthrough(h11.Data(data=body)) or []  # type: ignore[arg-type]

    def _send_file(self, part: FilePart) -> None:
        if isinstance(self._sock, ssl.SSLSocket):
            offset, end = part.offset, part.offset + part.count
            while offset < end:
                count = os.preadv(part.fd, [self._buffer[: end - offset]], offset)
                if not count:
                    raise OSError("the file was cut while it was sent")
                self._sock.sendall(self._buffer[:count])
                offset += count
            return
        with open(part.fd, "rb", buffering=0, closefd=False) as file:
            if self._sock.sendfile(file, part.offset, part.count) != part.count:
                raise OSError("the file was cut while it was sent")

    def _linger(self) -> None:
        """Let the client read the answer: closing with unread bytes would reset the connection."""
        try:
            if not isinstance(self._sock, ssl.SSLSocket):
                self._sock.shutdown(socket.SHUT_WR)
            until = time.monotonic() + _LINGER
            while (left := until - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv_into(self._buffer):
                    return
        except OSError:
            return
