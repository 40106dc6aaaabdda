"""What a member with every capability sends by hand to its neighbours.

Frames are sent by a member through a packet socket; neighbours write down what comes in at theirs, before the kernel
has looked at it.  Each test has a control: the same frame with what is the sender's own arrives.
"""

from __future__ import annotations

import socket
import struct

import pytest

from frames import (
    ADVERT,
    ALL,
    ARP,
    IP,
    IP6,
    NAME_SERVER,
    OTHER_MAC,
    REPLY,
    REQUEST,
    ROUTER,
    SOLICIT,
    Lan,
    advert,
    arp,
    checksum,
    ethernet,
    four,
    icmp6,
    link_local,
    packed6,
    six,
    udp,
)
from networks import needs
from system_tools import until

pytestmark = needs("slirp4netns")


def test_arp_answers_for_others_do_not_arrive(lan: Lan) -> None:
    bad, own = (lan.mac("bad"), lan.ip("bad")), lan.ip("bad")
    target = (lan.mac("peer"), lan.ip("peer"))
    frames: list[bytes] = []
    for operation in (REQUEST, REPLY):
        for to in (lan.mac("peer"), ALL):
            for name in ("victim", "gateway", "peer"):
                word = lan.word(f"{name}-{operation}")
                said = arp(operation, (bad[0], lan.ip(name)), target, word)
                frames.append(ethernet(to, bad[0], ARP, said))
                said = arp(operation, (bad[0], lan.ip(name)), (ALL, lan.ip(name)), word)
                frames.append(ethernet(to, bad[0], ARP, said))
        said = arp(operation, (lan.mac("victim"), own), target, lan.word("told-mac"))
        frames.append(ethernet(ALL, bad[0], ARP, said))
        said = arp(operation, (bad[0], "0.0.0.0"), target, lan.word("nobody"))
        frames.append(ethernet(ALL, bad[0], ARP, said))
        said = arp(operation, (bad[0], own), target, lan.word("stolen-mac"))
        frames.append(ethernet(ALL, lan.mac("victim"), ARP, said))
    control = ethernet(ALL, bad[0], ARP, arp(REPLY, bad, target, lan.word("own")))
    assert lan.arrived("peer", *frames, control) == {"own"}
    for name in ("victim", "gateway"):
        assert lan.neighbours("peer", lan.ip(name)) == lan.mac(name)
    assert lan.neighbours("peer", own) == bad[0]


@pytest.mark.parametrize("source", ["own", "link-local", "nobody", "target", "router"])
def test_neighbour_answers_for_others_do_not_arrive(lan: Lan, source: str) -> None:
    """Whatever the packet says that it comes from, the unspecified address (::) among it."""
    bad = lan.mac("bad")
    frames: list[bytes] = []
    for name in ("victim", "gateway"):
        from_whom = {
            "own": lan.ip6("bad"), "link-local": link_local(bad), "nobody": "::",
            "target": lan.ip6(name), "router": link_local(lan.gateway_mac),
        }[source]  # fmt: skip
        for to, hardware in ((lan.ip6("peer"), lan.mac("peer")), ("ff02::1", "33:33:00:00:00:01")):
            told = advert(lan.ip6(name), bad)
            content = icmp6(from_whom, to, ADVERT, told, lan.word(name))
            frames.append(ethernet(hardware, bad, IP6, six(from_whom, to, 58, content)))
    told = advert(lan.ip6("bad"), bad)
    content = icmp6(lan.ip6("bad"), lan.ip6("peer"), ADVERT, told, lan.word("control"))
    control = lan.frame("peer", six(lan.ip6("bad"), lan.ip6("peer"), 58, content), IP6)
    before = {name: lan.neighbours("peer", lan.ip6(name)) for name in ("victim", "gateway")}
    assert before == {name: lan.mac(name) for name in before}
    assert lan.arrived("peer", *frames, control) == {"control"}
    for name in before:
        assert lan.neighbours("peer", lan.ip6(name)) == lan.mac(name)


