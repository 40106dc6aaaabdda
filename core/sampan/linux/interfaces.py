"""Network interfaces of another namespace, through a socket that belongs to it (netdevice(7), ioctl_ns(2))."""

from __future__ import annotations

import _socket
import fcntl
import struct
import sys

_SIOCGSKNS = 0x894C
_SIOCGIFADDR = 0x8915
_SIOCGIFNETMASK = 0x891B
_SIOCGIFHWADDR = 0x8927


def namespace(socket: int) -> int:
    """A descriptor of the socket's network namespace, close-on-exec."""
    return fcntl.ioctl(socket, _SIOCGSKNS)


def _request(socket: int, number: int, interface: str) -> bytes:
    """The sockaddr of the answer, from its family on."""
    request = struct.pack("16s24x", interface.encode()[:15])
    return fcntl.ioctl(socket, number, request)[16:]


def address(socket: int, interface: str) -> tuple[str, int]:
    """The IPv4 address of the interface and the length of its prefix; ("", 0) if it has none."""
    try:
        found = _request(socket, _SIOCGIFADDR, interface)[4:8]
        mask = _request(socket, _SIOCGIFNETMASK, interface)[4:8]
    except OSError:
        return "", 0
    return _socket.inet_ntoa(found), int.from_bytes(mask, "big").bit_count()


def hardware_address(socket: int, interface: str) -> str:
    return _request(socket, _SIOCGIFHWADDR, interface)[2:8].hex(":")


def outgoing_address() -> str:
    """The IPv4 address with which this machine reaches others; "" if it has no default route. Nothing is sent."""
    probe = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        probe.connect(("198.51.100.1", 9))  # a documentation address (RFC 5737)
        return str(probe.getsockname()[0])
    except OSError:
        return ""
    finally:
        probe.close()


def default_gateway() -> str:
    """This machine's way out for IPv4; "" if it has none (proc_net_route)."""
    with open("/proc/net/route", encoding="ascii") as file:
        for line in file.readlines()[1:]:
            _, destination, gateway, *_, mask = line.split()[:8]
            if destination == mask == "00000000":
                return _socket.inet_ntoa(int(gateway, 16).to_bytes(4, sys.byteorder))
    return ""


def has_ipv6() -> bool:
    """Whether this machine has a way out for IPv6."""
    try:
        with open("/proc/net/ipv6_route", encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:  # a kernel without IPv6
        return False
    return any(set(row[0]) == {"0"} and row[1] == "00" and row[-1] != "lo" for row in rows)
