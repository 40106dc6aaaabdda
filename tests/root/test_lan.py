"""Networks as other machines see them: who asks, low ports, address families, the way out, and what stays closed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import lan
from lan import FAR6, MACHINE6, PEER6, Host, Lan
from networks import ask, holder
from system_tools import DEBIAN, until

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")
MODES = ["slirp4netns", "pasta", "net"]
BOTH_WAYS = [*MODES, "net over pasta"]
EVERY, EVERY6, LOOPBACK6 = "0.0.0.0", "[::]", "[::1]"
# What the container sees where the machine itself asks at 127.0.0.1.
FROM_LOOPBACK = {
    "slirp4netns": "10.0.2.2", "pasta": "127.0.0.1", "net": "198.18.207.2", "net over pasta": "10.89.0.1",
}  # fmt: skip
# A member that calls itself the router of its network: perl -e ROUTER, with NET_RAW.
ROUTER = r"""
use Socket qw(:all);
socket(my $s, AF_INET6, SOCK_RAW, 58) or die;
setsockopt($s, 41, 18, pack("i", 255)) or die;
my $advert = pack("CCnCCnNN", 134, 0, 0, 64, 0, 1800, 0, 0);
my $prefix = pack("CCCCNNN", 3, 4, 64, 0xc0, 3600, 3600, 0) . inet_pton(AF_INET6, "2001:db8:bad::");
send($s, $advert . $prefix, 0, pack_sockaddr_in6(0, inet_pton(AF_INET6, "ff02::1"), 2, 0)) or die;
"""


@pytest.fixture
def wire(store: lan.Store) -> Iterator[Lan]:
    with lan.laid(store) as found:
        yield found


def network(wire: Lan, mode: str) -> tuple[str, str]:
    """The words that choose it; "net" is one of the user's own."""
    if mode.endswith(" over pasta"):
        wire.sampan.environment["XDG_CONFIG_HOME"] = str(wire.pasta)
    name = mode.partition(" ")[0]
    if name == "net" and wire.sampan("network", "exists", name).returncode:
        wire.sampan.text("network", "create", *(["--ipv6"] if wire.far else []), name)
    return ("--network", name)


def asks(host: Host, address: str, port: int, kind: str = "tcp") -> str:
    return host.do(lambda: ask(address, port, kind))


@pytest.mark.parametrize("mode", BOTH_WAYS)
def test_the_address_of_who_asks(wire: Lan, mode: str) -> None:
    lan.serve(wire.sampan, *network(wire, mode), "-p", "8080:80", "-p", "8080:80/udp")
    listed = wire.sampan.text("port", "c")
    assert (f"{EVERY6}:8080" in listed) == mode.endswith("pasta")
    for kind in ("tcp", "udp"):
        assert f"80/{kind} -> {EVERY}:8080" in listed
        assert asks(wire.peer, wire.own, 8080, kind) == wire.other
        seen = PEER6 if f"80/{kind} -> {EVERY6}:8080" in listed else ""
        assert asks(wire.peer, MACHINE6, 8080, kind) == seen
    assert asks(wire.machine, "127.0.0.1", 8080) == FROM_LOOPBACK[mode]
    assert asks(wire.machine, "127.0.0.1", 8080, "udp") != ""
    settings = json.loads(wire.sampan.text("inspect", "c"))[0]["NetworkSettings"]
    assert settings["ClientAddress"] == "preserved"


@pytest.mark.parametrize("mode", BOTH_WAYS)
def test_a_low_port(wire: Lan, mode: str) -> None:
    """Refused before anything is made, with the sysctl and a port that is free; had where the sysctl lets it."""
    words = network(wire, mode)
    sysctl = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
    wire.machine.sh(f"echo 1024 > {sysctl}")
    with lan.answering(wire.machine, "0.0.0.0", 1024):
        run = ("run", "-d", "--pull", "never", *words, "-p", "80:80")
        refused = wire.sampan(*run, "no-such-image")
    assert refused.returncode == 125 and refused.stdout == b"" and refused.stderr.count(b"\n") == 1
    text = refused.stderr.decode()
    assert "cannot publish 0.0.0.0:80->80/tcp" in text and "no-such-image" not in text
    assert "net.ipv4.ip_unprivileged_port_start is 1024" in text
    assert "; 1025 is free; " in text and "net.ipv4.ip_unprivileged_port_start=80" in text
    assert wire.sampan.text("ps", "-aq") == ""
    wire.machine.sh(f"echo 0 > {sysctl}")
    lan.serve(wire.sampan, *words, "-p", "80:80")
    assert asks(wire.peer, wire.own, 80) == wire.other


