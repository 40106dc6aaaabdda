"""UDP at this machine's loopback interface: published there alone or everywhere, on each kind of network."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from networks import ask, free_port, helpers, holder, name_of, needs, own_address, serve
from system_tools import DEBIAN, Sampan, ended, until

pytestmark = [needs("slirp4netns"), needs("pasta")]
MODES = ["slirp4netns", "net", "pasta"]
LOOPBACK = "127.0.0.1"
# perl -e ECHO: what comes to port 53 goes back.
ECHO = r"""
use Socket;
socket(my $s, AF_INET, SOCK_DGRAM, 0) or die;
bind($s, pack_sockaddr_in(53, INADDR_ANY)) or die;
while (my $peer = recv($s, $_, 65536, 0)) { send($s, $_, 0, $peer) }
"""


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest, sampan: Sampan) -> str:
    if request.param == "net":
        sampan.text("network", "create", "net")
    return str(request.param)


def parent(sampan: Sampan, mode: str) -> int:
    return holder(sampan) if mode == "net" else int(sampan.state("c")["ConmonPid"])


def relays(sampan: Sampan, mode: str) -> list[int]:
    pid = parent(sampan, mode)
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(pid) for pid in found if name_of(int(pid)) == "sampan-udp"]


def echoes(port: int, data: bytes, sock: socket.socket | None = None) -> bool:
    with sock or socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2)
        asking.sendto(data, (LOOPBACK, port))
        try:
            return asking.recvfrom(65536) == (data, (LOOPBACK, port))
        except OSError:
            return False


def echo(sampan: Sampan, mode: str, port: int) -> None:
    """A container `c` that sends back what comes to the port."""
    words = ("--name", "c", "--network", mode, "-p", f"{port}:53/udp")
    sampan.text("run", "-d", *words, DEBIAN, "perl", "-e", ECHO)
    assert until(lambda: echoes(port, b"there?"))


def test_it_is_answered(sampan: Sampan, mode: str) -> None:
    everywhere, here = free_port(), free_port()
    words = ("-p", f"{everywhere}:53/udp", "-p", f"{LOOPBACK}:{here}:53/udp")
    serve(sampan, "--network", mode, *words, port=53, kind="udp")
    settings = json.loads(sampan.text("inspect", "c"))[0]["NetworkSettings"]
    seen = settings["Networks"]["net"]["Gateway"] if mode == "net" else settings["IPAddress"]
    assert seen
    for port in (everywhere, here):
        assert ask(LOOPBACK, port, "udp") == seen
    own = own_address()
    if mode != "pasta":  # of Debian 12: it does not answer the machine itself there
        assert ask(own, everywhere, "udp") == own
    assert ask(own, here, "udp") == ""
    listed = sampan.text("port", "c")
    assert f"53/udp -> {LOOPBACK}:{here}" in listed and f"53/udp -> 0.0.0.0:{everywhere}" in listed


def test_many_ask_at_once_and_each_gets_its_own_answer(sampan: Sampan, mode: str) -> None:
    port = free_port()
    echo(sampan, mode, port)
    asking = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(200)]
    try:
        for number, sock in enumerate(asking):
            sock.settimeout(5)
            sock.sendto(b"%d" % number, (LOOPBACK, port))
            if number % 20 == 19:  # a receiver's buffer has room for so many
                assert sock.recv(99) == b"%d" % number
        for number, sock in enumerate(asking):
            if number % 20 != 19:
                assert sock.recv(99) == b"%d" % number
    finally:
        for sock in asking:
            sock.close()
    assert echoes(port, b"x" * 60000)


def test_its_process_has_nothing_and_ends_with_the_container(sampan: Sampan, mode: str) -> None:
    port = free_port()
    echo(sampan, mode, port)
    (pid,) = relays(sampan, mode)
    status = Path(f"/proc/{pid}/status").read_text()
    rights = [
        line.split()[1] for line in status.splitlines() if line.startswith(("CapEff", "CapPrm"))
    ]
    assert rights == ["0" * 16] * 2 and "NoNewPrivs:\t1" in status
    sampan.text("rm", "-f", "-t", "0", "c")
    assert until(lambda: ended(pid), 1)
    echo(sampan, mode, port)
    os.kill(sampan.state("c")["ConmonPid"], signal.SIGKILL)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert until(lambda: is_free(sock, port), 1)


def is_free(sock: socket.socket, port: int) -> bool:
    try:
        sock.bind((LOOPBACK, port))
    except OSError:
        return False
    return True


def test_a_killed_one_is_started_again(sampan: Sampan, mode: str) -> None:
    port = free_port()
    echo(sampan, mode, port)
    (pid,) = relays(sampan, mode)
    (beside,) = helpers(parent(sampan, mode))
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: echoes(port, b"again?"))
    assert relays(sampan, mode) not in ([], [pid])
    assert not ended(beside)
    which = f"container={sampan.text('inspect', '-f', '{{.Id}}', 'c')}"
    words = ("events", "--stream=false", "--filter", "event=reconnect", "--filter", which)
    assert len(sampan.text(*words).splitlines()) == 1


def test_nobody_else_gets_what_is_sent_there(sampan: Sampan, mode: str) -> None:
    """Sockets that share a port take it from each other, if all of them allow it (socket(7), SO_REUSEADDR)."""
    port = free_port()
    echo(sampan, mode, port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert not is_free(thief, port)


def test_it_waits_for_a_server_that_comes_later(sampan: Sampan, mode: str) -> None:
    port = free_port()
    words = ("--network", mode, "-p", f"{LOOPBACK}:{port}:53/udp", DEBIAN, "sleep", "100")
    sampan.text("run", "-d", "--name", "c", *words)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(3):
            sock.sendto(b"too early", (LOOPBACK, port))
    sampan.text("exec", "-d", "c", "perl", "-e", ECHO)
    assert until(lambda: echoes(port, b"now?"))
