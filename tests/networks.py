"""What the tests of networks share: servers on both sides, and the helpers of a container."""

from __future__ import annotations

import http.server
import os
import random
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from system_tools import DEBIAN, Sampan, ended, until

TUN = os.access("/dev/net/tun", os.R_OK | os.W_OK)
# What answers in a container with the address of whoever asks: perl -e SERVER tcp|udp PORT.
SERVER = r"""
use Socket qw(:all :addrinfo);
my ($kind, $port) = @ARGV;
socket(my $s, AF_INET6, $kind eq "tcp" ? SOCK_STREAM : SOCK_DGRAM, 0) or die;
setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, pack_sockaddr_in6($port, IN6ADDR_ANY)) or die;
sub name { my ($error, $host) = getnameinfo($_[0], NI_NUMERICHOST | NI_NUMERICSERV); $host =~ s/^::ffff://; $host }
if ($kind eq "tcp") {
    listen($s, 9);
    while (my $peer = accept(my $c, $s)) {
        setsockopt($c, SOL_SOCKET, SO_RCVTIMEO, pack("l!l!", 1, 0));  # of who was killed no end is heard
        sysread($c, $_, 999) and syswrite($c, "HTTP/1.0 200 OK\r\n\r\n" . name($peer));
        close($c);
    }
}
while (my $peer = recv($s, $_, 999, 0)) { send($s, name($peer), 0, $peer) }
"""


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not (shutil.which(program) and TUN),
        reason=f"{program} and /dev/net/tun for everybody are needed",
    )


def own_address() -> str:
    """An address of this machine that is not its loopback interface's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("198.51.100.1", 9))
        return str(probe.getsockname()[0])


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the caller's address."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())

    def log_message(self, *_: Any) -> None:
        return


@contextmanager
def serving(address: str) -> Iterator[int]:
    """The port of a server of this machine."""
    found = http.server.ThreadingHTTPServer((address, 0), Echo)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield found.server_port
    found.shutdown()
    found.server_close()


def fetch(address: str, port: int) -> tuple[str, ...]:
    """A command for a container: the last line of what the server says."""
    request = r"printf 'GET / HTTP/1.0\r\n\r\n'"
    return ("sh", "-c", f"{request} | nc -w 5 {address} {port} | tail -n 1")


def serve(sampan: Sampan, *words: str, name: str = "c", port: int = 80, kind: str = "tcp") -> None:
    """Start a container that answers at a port, and wait until it does."""
    server = ("perl", "-e", SERVER, kind, str(port))
    sampan.text("run", "-d", "--name", name, *words, DEBIAN, *server)
    table = Path(f"/proc/{sampan.state(name)['Pid']}/net/{kind}6")
    assert until(lambda: f":{port:04X} " in table.read_text())


def ask(address: str, port: int, kind: str = "tcp") -> str:
    """What a server says to this machine, after its headers; "" where nobody answers."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        try:
            sock.connect((address, port))
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = sock.recv(4096)
            while kind == "tcp" and (part := sock.recv(4096)):
                data += part
        except OSError:
            return ""
    return data.decode().rpartition("\n")[2]


def listens(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as sock:
        return sock.connect_ex((address, port)) == 0


def free_port(count: int = 1) -> int:
    """The first of so many ports in a row that are free, and that the kernel gives nobody who asks for any."""
    while True:
        first = random.randrange(20000, 30000)
        if all(_is_free(first + number) for number in range(count)):
            return first


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET6, kind) as sock:
            try:
                sock.bind(("::", port))
            except OSError:
                return False
    return True


def helpers(monitor: int) -> list[int]:
    """The children of a monitor that carry packets."""
    children = Path(f"/proc/{monitor}/task/{monitor}/children").read_text().split()
    return [int(pid) for pid in children if name_of(int(pid)) in ("slirp4netns", "passt")]


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip().removesuffix(".avx2")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def helper_of(sampan: Sampan, name: str) -> int:
    (found,) = helpers(sampan.state(name)["ConmonPid"])
    return found


def fake(directory: Path, name: str, script: str) -> dict[str, str]:
    """An environment in which the program of that name is this script."""
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


def holder(sampan: Sampan) -> int:
    """The pid of the process that holds the bridge networks; 0 if there is none."""
    try:
        pid = int((sampan.run_dir / "bridge/pid").read_text())
    except FileNotFoundError:
        return 0
    return 0 if ended(pid) else pid