def published(mode: str, word: str, *, six: bool) -> list[str]:
    """The addresses at which a port is listed that was published at this one; none if it is refused."""
    if not mode.endswith("pasta") or not six:
        return [EVERY] if word in ("", EVERY) else []
    return [word] if word else [EVERY, EVERY6]


@pytest.mark.parametrize("mode", BOTH_WAYS)
@pytest.mark.parametrize("six", [True, False], ids=["with IPv6", "without IPv6"])
def test_families_as_asked(store: lan.Store, mode: str, six: bool) -> None:
    with lan.laid(store, six=six) as wire:
        for word in ("", EVERY, EVERY6, LOOPBACK6):
            check_families(wire, mode, word)


def check_families(wire: Lan, mode: str, word: str) -> None:
    publish = f"{word}:8080:80" if word else "8080:80"
    words = (*network(wire, mode), "-p", publish)
    expected = published(mode, word, six=wire.far is not None)
    if not expected:
        refused = wire.sampan("run", "-d", "--pull", "never", *words, DEBIAN, "true")
        assert refused.returncode == 125
        told = f"cannot publish {word}:8080->80/tcp: the network "
        assert told in refused.stderr.decode()
        assert wire.sampan.text("ps", "-aq") == ""
        return
    lan.serve(wire.sampan, *words)
    listed = wire.sampan.text("port", "c").splitlines()
    assert listed == [f"80/tcp -> {address}:8080" for address in expected]
    assert asks(wire.peer, wire.own, 8080) == (wire.other if EVERY in expected else "")
    if wire.far:
        assert asks(wire.peer, MACHINE6, 8080) == (PEER6 if EVERY6 in expected else "")
        assert (asks(wire.machine, "::1", 8080) != "") == (expected != [EVERY])
        assert (asks(wire.machine, MACHINE6, 8080) != "") == (EVERY6 in expected)
    wire.sampan.text("rm", "-f", "-t", "0", "c")


def test_ports_of_both_families_follow_the_way_out(wire: Lan) -> None:
    """The container leaves the network that has IPv6, and joins one again; a neighbour has ports likewise."""
    words = network(wire, "net over pasta")
    sampan = wire.sampan
    sampan.text("network", "create", "plain")
    refused = sampan(
        "run", "--pull", "never", "--network", "plain", "-p", f"{EVERY6}:8080:80", DEBIAN, "true"
    )
    assert refused.returncode == 125 and b"the container's network has no IPv6" in refused.stderr
    lan.serve(sampan, *words, "-p", "8080:80", "-p", "8080:80/udp")
    sampan.text("rename", "c", "other")
    lan.serve(sampan, *words, "-p", "8081:80", "-p", "8081:80/udp")
    places = [(wire.peer, wire.own, wire.other), (wire.peer, MACHINE6, PEER6)]

    def heard(port: int) -> list[bool]:
        return [
            asks(host, address, port, kind) == seen
            for kind in ("tcp", "udp")
            for host, address, seen in places
        ]

    assert heard(8080) == heard(8081) == [True] * 4
    assert asks(wire.machine, "::1", 8081, "udp") != ""
    sampan.text("network", "connect", "plain", "c")
    sampan.text("network", "disconnect", "net", "c")
    assert heard(8081) == [True, False, True, False]
    sampan.text("network", "disconnect", "plain", "c")
    sampan.text("network", "connect", "net", "c")
    assert heard(8080) == heard(8081) == [True] * 4


@pytest.mark.parametrize("mode", BOTH_WAYS)
def test_the_way_out(wire: Lan, mode: str) -> None:
    """To the neighbour, and to a host that has IPv6 alone; both see the machine."""
    words = network(wire, mode)
    wire.sampan.text("run", "-d", "--pull", "never", "--name", "c", *words, DEBIAN, "sleep", "1000")
    assert wire.far
    targets = [
        (wire.peer, wire.other, wire.own),
        (wire.peer, PEER6, MACHINE6),
        (wire.far, FAR6, MACHINE6),
    ]
    for host, address, seen in targets:
        with lan.answering(host, address, 7000):
            check_way_out(wire, address, seen)


