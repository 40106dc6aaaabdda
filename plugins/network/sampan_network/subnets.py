"""Subnets of bridge networks, and the addresses that are given out of them. Pure."""

from __future__ import annotations

import ipaddress
import os

from sampan.errors import InUseError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from sampan.model.network import Subnet

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Net = ipaddress.IPv4Network | ipaddress.IPv6Network

# Where a subnet is looked for that nobody has named; podman's places first.
POOLS = [f"10.{second}.{third}.0/24" for second in (89, 90, 91) for third in range(256)] + [
    f"192.168.{third}.0/24" for third in range(200, 256)
]
LOCAL = 0xFD << 120  # unique local addresses (RFC 4193)


def settle(asked: Iterable[Mapping[str, str]], ipv6: bool, taken: Iterable[str]) -> list[Subnet]:
    """The subnets of a new network: what was asked for, checked, and for IPv4 (and IPv6, if wanted) one that is free.

    taken: subnets that are in use, by other networks or by the machine.
    """
    used = [ipaddress.ip_network(word, strict=False) for word in taken]
    found = [_checked(subnet, used) for subnet in asked]
    families = [ipaddress.ip_network(subnet["subnet"]).version for subnet in found]
    for family in set(families):
        if families.count(family) > 1:
            raise UsageError("two subnets of one family", f"a network has one for IPv{family}")
    if 4 not in families:
        found.insert(0, _first(_free(used)))
    if ipv6 and 6 not in families:
        number = LOCAL | int.from_bytes(os.urandom(7), "big") << 64
        found.append(_first(ipaddress.IPv6Network((number, 64))))
    return found


def _free(used: list[Net]) -> Net:
    for word in POOLS:
        net = ipaddress.IPv4Network(word)
        if not any(net.version == other.version and net.overlaps(other) for other in used):
            return net
    raise InUseError("no subnet is free", "all that are tried are in use", "name one with --subnet")


def _first(net: Net) -> Subnet:
    return {"subnet": str(net), "gateway": str(net[1]), "range": ""}


def _checked(asked: Mapping[str, str], used: list[Net]) -> Subnet:
    try:
        net = ipaddress.ip_network(asked["subnet"], strict=False)
    except ValueError as error:
        raise UsageError(f"invalid subnet {asked['subnet']!r}", str(error)) from None
    if net.num_addresses < 4:
        raise UsageError(f"invalid subnet {net}", "it has no room for a gateway and a container")
    for other in used:
        if net.version == other.version and net.overlaps(other):
            raise InUseError(
                f"subnet {net} is already used on the host or by another network",
                f"it overlaps {other}",
                "sampan network ls and ip route show them",
            )
    gateway = str(net[1])
    if asked.get("gateway"):
        gateway = str(_within(asked["gateway"], net, "gateway"))
    return {"subnet": str(net), "gateway": gateway, "range": _range(asked.get("range", ""), net)}


def _within(word: str, net: Net, what: str) -> Address:
    try:
        found = ipaddress.ip_address(word)
    except ValueError:
        raise UsageError(f"invalid {what} {word!r}", "it is no address") from None
    if found not in net:
        raise UsageError(f"{what} {word}", f"it is not in the subnet {net}")
    if found in (net.network_address, net.broadcast_address):
        raise UsageError(f"{what} {word}", f"it is the first or the last address of {net}")
    return found


def _range(word: str, net: Net) -> str:
    """`10.1.0.128/25`, or `FIRST-LAST`."""
    if not word:
        return ""
    if "-" in word:
        first, _, last = word.partition("-")
        if int(_within(first, net, "ip range")) > int(_within(last, net, "ip range")):
            raise UsageError(f"invalid ip range {word!r}", "it ends before it begins")
        return word
    try:
        inner = ipaddress.ip_network(word, strict=False)
    except ValueError as error:
        raise UsageError(f"invalid ip range {word!r}", str(error)) from None
    if inner.version != net.version or inner[0] not in net or inner[-1] not in net:
        raise UsageError(f"ip range {word}", f"it is not in the subnet {net}")
    return str(inner)


class Pool:
    """The addresses of one subnet: each is given once, and one that was given back comes last again."""

    def __init__(self, subnet: Subnet) -> None:
        self.net = ipaddress.ip_network(subnet["subnet"])
        self.gateway = subnet["gateway"]
        self.used = {self.gateway}
        self._first, self._last = self._ends(subnet["range"])
        self._next = self._first

    def _ends(self, word: str) -> tuple[int, int]:
        if "-" in word:
            begin, _, end = word.partition("-")
            return int(ipaddress.ip_address(begin)), int(ipaddress.ip_address(end))
        inner = ipaddress.ip_network(word) if word else self.net
        first, last = int(inner.network_address), int(inner.broadcast_address)
        return (
            first + (inner.network_address == self.net.network_address),
            last - (inner.broadcast_address == self.net.broadcast_address),
        )

    def take(self, wanted: str = "") -> str:
        """An address, the one that is wanted if there is one. InUseError: it is taken, or none is left."""
        if wanted:
            word = str(_within(wanted, self.net, "address"))
            if word in self.used:
                raise InUseError(
                    f"address {word} is in use",
                    "the gateway has it" if word == self.gateway else "a container has it",
                    "leave it out, or choose another one",
                )
            self.used.add(word)
            return word
        for number in self._turn():
            word = str(type(self.net.network_address)(number))
            if word not in self.used:
                self._next = number + 1
                self.used.add(word)
                return word
        raise InUseError(f"no address of {self.net} is free", "containers have all of them")

    def _turn(self) -> Iterator[int]:
        begin = self._next if self._first <= self._next <= self._last else self._first
        yield from range(begin, self._last + 1)
        yield from range(self._first, begin)

    def give_back(self, word: str) -> None:
        if word != self.gateway:
            self.used.discard(word)


def check_apart(name: str, one: Subnet, other: str, two: Subnet) -> None:
    """Networks of two stores may have been given the same subnet."""
    first, second = (ipaddress.ip_network(subnet["subnet"]) for subnet in (one, two))
    if first.version == second.version and first.overlaps(second):
        raise InUseError(
            f"cannot use network {name}",
            f"its subnet {first} overlaps {second} of network {other}, which has containers",
            "make it anew with another --subnet",
        )


def prefix(subnet: Mapping[str, Any]) -> int:
    return ipaddress.ip_network(subnet["subnet"]).prefixlen
