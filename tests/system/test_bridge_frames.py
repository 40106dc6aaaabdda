"""What a member with every capability sends by hand: only what is its own arrives, at a neighbour and beyond."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from networks import needs
from system_tools import DEBIAN, Sampan, until

pytestmark = needs("slirp4netns")
# perl -e LISTENER: every datagram for port 9999 is a line of /heard.
LISTENER = r"""
use Socket;
socket(my $s, AF_INET, SOCK_DGRAM, 0) or die;
bind($s, pack_sockaddr_in(9999, INADDR_ANY)) or die;
open(my $file, ">", "/heard"); $file->autoflush(1);
while (recv($s, my $said, 999, 0)) { print $file "$said\n" }
"""
# perl -e SENDER SOURCE_MAC TARGET_MAC SOURCE_IP TARGET_IP WORD TAG: a UDP datagram in a frame, tagged if TAG is there.
SENDER = r"""
use Socket;
my ($from, $to, $source, $target, $word, $tag) = @ARGV;
sub mac { pack("H12", $_[0] =~ s/://gr) }
my $udp = pack("nnnn", 4000, 9999, 8 + length $word, 0) . $word;
my $head = pack("CCnnnCCn", 0x45, 0, 20 + length $udp, 7, 0, 64, 17, 0) . inet_aton($source) . inet_aton($target);
my $sum = 0; $sum += $_ for unpack("n*", $head); $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
substr($head, 10, 2) = pack("n", ~$sum & 0xffff);
my $frame = mac($to) . mac($from) . ($tag ? pack("nn", 0x8100, 1) : "") . pack("n", 0x0800) . $head . $udp;
socket(my $s, 17, 3, 0x0300) or die "socket: $!";
my $index = do { open(my $f, "<", "/sys/class/net/eth0/ifindex"); <$f> } + 0;
defined send($s, $frame, 0, pack("SnLSCCa8", 17, 0x0800, $index, 1, 0, 6, mac($to))) or die "send: $!";
"""


def touch(sampan: Sampan, name: str, target: str) -> None:
    """Have a container look for the hardware address of another one's."""
    sampan("exec", name, "timeout", "1", "bash", "-c", f"exec 3<>/dev/tcp/{target}/9")


class Lan:
    """bad sends; peer and victim are its neighbours, far is on another network."""

    def __init__(self, sampan: Sampan) -> None:
        self.sampan = sampan
        for network in ("near", "away"):
            sampan.text("network", "create", network)
        for name, network in (("peer", "near"), ("victim", "near"), ("far", "away")):
            words = ("--network", network, DEBIAN, "perl", "-MIO::Handle", "-e", LISTENER)
            sampan.text("run", "-d", "--name", name, *words)
        able = ("--privileged", "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW")
        sampan.text(
            "run", "-d", "--name", "bad", *able, "--network", "near", DEBIAN, "sleep", "1000"
        )
        self.ends = {
            name: self._end(name, network)
            for name, network in (
                ("peer", "near"),
                ("victim", "near"),
                ("bad", "near"),
                ("far", "away"),
            )
        }
        gateway = self.ends["bad"]["Gateway"]
        touch(sampan, "bad", gateway)
        table = sampan.text("exec", "bad", "cat", "/proc/net/arp").splitlines()
        (self.gateway_mac,) = [row.split()[3] for row in table if row.split()[0] == gateway]

    def _end(self, name: str, network: str) -> dict[str, Any]:
        found = json.loads(self.sampan.text("inspect", name))[0]["NetworkSettings"]["Networks"]
        end: dict[str, Any] = found[network]
        return end

    def mac(self, name: str) -> str:
        return self.gateway_mac if name == "gateway" else str(self.ends[name]["MacAddress"])

    def ip(self, name: str) -> str:
        found = self.ends["bad"]["Gateway"] if name == "gateway" else self.ends[name]["IPAddress"]
        return str(found)

    def send(self, word: str, *, mac: str, ip: str, via: str, to: str, tag: str = "") -> None:
        words = (mac, self.mac(via), ip, self.ip(to), word, tag)
        self.sampan.text("exec", "bad", "perl", "-e", SENDER, *words)

    def heard(self, name: str) -> list[str]:
        return self.sampan.text("exec", name, "cat", "/heard").split()


@pytest.fixture
def lan(sampan: Sampan) -> Iterator[Lan]:
    yield Lan(sampan)


def test_only_its_own_frames_arrive(lan: Lan) -> None:
    mac, ip = lan.mac("bad"), lan.ip("bad")
    to = {"via": "peer", "to": "peer"}
    lan.send("own", mac=mac, ip=ip, **to)
    lan.send("other-mac", mac="02:00:00:00:00:99", ip=ip, **to)
    lan.send("victims-mac", mac=lan.mac("victim"), ip=ip, **to)
    lan.send("victims-ip", mac=mac, ip=lan.ip("victim"), **to)
    lan.send("victims-both", mac=lan.mac("victim"), ip=lan.ip("victim"), **to)
    lan.send("gateways-ip", mac=mac, ip=lan.ip("gateway"), **to)
    lan.send("loopback", mac=mac, ip="127.0.0.1", **to)
    lan.send("tagged", mac=mac, ip=ip, tag="x", **to)
    lan.send("last", mac=mac, ip=ip, **to)
    assert until(lambda: "last" in lan.heard("peer"))
    assert lan.heard("peer") == ["own", "last"]


def test_another_network_is_not_reached_by_hand(lan: Lan) -> None:
    mac, ip = lan.mac("bad"), lan.ip("bad")
    lan.send("through", mac=mac, ip=ip, via="gateway", to="far")
    lan.send("as-far", mac=mac, ip=lan.ip("far"), via="gateway", to="far")
    lan.send("as-loopback", mac=mac, ip="127.0.0.1", via="gateway", to="far")
    lan.send(
        "control", mac=mac, ip=ip, via="gateway", to="peer"
    )  # the gateway sends it back to its network
    assert until(lambda: "control" in lan.heard("peer"))
    assert lan.heard("far") == []


def test_a_neighbours_name_and_table_are_not_poisoned(lan: Lan) -> None:
    """Gratuitous ARP for the gateway's and the victim's address, from its own hardware address."""
    script = r"""
use Socket;
my ($mac, @stolen) = @ARGV;
my $own = pack("H12", $mac =~ s/://gr);
socket(my $s, 17, 3, 0x0300) or die;
my $index = do { open(my $f, "<", "/sys/class/net/eth0/ifindex"); <$f> } + 0;
for my $ip (@stolen) {
    for my $kind (1, 2) {
        my $arp = pack("nnCCn", 1, 0x0800, 6, 4, $kind) . $own . inet_aton($ip) . ("\xff" x 6) . inet_aton($ip);
        my $all = "\xff" x 6;
        my $place = pack("SnLSCCa8", 17, 0x0806, $index, 1, 0, 6, $all);
        send($s, $all . $own . pack("n", 0x0806) . $arp, 0, $place) or die;
    }
}
"""
    sampan, gateway = lan.sampan, lan.ip("gateway")
    for target in (gateway, lan.ip("victim")):  # so that the peer has them in its table
        touch(sampan, "peer", target)
    before = sampan.text("exec", "peer", "cat", "/proc/net/arp")
    assert lan.gateway_mac in before and lan.mac("victim") in before
    sampan.text("exec", "bad", "perl", "-e", script, lan.mac("bad"), gateway, lan.ip("victim"))
    lan.send("after", mac=lan.mac("bad"), ip=lan.ip("bad"), via="peer", to="peer")
    assert until(lambda: "after" in lan.heard("peer"))
    table = {
        row.split()[0]: row.split()[3]
        for row in sampan.text("exec", "peer", "cat", "/proc/net/arp").splitlines()[1:]
    }
    assert table[gateway] == lan.gateway_mac and table[lan.ip("victim")] == lan.mac("victim")
