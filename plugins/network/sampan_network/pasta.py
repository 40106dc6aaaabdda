"""pasta: a container with the addresses of the machine, its connections carried to the host's sockets one for one.

The container has a copy of the address, the gateway and the routes of the interface with the default route (IPv4 and
IPv6), so there is no translation, and it does not reach the machine itself: what it sends to that address stays inside.
The gateway's address, behind which pasta would show the host's loopback interface, is left to the gateway.
(passt(1); the program ends with this process's signal, and sandboxes itself.)
"""

from __future__ import annotations

from sampan.errors import UnsupportedError
from sampan.linux import interfaces
from sampan.model import ports
from sampan.model.contract import Probe
from sampan_network import helper, linked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sampan.model.contract import DriverContext

# Newer versions close what they inherit beyond 0, 1 and 2: so these are what they need.
WORDS = [
    "--config-net", "--foreground", "--quiet",
    "--netns", "/proc/self/fd/0", "--no-netns-quit", "--pid", "/proc/self/fd/1",
]  # fmt: skip
DEFAULTS = {
    "--ns-ifname": linked.INTERFACE, "--no-map-gw": "", "--tcp-ns": "none", "--udp-ns": "none",
}  # fmt: skip


class PastaLink(linked.Link):
    program, package = "pasta", "passt"

    def __init__(self, network: int, options: Mapping[str, Any]) -> None:
        super().__init__(network, options)
        self.chosen = dict(DEFAULTS)
        if self.settings:
            from sampan_network import pasta_settings

            self.chosen |= pasta_settings.named(self.settings)

    @property
    def interface(self) -> str:
        return self.chosen["--ns-ifname"]

    def start(self, program: str, namespace: int) -> helper.Helper:
        for port in self.ports:
            if f"--no-{port['protocol']}" in self.chosen:
                raise UnsupportedError(
                    f"cannot publish {ports.outside(port)}->{ports.inside(port)}",
                    f"--network pasta:--no-{port['protocol']} carries none",
                )
        words = [program, *WORDS, *options(self.chosen), *forwards(self.outer())]
        return helper.Helper(words, {0: namespace}, ready=1)

    def relayed(self) -> list[dict[str, Any]]:
        """The version of Debian 12 answers there itself if both ports are the same."""
        return [port for port in super().relayed() if port["host_port"] != port["container_port"]]

    def addresses(self) -> dict[str, Any]:
        address, prefix = interfaces.address(self.network, self.interface)
        gateway = self.chosen.get("--gateway", "")
        if not gateway or ":" in gateway:
            gateway = interfaces.default_gateway(self.chosen.get("--interface", ""))
        return {"address": address, "prefix": prefix, "gateway": gateway}


def options(chosen: Mapping[str, str]) -> list[str]:
    words: list[str] = []
    for option, value in chosen.items():
        if option == "--map-gw":
            continue  # podman's word for the want of the other one
        if option != "--no-map-gw" or "--map-gw" not in chosen:
            words += [option, value] if value else [option]
    return words


def forwards(published: Sequence[Mapping[str, Any]]) -> list[str]:
    """The options that open the ports. UnsupportedError: a port at some addresses, but not at all of them."""
    words: list[str] = []
    addresses: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for port in published:
        addresses.setdefault((port["protocol"], port["host_port"]), []).append(port)
    for protocol, option in (("tcp", "--tcp-ports"), ("udp", "--udp-ports")):
        rows = [found for (kind, _), found in addresses.items() if kind == protocol]
        for found in rows:
            words += [option, _forward(found)]
        if not rows:
            words += [option, "none"]
    return words


def _forward(found: list[Mapping[str, Any]]) -> str:
    first = found[0]
    pair = f"{first['host_port']}:{first['container_port']}"
    everywhere = {port["host_ip"] for port in found} == set(ports.EVERY.values())
    if everywhere and len({port["container_port"] for port in found}) == 1:
        return pair  # one socket for both families
    if len(found) > 1:
        raise UnsupportedError(
            f"cannot publish {ports.outside(found[1])}->{ports.inside(found[1])}",
            "pasta opens a port at one address or at all of them",
            "leave out the address, or use another port",
        )
    return f"{first['host_ip']}/{pair}"


class PastaBackend(linked.LinkedBackend):
    name = "pasta"

    def link(self, network: int, options: Mapping[str, Any]) -> PastaLink:
        return PastaLink(network, options)

    @property
    def publishes(self) -> tuple[str, ...]:
        return ("tcp", "udp", *(("tcp6", "udp6") if interfaces.has_ipv6() else ()))

    def check_ports(self, ports: Sequence[Mapping[str, Any]]) -> None:
        forwards(ports)

    def name_servers(self, settings: Mapping[str, str]) -> tuple[str, ...]:
        server = settings.get("--dns-forward")  # pasta asks the machine's first server there
        return (server,) if server else ()

    def check_settings(self, settings: Mapping[str, str]) -> None:
        from sampan_network import pasta_settings

        pasta_settings.check(settings)


def sampan_network_backend(context: DriverContext) -> PastaBackend:
    return PastaBackend()


def sampan_probe(context: DriverContext) -> Probe:
    found = linked.probe(PastaLink, rank=2)
    if found.usable and not (interfaces.default_gateway() or interfaces.has_ipv6()):
        why = "pasta gives a container the addresses of the default route's interface, and there is no such route"
        return Probe(False, why, "--network slirp4netns needs none")
    return found
