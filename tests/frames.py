"""Frames made by hand, byte by byte, and a network of members who send them."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from networks import free_port
from system_tools import DEBIAN, Sampan, until

# perl -e SNIFFER: the words "(...)" of every frame that comes in are lines of /heard.
SNIFFER = r"""
use IO::Handle;
socket(my $s, 17, 3, 0x0300) or die "socket: $!";
open(my $file, ">", "/heard"); $file->autoflush(1);
while (my $from = recv($s, my $frame, 65536, 0)) {
    next if unpack("x10C", $from) == 4;  # it goes out
    print $file "$1\n" while $frame =~ /(?<=\()(probe[-a-z0-9]+)(?=\))/g;
}
"""
# perl -e SENDER FRAME...: each frame is hexadecimal.
SENDER = r"""
socket(my $s, 17, 3, 0x0300) or die "socket: $!";
my $index = do { open(my $f, "<", "/sys/class/net/eth0/ifindex"); <$f> } + 0;
for (@ARGV) {
    my $frame = pack("H*", $_);
    my $place = pack("SnLSCCa8", 17, unpack("x12n", $frame), $index, 1, 0, 6, $frame);
    defined send($s, $frame, 0, $place) or die "send: $!";
}
"""
# perl -e NEIGHBOURS: "address hardware-address" of each IPv6 neighbour (rtnetlink(7), RTM_GETNEIGH).
NEIGHBOURS = r"""
socket(my $s, 16, 3, 0) or die;
send($s, pack("LSSLL CCSLSCC", 28, 30, 0x301, 1, 0, 10, 0, 0, 0, 0, 0, 0), 0, pack("SSLL", 16, 0, 0, 0)) or die "$!";
READ: while (sysread($s, my $data, 65536)) {
    while (length $data >= 16) {
        my ($length, $type) = unpack("LS", $data);
        last READ if $type == 3;
        my $at = 28; my %found;
        while ($at + 4 <= $length) {
            my ($size, $kind) = unpack("SS", substr($data, $at, 4));
            $found{$kind} = substr($data, $at + 4, $size - 4);
            $at += ($size + 3) & ~3;
        }
        print unpack("H*", $found{1}), " ", join(":", unpack("(H2)*", $found{2})), "\n" if exists $found{2};
        $data = substr($data, ($length + 3) & ~3);
    }
}
"""

ABLE = ("--privileged", "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW")
ALL, OTHER_MAC = "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:99"
NAME_SERVER = "169.254.53.53"
ARP, IP, IP6 = 0x0806, 0x0800, 0x86DD
REQUEST, REPLY = 1, 2  # ARP
SOLICIT, ADVERT, ROUTER = 135, 136, 134  # ICMPv6


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(to: str, source: str, kind: int, content: bytes, tags: bytes = b"") -> bytes:
    return mac(to) + mac(source) + tags + struct.pack("!H", kind) + content


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def four(source: str, to: str, protocol: int, content: bytes, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    total = words * 4 + len(content)
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, total, 7, 0, 64, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(to) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + content


def udp(word: str, port: int = 9999, source: int = 4000) -> bytes:
    content = f"({word})".encode()
    return struct.pack("!HHHH", source, port, 8 + len(content), 0) + content


def echo(word: str) -> bytes:
    """A ping (RFC 792)."""
    content = f"({word})".encode()
    head = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    return struct.pack("!BBHHH", 8, 0, checksum(head + content), 1, 1) + content


def arp(operation: int, sender: tuple[str, str], target: tuple[str, str], word: str) -> bytes:
    """sender, target: (hardware address, address). The word is padding."""
    content = struct.pack("!HHBBH", 1, IP, 6, 4, operation)
    for hardware, address in (sender, target):
        content += mac(hardware) + socket.inet_aton(address)
    return content + f"({word})".encode()


def packed6(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, address)


def six(source: str, to: str, following: int, content: bytes, hops: int = 255) -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(content), following, hops)
    return head + packed6(source) + packed6(to) + content


def icmp6(source: str, to: str, kind: int, rest: bytes, word: str) -> bytes:
    """The word is in an option that nobody knows (type 253, for experiments)."""
    text = f"({word})".encode().ljust(30, b"\0")
    content = rest + struct.pack("!BB", 253, 4) + text
    pseudo = packed6(source) + packed6(to) + struct.pack("!II", 4 + len(content), 58)
    head = struct.pack("!BBH", kind, 0, 0)
    return struct.pack("!BBH", kind, 0, checksum(pseudo + head + content)) + content


def advert(target: str, hardware: str) -> bytes:
    """The inside of a neighbour advertisement: it overrides (RFC 4861, 4.4)."""
    return struct.pack("!I", 0x20000000) + packed6(target) + b"\x02\x01" + mac(hardware)


def link_local(hardware: str) -> str:
    """RFC 4291, appendix A."""
    six = mac(hardware)
    packed = b"\xfe\x80" + bytes(6) + bytes([six[0] ^ 2]) + six[1:3] + b"\xff\xfe" + six[3:]
    return socket.inet_ntop(socket.AF_INET6, packed)


class Lan:
    """bad sends; peer and victim are its neighbours, far is on another network; all of them have both families."""

    def __init__(self, sampan: Sampan) -> None:
        self.sampan = sampan
        self.count = 0
        self.port = free_port()
        for network in ("near", "away"):
            sampan.text("network", "create", "--ipv6", network)
        self.networks = {"peer": "near", "victim": "near", "far": "away", "bad": "near"}
        listen = ("perl", "-e", SNIFFER)
        for name, network in self.networks.items():
            words = (
                "--network",
                network,
                *(("-p", f"{self.port}:9999/udp") if name == "far" else ()),
            )
            sampan.text("run", "-d", "--name", name, *ABLE, *words, DEBIAN, *listen)
        self.ends = {name: self._end(name) for name in self.networks}
        gateway = self.ip("gateway")
        self.touch("bad", gateway)
        table = sampan.text("exec", "bad", "cat", "/proc/net/arp").splitlines()
        (self.gateway_mac,) = [row.split()[3] for row in table if row.split()[0] == gateway]

    def _end(self, name: str) -> dict[str, Any]:
        found = json.loads(self.sampan.text("inspect", name))[0]["NetworkSettings"]["Networks"]
        end: dict[str, Any] = found[self.networks[name]]
        return end

    def touch(self, name: str, target: str, port: int = 9) -> str:
        """What comes of a connection: "refused" is an answer."""
        script = f"exec 3<>/dev/tcp/{target}/{port}"
        result = self.sampan("exec", name, "timeout", "1", "bash", "-c", script)
        return result.stderr.decode() or f"status {result.returncode}"

    def answers(self, name: str, target: str, port: int = 9) -> bool:
        said = self.touch(name, target, port)
        return "refused" in said or said == "status 0"

    def mac(self, name: str) -> str:
        return self.gateway_mac if name == "gateway" else str(self.ends[name]["MacAddress"])

    def ip(self, name: str) -> str:
        found = self.ends["bad"]["Gateway"] if name == "gateway" else self.ends[name]["IPAddress"]
        return str(found)

    def ip6(self, name: str) -> str:
        end = self.ends["bad" if name == "gateway" else name]
        return str(end["IPv6Gateway" if name == "gateway" else "GlobalIPv6Address"])

    def word(self, meaning: str) -> str:
        """A word that is heard nowhere yet."""
        self.count += 1
        return f"probe-{self.count}-{meaning}"

    def send(self, *frames: bytes, name: str = "bad") -> None:
        self.sampan.text("exec", name, "perl", "-e", SENDER, *(frame.hex() for frame in frames))

    def frame(self, name: str, content: bytes, kind: int = IP, tags: bytes = b"") -> bytes:
        """From bad to the other."""
        return ethernet(self.mac(name), self.mac("bad"), kind, content, tags)

    def plain(self, name: str, word: str) -> bytes:
        """What is allowed: a datagram to a neighbour."""
        return self.frame(name, four(self.ip("bad"), self.ip(name), 17, udp(word)))

    def heard(self, name: str) -> set[str]:
        return set(self.sampan.text("exec", name, "cat", "/heard").split())

    def arrived(self, name: str, *frames: bytes) -> set[str]:
        """What bad's frames brought to the neighbour: the frames are sent between two that do arrive."""
        first, last = self.word("first"), self.word("last")
        before = self.heard(name)
        self.send(self.plain(name, first), *frames, self.plain(name, last))
        assert until(lambda: last in self.heard(name))
        found = self.heard(name) - before
        assert first in found
        return {word.partition("-")[2].partition("-")[2] for word in found - {first, last}}

    def neighbours(self, name: str, address: str) -> str:
        """The hardware address that a container knows of another's address."""
        self.touch(name, address)
        if ":" in address:
            shown = self.sampan.text("exec", name, "perl", "-e", NEIGHBOURS)
            rows = dict(line.split() for line in shown.splitlines())
            return str(rows.get(packed6(address).hex(), ""))
        table = self.sampan.text("exec", name, "cat", "/proc/net/arp").splitlines()[1:]
        return next((row.split()[3] for row in table if row.split()[0] == address), "")
