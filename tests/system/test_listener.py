"""A published port is open for as long as its container runs, over many restarts, and is free when that has ended."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import ExitStack

import pytest

from networks import ask, free_port, helpers, holder, needs, serve
from system_tools import DEBIAN, Sampan, until

pytestmark = [needs("slirp4netns"), needs("pasta")]
MODES = ["slirp4netns", "pasta", "net"]
RESTARTS = 50
# Says hello to whoever comes: perl -e GREETER.
GREETER = r"""
use Socket;
socket(my $s, AF_INET, SOCK_STREAM, 0) or die;
bind($s, pack_sockaddr_in(80, INADDR_ANY)) or die;
listen($s, 999) or die;
while (accept(my $c, $s)) { syswrite($c, "hello"); close($c) }
"""


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, sampan: Sampan) -> str:
    if request.param == "net":
        sampan.text("network", "create", "net")
    return str(request.param)


def free(port: int) -> bool:
    """Whether another program can listen there, over TCP and UDP."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as sock:
            if (
                kind == socket.SOCK_STREAM
            ):  # as servers do: connections that have ended are no matter
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("0.0.0.0", port))
                if kind == socket.SOCK_STREAM:
                    sock.listen()
            except OSError:
                return False
    return True


def answers(port: int) -> bool:
    return ask("127.0.0.1", port) != ""


def owner(sampan: Sampan, mode: str) -> int:
    """Whose children the helpers are."""
    return holder(sampan) if mode == "net" else int(sampan.state("c")["ConmonPid"])


def test_many_restarts(sampan: Sampan, mode: str) -> None:
    port = free_port()
    serve(sampan, "--network", mode, "-p", f"{port}:80", "-p", f"{port}:80/udp")
    sampan.text("restart", "-t", "0", "c")
    assert until(lambda: answers(port))
    helping, first = len(helpers(owner(sampan, mode))), holder(sampan)
    for _ in range(RESTARTS):
        sampan.text("restart", "-t", "0", "c")
        assert until(lambda: answers(port))
        assert not free(port)
    assert len(helpers(owner(sampan, mode))) == helping and holder(sampan) == first
    sampan.text("stop", "-t", "0", "c")
    assert free(port)


@pytest.mark.parametrize("victim", ["Pid", "ConmonPid"])
def test_killed(sampan: Sampan, mode: str, victim: str) -> None:
    """The container, or its monitor: the port is free within a second, and the container can be started again."""
    port = free_port()
    serve(sampan, "--network", mode, "-p", f"{port}:80", "-p", f"{port}:80/udp")
    assert not free(port)
    os.kill(sampan.state("c")[victim], signal.SIGKILL)
    assert until(lambda: free(port), 1)
    assert until(lambda: sampan.state("c")["Status"] == "exited")
    sampan.text("start", "c")
    assert until(lambda: answers(port)) and not free(port)


def test_a_killed_helper(sampan: Sampan, mode: str) -> None:
    """It is replaced, and its replacement ends with the container."""
    port = free_port()
    serve(sampan, "--network", mode, "-p", f"{port}:80")
    parent = owner(sampan, mode)
    before = helpers(parent)
    assert before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: answers(port) and not set(helpers(parent)) & set(before))
    sampan.text("rm", "-f", "-t", "0", "c")
    assert until(lambda: free(port), 1)


def test_a_command_that_ends_at_once(sampan: Sampan, mode: str) -> None:
    port = free_port()
    for _ in range(3):
        result = sampan("run", "--rm", "--network", mode, "-p", f"{port}:80", "busybox", "false")
        assert result.returncode == 1 and free(port)


def test_a_burst_of_connections(sampan: Sampan, mode: str) -> None:
    """Many at once: none waits until its first packet is sent again, which takes a second at least."""
    port = free_port()
    words = ("--network", mode, "-p", f"{port}:80", DEBIAN, "perl", "-e", GREETER)
    sampan.text("run", "-d", "--name", "c", *words)
    assert until(lambda: greeted(port, 1))
    begin = time.monotonic()
    assert greeted(port, 100)
    assert time.monotonic() - begin < 0.9


def greeted(port: int, count: int) -> bool:
    """Whether each of so many connections that are begun at once is answered."""
    with ExitStack() as stack:
        connections = [stack.enter_context(socket.socket()) for _ in range(count)]
        for connection in connections:
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
        for connection in connections:
            connection.settimeout(10)
        try:
            return all(connection.recv(9) == b"hello" for connection in connections)
        except OSError:
            return False
