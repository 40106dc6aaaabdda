"""The loopback interface of a new network namespace (netdevice(7)): it is there, and down."""

from __future__ import annotations

import _socket
import fcntl
import struct

_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_UP_RUNNING = 0x41


def bring_up(socket: int) -> None:
    """socket: any, of the namespace."""
    fcntl.ioctl(socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP_RUNNING))


def add_address(socket: int, address: str) -> None:
    """One further IPv4 address, under a label of its own."""
    for request, word in ((_SIOCSIFADDR, address), (_SIOCSIFNETMASK, "255.255.255.255")):
        row = struct.pack("16sHH4s8x", b"lo:1", _socket.AF_INET, 0, _socket.inet_aton(word))
        fcntl.ioctl(socket, request, row)
