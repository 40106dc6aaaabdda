"""Bridges and veth pairs (pyroute2), in a process that is made for one change and ends with it.

The holder stays in the host's network namespace, where it has its sockets; what is to be done in the namespaces of
the members, a child does, which enters them.  So nothing is left half entered, and an error ends the child alone.
"""

from __future__ import annotations

import _socket
import errno
import os

from sampan import jsontext
from sampan.errors import SampanError, from_report, to_report
from sampan.linux import libc
from sampan_network import firewall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

FAILED = "cannot connect the container with its network"
STATIC = 0x42  # NUD_NOARP, NUD_REACHABLE: it neither ages nor is learned anew
LO = 1  # the number of the loopback interface
NODAD = 0x02  # IFA_F_NODAD: nobody else can have the address
FAMILIES = ((_socket.AF_INET, "0.0.0.0/0"), (_socket.AF_INET6, "::/0"))
SIX = "/proc/sys/net/ipv6/conf"  # of the network namespace of who opens it


def hardware_address() -> str:
    """One that is nobody's: locally administered, unicast (IEEE 802)."""
    data = bytearray(os.urandom(6))
    data[0] = data[0] & 0xFC | 2
    return data.hex(":")


class Plug:
    """One end of a network in a member: `link` is the other end's name, which is in the bridge.

    addresses: (address, length of the prefix, gateway).
    """

    __slots__ = ("addresses", "bridge", "interface", "link", "mac", "mtu", "outward")

    def __init__(
        self, bridge: str, link: str, interface: str, mac: str, mtu: int, *, outward: bool
    ) -> None:
        self.bridge, self.link, self.interface, self.mac = bridge, link, interface, mac
        self.mtu, self.outward = mtu, outward  # outward: its network has a way out
        self.addresses: list[tuple[str, int, str]] = []

    def firewall(self, verb: str) -> list[str]:
        return firewall.member(verb, self.link, self.mac, [row[0] for row in self.addresses])


class Bridge:
    """addresses: (gateway, length of the prefix)."""

    __slots__ = ("addresses", "internal", "mtu", "name")

    def __init__(
        self, name: str, addresses: Sequence[tuple[str, int]], mtu: int, *, internal: bool
    ) -> None:
        self.name, self.addresses, self.mtu, self.internal = name, addresses, mtu, internal


class Change:
    """What is to be made and to be taken away. main: the member's plug that has its way out, if that changes.

    lenient: what cannot be taken away is gone already.  renewed: the member had these interfaces from a holder that
    was killed.
    """

    def __init__(self) -> None:
        self.bridges: list[Bridge] = []
        self.plugs: list[Plug] = []
        self.rules: list[str] = []
        self.unplugged: list[Plug] = []
        self.removed: list[Bridge] = []
        self.main: Plug | None = None
        self.lenient = self.renewed = False


class Apart:
    """An action in a child of this process, begun; `wait` for it before another one.

    errors: can be read when it is done.
    """

    def __init__(self, action: Callable[[], object]) -> None:
        self.errors, write_end = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self.errors)
                action()
                os._exit(0)
            except BaseException as error:
                report = to_report(error, FAILED)
                os.write(write_end, jsontext.dumps(report).encode()[:4000])
            finally:
                os._exit(1)
        os.close(write_end)

    def wait(self) -> None:
        """The error that it met is raised."""
        said = b""
        while chunk := os.read(self.errors, 4096):
            said += chunk
        os.close(self.errors)
        _, status = os.waitpid(self._pid, 0)
        if said:
            raise from_report(jsontext.loads(said))
        if status:
            raise SampanError(FAILED, f"wait status {status}")


def carry_out(change: Change, inner: int, member: int) -> None:
    """inner, member: descriptors of the namespace of the bridges, and of the member (-1: it is gone)."""
    if change.renewed:
        libc.setns(member, libc.CLONE_NEWNET)
        with _routes() as route:
            for plug in change.plugs:
                _delete(route, plug.interface)
    libc.setns(inner, libc.CLONE_NEWNET)
    with _routes() as route:
        for plug in change.unplugged:
            _delete(route, plug.link)
        for bridge in change.removed:
            _delete(route, bridge.name)
        for bridge in change.bridges:
            _make_bridge(route, bridge)
        for plug in change.plugs:
            _make_pair(route, plug, member)
    firewall.Firewall().run(change.rules, lenient=change.lenient)
    if member >= 0 and (change.plugs or change.main):
        libc.setns(member, libc.CLONE_NEWNET)
        with _routes() as route:
            for plug in change.plugs:
                _configure(route, plug)
            _set_routes(route, change.main)


def _routes() -> Any:
    """A connection to the kernel, in the network namespace of now."""
    from pyroute2.iproute.linux import IPRoute  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

    return IPRoute()


def _index(route: Any, name: str) -> int:
    found: Iterable[int] = route.link_lookup(ifname=name)
    return next(iter(found), 0)


