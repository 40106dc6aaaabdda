"""EXPOSE: ports, ranges of ports and protocols."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from sampan_build.dockerfile.arguments import ArgumentError, quote

PROTOCOLS = "tcp", "udp", "sctp"
HINT = "write PORT[-PORT][/tcp|udp|sctp]"


@dataclass(frozen=True, slots=True)
class Ports:
    """A range of ports as EXPOSE says it; mapped tells of a host's address or port before it, which is ignored."""

    word: str
    first: int
    last: int
    protocol: str
    mapped: bool

    def names(self) -> list[str]:
        """`80/tcp`, one a port."""
        return [f"{port}/{self.protocol.lower()}" for port in range(self.first, self.last + 1)]


def read(word: str) -> Ports:
    """The ports of `[[IP:]HOSTPORT:]PORT[-PORT][/PROTOCOL]`."""
    head, _, container = word.rpartition(":")
    address, _, host = head.rpartition(":")
    port, _, protocol = container.partition("/")
    if not port:
        raise ArgumentError(f"invalid port: {quote(word)}: no port specified", HINT, word)
    if protocol and protocol.lower() not in PROTOCOLS:
        raise ArgumentError(f"invalid port: {quote(word)}: invalid proto: {protocol}", HINT, word)
    if address:
        _check_address(address, word)
    numbers = _range(port)
    if numbers is None:
        raise ArgumentError(f"invalid containerPort: {port}", HINT, word)
    if host:
        outside = _range(host)
        if outside is None:
            raise ArgumentError(f"invalid hostPort: {host}", HINT, word)
        if numbers[0] != numbers[1] and outside[1] - outside[0] != numbers[1] - numbers[0]:
            what = f"invalid ranges specified for container and host Ports: {port} and {host}"
            raise ArgumentError(what, "only the container's ports count", word)
    return Ports(word, *numbers, protocol or "tcp", bool(address or host))


def _check_address(address: str, word: str) -> None:
    bare = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    try:
        ipaddress.ip_address(bare)
    except ValueError:
        raise ArgumentError(f"invalid IP address: {address}", HINT, word) from None


def _range(text: str) -> tuple[int, int] | None:
    first, dash, last = text.partition("-")
    numbers = [_number(first), _number(last if dash else first)]
    low, high = numbers
    return (low, high) if low is not None and high is not None and low <= high else None


def _number(text: str) -> int | None:
    digits = text.removeprefix("+")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 20:
        return None
    return int(digits) if int(digits) < 65536 else None
