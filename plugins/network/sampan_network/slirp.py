"""slirp4netns: TCP, UDP and DNS of a container through a TCP/IP stack in a process of the user's.

The container has a tap device with the address .100 in a network of its own, 10.0.2.0/24 unless this machine has a
route into that; .2 is the way out and .3 answers names as the host does, also where the host asks a server on its
loopback interface.  That interface itself is closed to the container.  The program runs in a sandbox of its own
making: its own mount namespace, no capabilities, a seccomp filter (slirp4netns(1)).
"""

from __future__ import annotations

import _socket

from sampan import files
from sampan.errors import UnsupportedError
from sampan.linux import interfaces
from sampan_network import backlog, helper, linked, slirp_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sampan.model.contract import DriverContext, Probe

# Where its network is looked for: 24 bits each. The last ones are for benchmarks of routers (RFC 2544), so that a
# machine which has routes into all private networks finds one too.
NETWORKS = [f"10.0.{third}" for third in range(2, 16)] + [
    f"{first}.{third}" for first in ("172.31", "192.168", "198.18") for third in range(200, 208)
]
GATEWAY, NAME_SERVER, ADDRESS = 2, 3, 100  # in its network (slirp4netns(1))
MTU = "16384"  # a packet must be a part of what a receiver takes at once (64 KiB), or it waits for its acknowledgement
SOCKET = slirp_api.SOCKET  # in the container's directory
_WORDS = [
    "--configure", "--enable-sandbox", "--enable-seccomp",
    "--ready-fd=5", "--exit-fd=6", "--netns-type=path", "/proc/self/fd/3", linked.INTERFACE,
]  # fmt: skip


def network(candidates: Sequence[str] = NETWORKS) -> str:
    """The first three numbers of a network of 24 bits into which this machine has no route."""
    used = interfaces.routed()
    for word in candidates:
        if not any(_overlap(f"{word}.0/24", other) for other in used):
            return word
    raise UnsupportedError(
        "cannot connect the container with slirp4netns",
        f"this machine has routes into every network that is tried, from {NETWORKS[0]}.0/24 to {NETWORKS[-1]}.0/24",
        "--network pasta needs none, --network slirp4netns:cidr=NETWORK/24 names one",
    )


def _overlap(one: str, other: str) -> bool:
    """Whether they share an address: the package ipaddress takes longer to load than all of this."""
    first, second = one.partition("/"), other.partition("/")
    apart = _number(first[0]) ^ _number(second[0])
    return apart >> (32 - min(int(first[2]), int(second[2]))) == 0


def _number(address: str) -> int:
    return int.from_bytes(_socket.inet_aton(address), "big")


class Subnet:
    """The network of one container."""

    __slots__ = ("cidr", "prefix")

    def __init__(self, cidr: str) -> None:
        self.cidr = cidr
        self.prefix = int(cidr.partition("/")[2])

    def address(self, number: int) -> str:
        first = _number(self.cidr.partition("/")[0])
        return _socket.inet_ntoa((first + number).to_bytes(4, "big"))


class SlirpLink(linked.Link):
    """Ports are opened over a socket, to which nobody else will talk: it is removed when the last one is open."""

    program = package = "slirp4netns"

    def __init__(self, network: int, options: Mapping[str, Any], subnet: Subnet) -> None:
        super().__init__(network, options)
        self.subnet = subnet

    def start(self, program: str, namespace: int) -> helper.Helper:
        command = [program, *words(self.subnet, self.settings)]
        if self.ports:
            command.insert(1, f"--api-socket=/proc/self/fd/4/{SOCKET}")
            files.unlink(self.directory, SOCKET)
        return helper.Helper(command, {3: namespace, 4: self.directory}, ready=5, leash=6)

    def addresses(self) -> dict[str, Any]:
        address, gateway = self.subnet.address(ADDRESS), self.subnet.address(GATEWAY)
        return {"address": address, "prefix": self.subnet.prefix, "gateway": gateway}

    def relayed(self) -> list[dict[str, Any]]:
        """Unless the loopback interface is open: then it answers there itself."""
        return [] if self.settings.get("allow_host_loopback") == "true" else super().relayed()

    def publish(self, ports: Sequence[dict[str, Any]]) -> None:
        address = self.subnet.address(ADDRESS)
        for port in ports:
            slirp_api.forward(self.directory, port, address, port["container_port"])
        if self.ports:
            files.unlink(self.directory, SOCKET)
            if self.helper:
                backlog.widen(self.helper)


def words(subnet: Subnet, settings: Mapping[str, str]) -> list[str]:
    """What the program is told. settings: sampan_network.slirp_settings has checked them."""
    found = [f"--cidr={subnet.cidr}", f"--mtu={settings.get('mtu', MTU)}"]
    if settings.get("allow_host_loopback") != "true":
        found.append("--disable-host-loopback")
    if settings.get("enable_ipv6") != "false":
        found.append("--enable-ipv6")
    for key in ("outbound_addr", "outbound_addr6"):
        if value := settings.get(key):
            found.append(f"--{key.replace('_', '-')}={value}")
    return found + _WORDS


class SlirpBackend(linked.LinkedBackend):
    """The network is chosen once, when it is first asked for: /etc/resolv.conf and each helper name the same."""

    name = "slirp4netns"

    def __init__(self) -> None:
        super().__init__()
        self._network = ""

    def link(self, network: int, options: Mapping[str, Any]) -> SlirpLink:
        return SlirpLink(network, options, self.subnet(options.get("settings", {})))

    def subnet(self, settings: Mapping[str, str]) -> Subnet:
        if cidr := settings.get("cidr"):
            return Subnet(cidr)
        self._network = self._network or network()
        return Subnet(f"{self._network}.0/24")

    def name_servers(self, settings: Mapping[str, str]) -> tuple[str, ...]:
        return (self.subnet(settings).address(NAME_SERVER),)

    @property
    def publishes(self) -> tuple[str, ...]:
        return ("tcp", "udp")  # it forwards from IPv4 addresses only

    def check_settings(self, settings: Mapping[str, str]) -> None:
        from sampan_network import slirp_settings

        slirp_settings.check(settings)

    def host_address(self) -> str:
        return interfaces.outgoing_address()


def sampan_network_backend(context: DriverContext) -> SlirpBackend:
    return SlirpBackend()


def sampan_probe(context: DriverContext) -> Probe:
    return linked.probe(SlirpLink, rank=3)