def _delete(route: Any, name: str) -> None:
    """One that is gone already, or goes just now, with its peer's namespace, is no error."""
    from pyroute2 import NetlinkError  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]

    if index := _index(route, name):
        try:
            route.link("del", index=index)
        except NetlinkError as error:
            if error.code != errno.ENODEV:
                raise


def _make_bridge(route: Any, bridge: Bridge) -> None:
    """With a hardware address of its own: otherwise it has the lowest of its ports', and changes it with them."""
    route.link(
        "add",
        ifname=bridge.name,
        kind="bridge",
        mtu=bridge.mtu,
        address=hardware_address(),
        br_forward_delay=0,
    )
    index = _index(route, bridge.name)
    if os.path.exists(f"{SIX}/{bridge.name}/accept_ra"):
        write(f"{SIX}/{bridge.name}/accept_ra", b"0")  # no member is a router here
    for address, prefix in bridge.addresses:
        _add_address(route, index, address, prefix)
    route.link("set", index=index, state="up")


def _add_address(route: Any, index: int, address: str, prefix: int) -> None:
    if ":" in address:
        route.addr("add", index=index, address=address, prefixlen=prefix, flags=NODAD)
        return
    hosts = (1 << (32 - prefix)) - 1
    last = int.from_bytes(_socket.inet_aton(address), "big") | hosts
    broadcast = _socket.inet_ntoa(last.to_bytes(4, "big"))
    route.addr("add", index=index, address=address, prefixlen=prefix, broadcast=broadcast)


def _make_pair(route: Any, plug: Plug, member: int) -> None:
    """The bridge is told where the member is, and learns nothing: it would from frames that pass no rules, those for
    01:80:c2:00:00:0X, and so send to one member what is another's.
    """
    peer = {
        "ifname": plug.interface, "net_ns_fd": member, "mtu": plug.mtu, "address": plug.mac,
    }  # fmt: skip
    route.link("add", ifname=plug.link, kind="veth", mtu=plug.mtu, peer=peer)
    index = _index(route, plug.link)
    route.link("set", index=index, master=_index(route, plug.bridge))
    route.brport("set", index=index, learning=0, unicast_flood=0)
    route.fdb("add", ifindex=index, lladdr=plug.mac, state=STATIC)
    route.link("set", index=index, state="up")


def _configure(route: Any, plug: Plug) -> None:
    index = _index(route, plug.interface)
    for address, prefix, _ in plug.addresses:
        if ":" in address:
            write(f"{SIX}/{plug.interface}/accept_dad", b"0")
            write(f"{SIX}/{plug.interface}/accept_ra", b"0")
        _add_address(route, index, address, prefix)
    route.link("set", index=index, state="up")


def write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _set_routes(route: Any, main: Plug | None) -> None:
    """The way out, and the way to the name server, go through one plug."""
    if main is None:
        return
    index = _index(route, main.interface)
    for address, _, gateway in main.addresses:
        if ":" not in address:
            route.route("replace", dst=f"{firewall.NAME_SERVER}/32", gateway=gateway, oif=index)
        if main.outward:
            everything = "::/0" if ":" in address else "0.0.0.0/0"
            route.route("replace", dst=everything, gateway=gateway, oif=index)


def add_way_in(
    inner: int, interface: str, addresses: list[tuple[str, int]], mtu: int, number: int
) -> None:
    """A tap device by which a helper will deliver ports: what came by it goes back by it.

    It is set up before the helper takes it: pasta ends when it has a packet for an interface that is down.
    """
    libc.setns(inner, libc.CLONE_NEWNET)
    firewall.Firewall().run([firewall.element("add", "inet", "marks", f'"{interface}" : {number}')])
    with _routes() as route:
        route.link("add", ifname=interface, kind="tuntap", mode="tap")
        index = _index(route, interface)
        if os.path.exists(f"{SIX}/{interface}/accept_ra"):
            write(f"{SIX}/{interface}/accept_ra", b"0")
        route.link("set", index=index, mtu=mtu, state="up")
        for address, prefix in addresses:
            family, everything = FAMILIES[":" in address]
            if family == _socket.AF_INET6:
                route.addr("replace", index=LO, address=firewall.HERE6, prefixlen=128)
            _add_address(route, index, address, prefix)
            way = {} if ":" in address else {"scope": "link"}
            route.route("add", family=family, dst=everything, oif=index, table=number, **way)
            route.rule("add", family=family, fwmark=number, table=number, priority=number)


def remove_way_in(inner: int, interface: str, number: int) -> None:
    libc.setns(inner, libc.CLONE_NEWNET)
    rule = firewall.element("delete", "inet", "marks", f'"{interface}" : {number}')
    firewall.Firewall().run([rule], lenient=True)
    with _routes() as route:
        for family, _ in FAMILIES:
            if list(route.get_rules(family=family, FRA_PRIORITY=number)):
                route.rule("del", family=family, fwmark=number, table=number, priority=number)
        _delete(route, interface)