def test_nobody_is_a_router(lan: Lan) -> None:
    """Advertisements and redirects (RFC 4861, 4.2 and 4.5), from each address that it may try."""
    bad = lan.mac("bad")
    prefix = packed6("2001:db8:66::")
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 9999, 9999, 0) + prefix
    router = struct.pack("!BBHII", 64, 0, 9000, 0, 0) + option
    redirect = bytes(4) + packed6(link_local(bad)) + packed6("2001:db8:67::1")
    frames: list[bytes] = []
    for source in (link_local(bad), lan.ip6("bad"), "::", link_local(lan.gateway_mac)):
        for kind, rest in ((ROUTER, router), (137, redirect)):
            content = icmp6(source, "ff02::1", kind, rest, lan.word("router"))
            frames.append(
                ethernet("33:33:00:00:00:01", bad, IP6, six(source, "ff02::1", 58, content))
            )
    content = icmp6(link_local(bad), "ff02::1", 133, bytes(4), lan.word("control"))
    control = ethernet("33:33:00:00:00:01", bad, IP6, six(link_local(bad), "ff02::1", 58, content))
    assert lan.arrived("peer", *frames, control) == {"control"}
    assert "20010db80066" not in lan.sampan.text("exec", "peer", "cat", "/proc/net/if_inet6")
    assert "20010db8" not in lan.sampan.text("exec", "peer", "cat", "/proc/net/ipv6_route")


def test_the_unspecified_address_looks_for_a_free_one_and_nothing_else(lan: Lan) -> None:
    """Duplicate address detection has it as its source; datagrams and pings have not."""
    bad, peer = lan.mac("bad"), lan.ip6("peer")
    word = udp(lan.word("datagram"))
    pseudo = packed6("::") + packed6(peer) + struct.pack("!II", len(word), 17)
    summed = word[:6] + struct.pack("!H", checksum(pseudo + word)) + word[8:]
    frames = [
        lan.frame("peer", six("::", peer, 17, summed), IP6),
        lan.frame(
            "peer", six("::", peer, 58, icmp6("::", peer, 128, bytes(4), lan.word("ping"))), IP6
        ),
    ]
    for target, meaning in ((lan.ip6("victim"), "victims"), (link_local(bad), "control")):
        group = packed6("ff02::1:ff00:0")[:13] + packed6(target)[13:]
        solicited = socket.inet_ntop(socket.AF_INET6, group)
        told = bytes(4) + packed6(target)
        content = icmp6("::", solicited, SOLICIT, told, lan.word(meaning))
        frames.append(ethernet(ALL, bad, IP6, six("::", solicited, 58, content)))
    assert lan.arrived("peer", *frames) == {"control"}


def test_other_sources_do_not_arrive(lan: Lan) -> None:
    peer, own = lan.ip("peer"), lan.ip("bad")
    sources = {
        "victim": lan.ip("victim"), "gateway": lan.ip("gateway"), "far": lan.ip("far"), "loopback": "127.0.0.1",
        "uplink": "198.18.207.2", "names": NAME_SERVER, "nobody": "0.0.0.0", "outside": "192.0.2.1",
        "all": "255.255.255.255", "group": "224.0.0.1",
    }  # fmt: skip
    frames = [
        lan.frame("peer", four(source, peer, 17, udp(lan.word(name))))
        for name, source in sources.items()
    ]
    for hardware in (OTHER_MAC, lan.mac("victim"), lan.gateway_mac, lan.mac("peer"), ALL):
        content = four(own, peer, 17, udp(lan.word("hardware")))
        frames.append(ethernet(lan.mac("peer"), hardware, IP, content))
    sources6 = (lan.ip6("victim"), lan.ip6("gateway"), lan.ip6("far"), "::1", "2001:db8::1")
    for source in (*sources6, link_local(lan.mac("victim"))):
        to = lan.ip6("peer")
        content = icmp6(source, to, 128, bytes(4), lan.word("six"))
        frames.append(lan.frame("peer", six(source, to, 58, content), IP6))
    control = icmp6(lan.ip6("bad"), lan.ip6("peer"), 128, bytes(4), lan.word("control"))
    own6 = lan.frame("peer", six(lan.ip6("bad"), lan.ip6("peer"), 58, control), IP6)
    assert lan.arrived("peer", *frames, own6) == {"control"}


