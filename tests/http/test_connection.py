"""One connection over a pair of sockets: what is silent or slow is given up, whatever it has sent."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from sampan.http.connection import Connection, FilePart, GoneError, Request, Response

SILENCE = 0.5


class Peer:
    """The client's end, and the thread that serves the other one."""

    def __init__(self) -> None:
        self.sock, ours = socket.socketpair()
        self.sock.settimeout(10)
        self.seen: list[tuple[str, str, bytes]] = []
        self.gone: list[str] = []
        self.connection = Connection(ours, SILENCE)
        self.thread = threading.Thread(target=self.connection.serve, args=(self.handle,))
        self.thread.start()

    def handle(self, request: Request) -> Response:
        if request.path == "/file":
            fd = os.open("/proc/self/exe", os.O_RDONLY)
            return Response(200, {}, FilePart(fd, 4, 1000))
        try:
            body = b"".join(request.body()) if request.path == "/read" else b""
        except GoneError as error:
            self.gone.append(str(error))
            raise
        self.seen.append((request.method, request.path, body))
        return Response(200, {"X-Seen": str(len(self.seen))}, b"seen")

    def received(self) -> bytes:
        """All that comes until the server closes."""
        received = b""
        while chunk := self.sock.recv(65536):
            received += chunk
        return received

    def ended_within(self, seconds: float) -> None:
        self.thread.join(seconds)
        assert not self.thread.is_alive()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.sock.close()
    made.ended_within(5)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_silence_ends_it(peer: Peer, sent: bytes) -> None:
    peer.sock.sendall(sent)
    begun = time.monotonic()
    assert peer.received() == b""
    assert SILENCE * 0.9 < time.monotonic() - begun < SILENCE * 4


def test_a_head_in_drops_ends_it(peer: Peer) -> None:
    """Each byte comes in time, all together do not."""
    begun = time.monotonic()
    with pytest.raises(OSError):
        for _ in range(100):
            peer.sock.sendall(b"G")
            time.sleep(SILENCE / 5)
    assert time.monotonic() - begun < SILENCE * 4
    assert peer.seen == []


def test_a_body_that_stops_ends_it(peer: Peer) -> None:
    peer.sock.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert peer.received() == b""
    assert peer.gone == ["timed out"]


def test_a_slow_body_is_waited_for(peer: Peer) -> None:
    peer.sock.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
    for _ in range(10):
        time.sleep(SILENCE / 5)
        peer.sock.sendall(b"a")
    peer.sock.shutdown(socket.SHUT_WR)
    assert b"X-Seen: 1" in peer.received()
    assert peer.seen == [("POST", "/read", b"a" * 10)]


def test_a_client_that_does_not_read_ends_it(peer: Peer) -> None:
    peer.sock.sendall(b"GET /read HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    for _ in range(50):
        try:
            peer.sock.settimeout(0.1)
            peer.sock.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        except OSError:
            break
    peer.ended_within(SILENCE * 8)


def test_several_requests_at_once_are_answered_in_order(peer: Peer) -> None:
    peer.sock.sendall(
        b"GET /a?x=1 HTTP/1.1\r\nHost: x\r\n\r\n"
        b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        b"POST /unread HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /"
        b"HEAD /b HTTP/1.1\r\nHost: x\r\n\r\n"
        b"GET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        b"GET /d HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    answers = peer.received()
    assert peer.seen == [
        ("GET", "/a", b""), ("POST", "/read", b"abc"), ("POST", "/unread", b""), ("HEAD", "/b", b""),
        ("GET", "/c", b""),
    ]  # fmt: skip
    assert answers.count(b"HTTP/1.1 200 ") == 5
    assert answers.count(b"\r\n\r\nseen") == 4, "HEAD has none"
    assert answers.count(b"Content-Length: 4") == 5


def test_a_part_of_a_file(peer: Peer) -> None:
    peer.sock.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    with open("/proc/self/exe", "rb") as file:
        assert peer.received().partition(b"\r\n\r\n")[2] == file.read(1004)[4:]
    peer.ended_within(5)
    program = os.readlink("/proc/self/exe")
    left = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
    assert program not in [os.readlink(f"/proc/self/fd/{fd}") for fd in left], "it was closed"


def test_the_end_waits_for_an_answer_and_not_for_a_client(peer: Peer) -> None:
    peer.sock.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
    time.sleep(0.1)
    peer.connection.end()
    peer.sock.sendall(b"abc")
    answer = peer.received()
    assert answer.startswith(b"HTTP/1.1 200 ") and b"Connection: close" in answer
    other = Peer()
    begun = time.monotonic()
    time.sleep(0.05)
    other.connection.end()
    assert other.received() == b""
    assert time.monotonic() - begun < SILENCE
    other.ended_within(1)
