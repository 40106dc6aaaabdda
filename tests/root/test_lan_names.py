"""Names in containers are what they are on the machine, however its resolver is set up, and also after a change."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

import lan
from lan import PEER6, Lan
from system_tools import BUSYBOX, DEBIAN, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")
STUB, UPLINK = "127.0.0.53", "/run/systemd/resolve/resolv.conf"
LOCAL, REMOTE = (
    "198.51.100.53",
    "198.51.100.77",
)  # what the stub says of every name, and the server of the LAN
MODES = ["slirp4netns", "pasta", "net"]
FOLLOWING = [
    "slirp4netns",
    "net",
]  # pasta carries the packets to the servers of when the container was started
DOMAINS = " ".join(f"department-{number}.example.org" for number in range(12))


@pytest.fixture
def wire(store: lan.Store) -> Iterator[Lan]:
    with lan.laid(store) as found:
        found.sampan.text("network", "create", "net")
        yield found


def start(wire: Lan, mode: str, *words: str) -> str:
    """Its resolv.conf, which names no address of a loopback interface."""
    run = ("run", "-d", "--pull", "never", "--name", "c", "--network", mode, *words)
    wire.sampan.text(*run, DEBIAN, "sleep", "1000")
    text = wire.sampan.text("exec", "c", "cat", "/etc/resolv.conf")
    assert not [
        row for row in text.splitlines() if row.startswith(("nameserver 127.", "nameserver ::1"))
    ]
    return text


def inside(wire: Lan, name: str) -> str:
    """The address of a name in the container."""
    done = wire.sampan("exec", "c", "getent", "ahostsv4", name)
    return (done.stdout.decode().split() or [""])[0]


def outside(wire: Lan, name: str) -> str:
    """The address of a name on the machine."""
    return (wire.machine.sh(f"getent ahostsv4 {name} || true").split() or [""])[0]


@pytest.mark.parametrize("mode", FOLLOWING)
def test_a_stub_alone(wire: Lan, mode: str) -> None:
    wire.machine.resolver(f"nameserver {STUB}\n")
    with lan.naming(wire.machine, STUB, LOCAL):
        start(wire, mode)
        assert inside(wire, "one.example.com") == outside(wire, "one.example.com") == LOCAL


def test_a_stub_alone_with_pasta(wire: Lan) -> None:
    """It does not reach the machine: the servers behind the stub are asked, and there are none but systemd's."""
    wire.machine.resolver(f"nameserver {STUB}\n")
    with lan.naming(wire.machine, STUB, LOCAL), lan.naming(wire.peer, wire.other, REMOTE):
        assert "nameserver" not in start(wire, "pasta")
        assert inside(wire, "one.example.com") == ""
        wire.sampan.text("rm", "-f", "-t", "0", "c")
        wire.machine.sh(f"mkdir -p {UPLINK.rpartition('/')[0]}")
        wire.machine.sh(f"printf 'nameserver {STUB}\nnameserver {wire.other}\n' > {UPLINK}")
        assert f"nameserver {wire.other}" in start(wire, "pasta")
        assert inside(wire, "one.example.com") == REMOTE


@pytest.mark.parametrize("mode", FOLLOWING)
def test_a_link_that_turns_elsewhere(wire: Lan, mode: str) -> None:
    """As with systemd-resolved or resolvconf; the machine and the container know of it at once."""
    wire.machine.sh(f"mkdir -p /run/resolve; printf 'nameserver {STUB}\n' > /run/resolve/stub")
    wire.machine.sh(f"printf 'nameserver {wire.other}\n' > /run/resolve/lan")
    wire.machine.sh("ln -sf ../run/resolve/stub /etc/resolv.conf")
    with lan.naming(wire.machine, STUB, LOCAL), lan.naming(wire.peer, wire.other, REMOTE):
        start(wire, mode)
        assert inside(wire, "a.example.com") == outside(wire, "a.example.com") == LOCAL
        wire.machine.sh("ln -sf ../run/resolve/lan /etc/resolv.conf")
        follows(wire, REMOTE)