def test_broadcasts_of_dhcp(lan: Lan) -> None:
    """Who has no address yet is not heard, and nobody leases one; a broadcast of its own is."""
    frames = [
        ethernet(ALL, lan.mac("bad"), IP, four(source, to, 17, udp(lan.word("dhcp"), port, other)))
        for source, to in (("0.0.0.0", "255.255.255.255"), (lan.ip("gateway"), "255.255.255.255"))
        for port, other in ((67, 68), (68, 67))
    ]
    content = four(lan.ip("bad"), "255.255.255.255", 17, udp(lan.word("control")))
    frames.append(ethernet(ALL, lan.mac("bad"), IP, content))
    assert lan.arrived("peer", *frames) == {"control"}


@pytest.mark.parametrize("kind", [0x8100, 0x88A8])
def test_tagged_frames_and_other_protocols_do_not_arrive(lan: Lan, kind: int) -> None:
    """A tag with the number 0 is none to the receiver's kernel, so what is under it counts (IEEE 802.1Q)."""
    frames: list[bytes] = []
    for source in ("bad", "victim"):
        for number in (0, 1, 4095):
            for tags in (
                struct.pack("!HH", kind, number),
                struct.pack("!HHHH", kind, number, 0x8100, 0),
                struct.pack("!HHHHHH", kind, number, 0x8100, 0, 0x8100, 0),
            ):
                content = four(lan.ip(source), lan.ip("peer"), 17, udp(lan.word("tagged")))
                frames.append(lan.frame("peer", content, IP, tags))
                said = arp(REPLY, (lan.mac("bad"), lan.ip(source)), (ALL, lan.ip(source)), "")
                said += f"({lan.word('arp')})".encode()
                frames.append(ethernet(ALL, lan.mac("bad"), ARP, said, tags))
    for other in (0x88CC, 0x8863, 0x88F7, 0x9000, 0x8847, 0x0027, 0x22F0, 0x888E):
        frames.append(lan.frame("peer", f"({lan.word('other')})".encode().ljust(60), other))
    assert lan.arrived("peer", *frames) == set()


def test_the_bridge_does_not_learn_from_frames_that_go_nowhere(lan: Lan) -> None:
    """Frames for the addresses that a bridge keeps to itself (01:80:c2:00:00:0X, IEEE 802.1D) pass no rules: with
    the victim's hardware address as their source they would draw what is sent to the victim.
    """
    reserved = [f"01:80:c2:00:00:{last:02x}" for last in range(16)]
    for target in (*reserved, lan.gateway_mac, OTHER_MAC):
        frames = [
            ethernet(target, lan.mac(stolen), kind, f"({lan.word('drawn')})".encode().ljust(60))
            for stolen in ("victim", "gateway")
            for kind in (0x88CC, 0x0027, IP)
        ]
        lan.send(*frames)
        word = lan.word("for-the-victim")
        content = four(lan.ip("peer"), lan.ip("victim"), 17, udp(word))
        lan.send(ethernet(lan.mac("victim"), lan.mac("peer"), IP, content), name="peer")
        assert until(lambda: word in lan.heard("victim"), 1), target  # noqa: B023
        assert word not in lan.heard("bad")
    assert lan.answers("peer", lan.ip("gateway"), 53) is False  # it drops, and is reached
    assert lan.neighbours("peer", lan.ip("gateway")) == lan.gateway_mac
