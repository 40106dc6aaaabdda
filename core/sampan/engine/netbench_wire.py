"""What `sampan network bench` measures, over TCP: a server in one network namespace and who asks it from another.

The first byte of a connection says what it is for: TAKE what comes and tell how much it was, GIVE as much as is read,
or ECHO.  Every figure is that of one connection at a time.
"""

from __future__ import annotations

import contextlib
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

TAKE, GIVE, ECHO = b"i", b"o", b"e"
CHUNK = 256 << 10
SECONDS = 1.0  # that each of the measurements takes
ROUNDS = 2000  # of question and answer
PATIENCE = 5.0  # seconds after which a connection that stands still is given up
MEGA = 1e6


def serve(listener: socket.socket) -> NoReturn:
    """Answer one connection after another, until this process is ended."""
    data = bytes(CHUNK)
    while True:
        sock, _ = listener.accept()
        with sock, contextlib.suppress(OSError):  # who asks has enough, and goes
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            verb = sock.recv(1)
            if verb == TAKE:
                sock.sendall(str(_taken(sock)).encode())
            while verb == GIVE:
                sock.sendall(data)
            while verb == ECHO and (said := sock.recv(CHUNK)):
                sock.sendall(said)


def _taken(sock: socket.socket) -> int:
    buffer, count = bytearray(CHUNK), 0
    while got := sock.recv_into(buffer):
        count += got
    return count


def measure(address: str, port: int) -> dict[str, Any]:
    """Every figure; one that cannot be had is None, and "Why" says it."""
    found: dict[str, Any] = {"Why": ""}
    measures: dict[str, Callable[[str, int], dict[str, Any]]] = {
        "InMBs": _into, "OutMBs": _out_of, "LatencyUs": _latency, "ConnectsPerSecond": _connects,
    }  # fmt: skip
    for name, action in measures.items():
        try:
            found |= action(address, port)
        except OSError as error:
            found[name] = None
            found["Why"] = f"{name}: {error}"
    return found


def _ask(address: str, port: int, verb: bytes) -> socket.socket:
    sock = socket.create_connection((address, port), timeout=PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(verb)
    return sock


def _into(address: str, port: int) -> dict[str, Any]:
    """Towards the server, until it tells that it has all."""
    data, sent = bytes(CHUNK), 0
    with _ask(address, port, TAKE) as sock:
        begun = time.perf_counter()
        while time.perf_counter() - begun < SECONDS:
            sock.sendall(data)
            sent += CHUNK
        sock.shutdown(socket.SHUT_WR)
        told = int(sock.recv(64) or b"-1")
        taken = time.perf_counter() - begun
    if told != sent:
        raise OSError(f"{told} of {sent} bytes have arrived")
    return {"InMBs": round(sent / taken / MEGA, 1)}


def _out_of(address: str, port: int) -> dict[str, Any]:
    buffer = bytearray(CHUNK)
    with _ask(address, port, GIVE) as sock:
        sock.recv(1)
        begun, got = time.perf_counter(), 0
        while (taken := time.perf_counter() - begun) < SECONDS:
            if not (count := sock.recv_into(buffer)):
                raise ConnectionError("the connection has ended")
            got += count
    return {"OutMBs": round(got / taken / MEGA, 1)}


def _latency(address: str, port: int) -> dict[str, Any]:
    """A byte there and back, over one connection."""
    taken: list[int] = []
    with _ask(address, port, ECHO) as sock:
        for _ in range(ROUNDS):
            begun = time.perf_counter_ns()
            sock.send(b"x")
            if not sock.recv(1):
                raise ConnectionError("the connection has ended")
            taken.append(time.perf_counter_ns() - begun)
    taken.sort()
    median, late = taken[len(taken) // 2], taken[len(taken) * 99 // 100]
    return {"LatencyUs": round(median / 1000, 1), "LatencyP99Us": round(late / 1000, 1)}


def _connects(address: str, port: int) -> dict[str, Any]:
    """New connections, each with a byte there and back: a helper may accept one that nobody answers."""
    begun, count = time.perf_counter(), 0
    while (taken := time.perf_counter() - begun) < SECONDS:
        with _ask(address, port, ECHO) as sock:
            sock.send(b"x")
            if not sock.recv(1):
                raise ConnectionError("the connection has ended")
        count += 1
    return {"ConnectsPerSecond": round(count / taken)}