def check_way_out(wire: Lan, address: str, seen: str) -> None:
    """A while is what a container takes to ask slirp4netns for its network's IPv6 prefix."""
    assert until(lambda: lan.reach(wire.sampan, "c", address, 7000) == seen, 5)


@pytest.mark.parametrize("mode", ["slirp4netns", "net"])
def test_the_way_out_without_ipv6(store: lan.Store, mode: str) -> None:
    """What is published, and nothing else, listens on the machine."""
    with lan.laid(store, six=False) as wire:
        lan.serve(wire.sampan, *network(wire, mode), "-p", "8080:80")
        with lan.answering(wire.peer, wire.other, 7000):
            assert lan.reach(wire.sampan, "c", wire.other, 7000) == wire.own
        rows = wire.machine.sh("ss -Hltun").splitlines()
        assert [row.split()[4] for row in rows if row.split()[1] == "LISTEN"] == ["0.0.0.0:8080"]


def test_a_members_own_address_is_not_reached(wire: Lan) -> None:
    """Though the machine forwards, and its neighbour has a route."""
    lan.serve(wire.sampan, *network(wire, "net"), "-p", "8080:80")
    found = json.loads(wire.sampan.text("inspect", "c"))[0]["NetworkSettings"]["Networks"]["net"]
    four, six = found["IPAddress"], found["GlobalIPv6Address"]
    wire.machine.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
    wire.machine.sh("echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
    wire.peer.sh(f"ip route add {four} via {wire.own}; ip route add {six} via {MACHINE6}")
    assert asks(wire.peer, four, 80) == asks(wire.peer, six, 80) == ""
    assert asks(wire.peer, wire.own, 8080) == wire.other
    rows = wire.machine.sh("ss -Hltn").splitlines()
    assert [row.split()[3] for row in rows] == ["0.0.0.0:8080"]


def test_no_member_is_the_router_of_its_network(wire: Lan) -> None:
    wire.sampan.text("network", "create", "plain")
    run = ("run", "-d", "--pull", "never", "--network", "plain", "--cap-add", "NET_RAW")
    for name in ("victim", "bad"):
        wire.sampan.text(*run, "--name", name, DEBIAN, "sleep", "1000")
    addresses = ("exec", "victim", "cat", "/proc/net/if_inet6", "/proc/net/ipv6_route")
    sends = ("exec", "bad", "perl", "-e", ROUTER)
    assert until(lambda: wire.sampan(*sends).returncode == 0)  # it has an address of its own then
    assert not until(lambda: "20010db80bad" in wire.sampan.text(*addresses), 1)


@pytest.mark.parametrize("mode", ["net", "net over pasta"])
def test_the_holder_keeps_nothing_of_who_has_left(wire: Lan, mode: str) -> None:
    """Containers come and go: it has as many descriptors, and as many rules, as with the first of them."""
    words = network(wire, mode)
    wire.sampan.text("run", "-d", "--name", "stays", *words, DEBIAN, "sleep", "1000")
    run = ("run", "--rm", "--pull", "never", *words, "-p", "8080:80", DEBIAN, "true")
    wire.sampan.text(*run)
    pid = holder(wire.sampan)
    assert until(lambda: settled(pid))
    before = possessions(pid)
    for _ in range(10):
        wire.sampan.text(*run)
    assert until(lambda: settled(pid))
    assert possessions(pid) == before


def settled(pid: int) -> bool:
    """Whether no child of it is at work but those that carry packets."""
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()) == 1


def possessions(pid: int) -> tuple[int, list[str]]:
    """Its descriptors, and the interfaces and rules in the namespaces that it holds."""
    opened = list(Path(f"/proc/{pid}/fd").iterdir())
    spaces = {os.readlink(fd): fd for fd in opened if os.readlink(fd).startswith("net:")}
    look = "ip -o link | cut -d : -f 2; nft list ruleset; ip rule"
    shown = [
        subprocess.run(["nsenter", f"--net={fd}", "sh", "-ec", look], stdout=-1, check=True).stdout
        for _, fd in sorted(spaces.items())
    ]
    return len(opened), [text.decode() for text in shown]
