"""Network interfaces of another namespace, through a socket that belongs to it (netdevice(7), ioctl_ns(2)), and what
this machine routes (rtnetlink(7)).
"""

from __future__ import annotations

import _socket
import fcntl
import struct
import sys

_SIOCGSKNS = 0x894C
_SIOCGIFADDR = 0x8915
_SIOCGIFNETMASK = 0x891B
_SIOCGIFHWADDR = 0x8927
_DONE, _ERROR, _NEWROUTE, _GETROUTE = 3, 2, 24, 26
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_RTA_DST = 1
_WIDE = 8  # a destination with fewer bits is a default route in other words: 0.0.0.0/1 and 128.0.0.0/1 of a VPN


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


def routed() -> list[str]:
    """The IPv4 networks that this machine has routes to, such as 192.0.2.0/24; default routes are none.

    Of every routing table: a VPN has one of its own, and the addresses of the interfaces are in the kernel's "local".
    An empty list where netlink is forbidden.
    """
    found: set[str] = set()
    try:
        netlink = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, _socket.NETLINK_ROUTE)
    except OSError:
        return []
    try:
        # struct nlmsghdr, and the family of struct rtmsg
        netlink.send(struct.pack("=IHHII12s", 28, _GETROUTE, _DUMP, 1, 0, bytes([_socket.AF_INET])))
        while _read_routes(netlink.recv(1 << 16), found):
            pass
    except OSError:
        return []
    finally:
        netlink.close()
    return sorted(found)


def _read_routes(data: bytes, found: set[str]) -> bool:
    """Whether more is to come."""
    at = 0
    while at < len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if kind in (_DONE, _ERROR):
            return False
        family, bits = data[at + 16], data[at + 17]
        if kind == _NEWROUTE and family == _socket.AF_INET and bits >= _WIDE:
            found.add(_destination(data, at + 28, bits))
        at += (length + 3) & ~3
    return bool(data)


def _destination(data: bytes, at: int, bits: int) -> str:
    """What the attribute says that a route of so many bits must have."""
    while True:
        length, kind = struct.unpack_from("=HH", data, at)
        if kind == _RTA_DST:
            return f"{_socket.inet_ntoa(data[at + 4 : at + 8])}/{bits}"
        at += (length + 3) & ~3


def default_gateway(interface: str = "") -> str:
    """This machine's way out for IPv4, by that interface if one is named; "" if it has none (proc_net_route)."""
    with open("/proc/net/route", encoding="ascii") as file:
        for line in file.readlines()[1:]:
            through, destination, gateway, *_, mask = line.split()[:8]
            if destination == mask == "00000000" and interface in ("", through):
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
