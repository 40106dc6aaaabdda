"""The network namespace of the bridges: made once, by a child of the holder, which passes it on with sockets of it."""

from __future__ import annotations

import os
import socket

from sampan.linux import libc, loopback, sockets
from sampan_network import firewall, links
from sampan_network.links import SIX, write


def make() -> tuple[int, socket.socket, socket.socket, socket.socket]:
    """The network namespace of the bridges, and the sockets there that the names need."""
    ours, theirs = sockets.pair()

    def begin() -> None:
        libc.unshare(libc.CLONE_NEWNET)
        made = _prepare()
        inner = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        sockets.send(theirs, b"inner", [inner, *(sock.fileno() for sock in made)])

    links.Apart(begin).wait()
    theirs.close()
    _, (inner, *fds) = sockets.receive(ours, 4)
    ours.close()
    udp, tcp, inside = (socket.socket(fileno=fd) for fd in fds)
    udp.setblocking(False)
    tcp.setblocking(False)
    inside.setblocking(False)
    return inner, udp, tcp, inside


def _prepare() -> tuple[socket.socket, socket.socket, socket.socket]:
    """Make the namespace in which this process is one that forwards between members and the uplink.

    Returns sockets there: the name server's (UDP, and TCP that listens), and one that asks members (UDP).
    """
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    loopback.bring_up(udp.fileno())
    loopback.add_address(udp.fileno(), firewall.NAME_SERVER)
    write("/proc/sys/net/ipv4/ip_forward", b"1")
    write("/proc/sys/net/ipv4/conf/all/route_localnet", b"1")
    for which in (
        "all",
        "default",
    ):  # what comes in by one interface may have its way back by another
        write(f"/proc/sys/net/ipv4/conf/{which}/rp_filter", b"0")
    if os.path.exists(f"{SIX}/all/forwarding"):
        write(f"{SIX}/all/forwarding", b"1")
        # the uplink's interface takes what its router says though this is one itself, and at once: nobody else is there
        for setting, value in (
            ("accept_ra", b"2"),
            ("accept_dad", b"0"),
            ("router_solicitation_delay", b"0"),
        ):
            write(f"{SIX}/default/{setting}", value)
    rules = firewall.Firewall()
    rules.run([firewall.BASE])
    rules.run([firewall.LIMIT], lenient=True)
    udp.bind((firewall.NAME_SERVER, 53))
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.bind((firewall.NAME_SERVER, 53))
    tcp.listen(16)
    return udp, tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