@pytest.mark.parametrize("mode", FOLLOWING)
def test_a_change_is_followed(wire: Lan, mode: str) -> None:
    """Another file, the same one with another text, and one that was not there for a while."""
    wire.machine.resolver(f"nameserver {wire.other}\n")
    with lan.naming(wire.machine, STUB, LOCAL), lan.naming(wire.peer, wire.other, REMOTE):
        start(wire, mode, "--dns-option", "timeout:1")
        assert inside(wire, "a.example.com") == REMOTE
        wire.machine.resolver(f"nameserver {STUB}\n")
        follows(wire, LOCAL)
        wire.machine.sh(f"printf 'nameserver {wire.other}\n' > /etc/resolv.conf")
        follows(wire, REMOTE)
        wire.machine.sh("rm /etc/resolv.conf")
        time.sleep(1.5)
        wire.machine.resolver(f"nameserver {STUB}\n")
        follows(wire, LOCAL)


def follows(wire: Lan, address: str) -> None:
    """Within five seconds the container hears what the machine does."""
    assert outside(wire, "b.example.com") == address
    assert until(lambda: inside(wire, "b.example.com") == address, 5)


@pytest.mark.parametrize("mode", MODES)
def test_many_servers_and_a_long_search(wire: Lan, mode: str) -> None:
    """A name of one word has the first domain of the list, as on the machine."""
    more = "".join(f"nameserver 203.0.113.{number}\n" for number in range(5))
    wire.machine.resolver(f"search {DOMAINS}\nnameserver {wire.other}\n{more}options timeout:1\n")
    with lan.naming(wire.peer, wire.other, REMOTE) as server:
        text = start(wire, mode)
        assert f"search {DOMAINS}" in text.splitlines()
        assert inside(wire, "word") == outside(wire, "word") == REMOTE
        full = "word.department-0.example.org"
        assert len(server.asked) - server.asked.count("word") == server.asked.count(full) > 1


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_is_named(wire: Lan, mode: str) -> None:
    wire.machine.resolver(f"nameserver {STUB}\n")
    with lan.naming(wire.machine, STUB, LOCAL), lan.naming(wire.peer, wire.other, REMOTE):
        start(wire, mode, "--dns", wire.other)
        assert inside(wire, "a.example.com") == REMOTE


@pytest.mark.parametrize("mode", MODES)
def test_a_server_with_an_ipv6_address(wire: Lan, mode: str) -> None:
    wire.machine.resolver(f"nameserver {PEER6}\noptions timeout:1\n")
    with lan.naming(wire.peer, PEER6, REMOTE):
        start(wire, mode)
        assert outside(wire, "a.example.com") == REMOTE
        assert until(lambda: inside(wire, "a.example.com") == REMOTE)


@pytest.mark.parametrize("mode", MODES)
def test_a_lan_where_slirp4netns_is_at_home(store: lan.Store, mode: str) -> None:
    """10.0.2.0/24: the container's network is another one, and it reaches those of the LAN, also for names."""
    with lan.laid(store, six=False, net="10.0.2") as wire:
        wire.machine.resolver(f"nameserver {wire.other}\n")
        wire.sampan.text("network", "create", "net")
        with lan.naming(wire.peer, wire.other, REMOTE), lan.answering(wire.peer, wire.other, 7000):
            start(wire, mode)
            assert lan.reach(wire.sampan, "c", wire.other, 7000) == wire.own
            assert inside(wire, "a.example.com") == REMOTE
            wire.sampan.text("rm", "-f", "-t", "0", "c")
        shown = wire.sampan.text(
            "run", "--rm", "--network", mode, BUSYBOX, "ip", "-4", "-o", "addr"
        )
        assert (" 10.0.2." in shown) == (mode == "pasta")
