"""Much and little through a published port: one packet size on the whole way, each byte, and nothing stands still.

A packet that is too large for one part of the way is lost there without a word, and a connection stalls when it
first has so much to say (slirp4netns#284, podman#23883).  127.0.0.1 and the machine's own address are different ways:
pasta joins sockets of the loopback interface without a packet.

The pasta of Debian 12 (2023-03) loses packets of a container that sends faster than the other side reads, whatever
their size, and then stands still for seconds; with a send buffer of 128 KiB it does not.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from networks import TUN, free_port, needs, own_address
from system_tools import DEBIAN, Sampan, until

pytestmark = pytest.mark.skipif(not TUN, reason="/dev/net/tun for everybody is needed")
PROGRAMS = {"slirp4netns": "slirp4netns", "pasta": "pasta", "bridge": "slirp4netns"}
NETWORKS = [pytest.param(name, marks=needs(program)) for name, program in PROGRAMS.items()]
ADDRESSES = [pytest.param("", id="own"), pytest.param("127.0.0.1", id="loopback")]
REMEDY = {"pasta": ("--sysctl", "net.ipv4.tcp_wmem=4096 65536 131072")}
MTU = {"slirp4netns": 16384, "pasta": 65520, "bridge": 16384}
MUCH = 100_000_000
STALL = 1.0  # seconds that no single read or write may take
SIZES = (
    1,
    100,
    1379,
    1400,
    1447,
    1448,
    1460,
    1461,
    4000,
    9000,
)  # around what a packet takes elsewhere
# perl -e SERVER FILE: `take` is answered with the sum of what follows, `give` with the file, else what comes goes back.
SERVER = r"""
use Socket;
$/ = \65536;
socket(my $s, AF_INET, SOCK_STREAM, 0) or die;
setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
bind($s, pack_sockaddr_in(80, INADDR_ANY)) && listen($s, 99) or die;
while (accept(my $c, $s)) {
    sysread($c, my $verb, 4);
    if ($verb eq "take") {
        open(my $sum, "|-", "sha256sum >/sum") or die;
        print $sum $_ while sysread($c, $_, 65536);
        close($sum);
        open(my $found, "<", "/sum"); syswrite($c, substr(<$found>, 0, 64));
    } elsif ($verb eq "give") {
        open(my $file, "<", $ARGV[0]) or die;
        syswrite($c, $_) while <$file>;
    } else {
        while (sysread($c, $_, 65536)) { syswrite($c, $_) }
    }
    close($c);
}
"""


@pytest.fixture(params=NETWORKS)
def port(request: pytest.FixtureRequest, sampan: Sampan) -> int:
    """The published port of a container that serves."""
    found = free_port()
    make = f"head -c {MUCH} /dev/urandom >/much && exec perl -e '{SERVER}' /much"
    options = ("--network", request.param, *REMEDY.get(request.param, ()), "-p", f"{found}:80")
    words = (*options, DEBIAN, "sh", "-c", make)
    sampan.text("run", "-d", "--name", "c", *words)
    table = Path(f"/proc/{sampan.state('c')['Pid']}/net/tcp")
    assert until(lambda: ":0050 " in table.read_text())
    return found


@contextmanager
def asked(address: str, port: int, verb: bytes) -> Iterator[socket.socket]:
    with socket.create_connection((address or own_address(), port), timeout=STALL) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(verb)
        yield sock


def everything(sock: socket.socket) -> Iterator[bytes]:
    while part := sock.recv(1 << 16):
        yield part


@pytest.mark.parametrize("address", ADDRESSES)
def test_much_goes_in(port: int, address: str) -> None:
    sent = hashlib.sha256()
    with asked(address, port, b"take") as sock:
        for size in [1 << 16] * (MUCH >> 16) + [MUCH & 0xFFFF]:
            part = os.urandom(size)
            sent.update(part)
            sock.sendall(part)
        sock.shutdown(socket.SHUT_WR)
        assert b"".join(everything(sock)).decode() == sent.hexdigest()


@pytest.mark.parametrize("address", ADDRESSES)
def test_much_comes_out(sampan: Sampan, port: int, address: str) -> None:
    got, size = hashlib.sha256(), 0
    with asked(address, port, b"give") as sock:
        for part in everything(sock):
            got.update(part)
            size += len(part)
    assert size == MUCH
    assert sampan.text("exec", "c", "sha256sum", "/much").split()[0] == got.hexdigest()


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_thousand_small_requests(port: int, address: str) -> None:
    for number in range(1000):
        said = os.urandom(SIZES[number % len(SIZES)])
        with asked(address, port, b"echo") as sock:
            sock.sendall(said)
            sock.shutdown(socket.SHUT_WR)
            assert b"".join(everything(sock)) == said


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_conversation(port: int, address: str) -> None:
    """Each answer before the next question, over one connection."""
    with asked(address, port, b"echo") as sock:
        for number in range(1000):
            said, got = os.urandom(SIZES[number % len(SIZES)]), b""
            sock.sendall(said)
            while len(got) < len(said):
                got += sock.recv(1 << 16)
            assert got == said


def test_the_interface_takes_packets_of_that_size(sampan: Sampan, port: int) -> None:
    network = sampan.text("inspect", "-f", "{{.HostConfig.NetworkMode}}", "c")
    rows = sampan.text("exec", "c", "cat", "/proc/net/route").splitlines()
    (way_out,) = [row.split()[0] for row in rows if row.split()[1] == "00000000"]
    assert int(sampan.text("exec", "c", "cat", f"/sys/class/net/{way_out}/mtu")) == MTU[network]
