"""What the backends share that run one helper for each container: it is started, watched, and started again."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod

from sampan.errors import SampanError
from sampan.linux import interfaces, processes
from sampan.model.contract import Probe
from sampan.model.plain_network import PlainNetwork
from sampan.model.ports import EVERY
from sampan_network import helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, ClassVar

    from sampan_network.datagrams import Datagrams
    from sampan_network.helper import Helper

    Port = dict[str, Any]

INTERFACE = "tap0"
RESTARTS = 10  # how often a helper that ends is started again in one run


def only_at_loopback(port: Port) -> bool:
    """Whether it is a UDP port that is to be had at the machine's loopback interface alone."""
    return bool(port["protocol"] == "udp" and port["host_ip"].startswith("127."))


def at_loopback(ports: Sequence[Port]) -> list[Port]:
    """The UDP ports that are to be had there, alone or too."""
    return [
        port
        for port in ports
        if only_at_loopback(port) or (port["protocol"] == "udp" and port["host_ip"] == EVERY[4])
    ]


class Link(ABC):
    """One container's connection: what is needed to make it, and the program that is it now."""

    program: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, network: int, options: Mapping[str, Any]) -> None:
        self.network = os.dup(network)
        self.directory = os.dup(options["directory"])
        self.ports: list[dict[str, Any]] = options["ports"]
        self.settings: Mapping[str, str] = options.get("settings", {})
        self.restarts = 0
        self.helper: Helper | None = None
        self.relay: Datagrams | None = None  # what answers where the helper does not

    @property
    def interface(self) -> str:
        """Its name in the container."""
        return INTERFACE

    @abstractmethod
    def start(self, program: str, namespace: int) -> Helper:
        """The helper, which is ready. namespace: a descriptor of the network namespace."""

    @abstractmethod
    def addresses(self) -> dict[str, Any]:
        """`address`, `prefix` and `gateway` of the container."""

    def publish(self, ports: Sequence[Port]) -> None:  # noqa: B027  a helper may open them all by itself
        """Open the ports that the helper has not opened by itself."""

    def relayed(self) -> list[Port]:
        """The ports that a process beside the helper answers at the loopback interface (datagrams.py)."""
        return at_loopback(self.ports)

    def outer(self) -> list[Port]:
        """Those that are the helper's, too, or alone."""
        relayed = [port for port in self.relayed() if only_at_loopback(port)]
        return [port for port in self.ports if port not in relayed]

    def connect(self) -> dict[str, Any]:
        if wrong := helper.missing(self.program, self.package):
            raise helper.unusable(self.program, wrong)
        namespace = interfaces.namespace(self.network)
        try:
            self.helper = self.start(helper.find(self.program), namespace)
        finally:
            os.close(namespace)
        try:
            mac = interfaces.hardware_address(self.network, self.interface)
        except OSError:
            raise helper.untrue(self.helper.program, self.interface) from None
        self.publish(self.outer())
        self._relay()
        return {
            "interface": self.interface,
            **self.addresses(),
            "mac": mac,
            "clients": "preserved",
            "restarts": self.restarts,
        }

    def _relay(self) -> None:
        if ports := self.relayed():
            from sampan_network.datagrams import Datagrams

            address = self.addresses()["address"]
            places = [(port, (address, port["container_port"])) for port in ports]
            namespace = interfaces.namespace(self.network)
            try:
                self.relay = Datagrams(places, namespace)
            finally:
                os.close(namespace)

    def disconnect(self) -> str:
        """How the program ended."""
        relay, self.relay = self.relay, None
        if relay is not None:
            relay.end()
        ended, self.helper = self.helper, None
        return ended.end() if ended else ""

    def mend(self) -> bool:
        """Whether the helper is there and what is beside it had ended, which is there again."""
        helper_ended = self.helper is None or processes.ended(self.helper.pidfd, 0)
        if helper_ended or self.relay is None or not processes.ended(self.relay.pidfd, 0):
            return False
        self.relay.end()
        self._relay()
        return True

    def watched(self) -> tuple[int, ...]:
        """Descriptors that can be read when it is broken."""
        return tuple(one.pidfd for one in (self.helper, self.relay) if one is not None)

    def close(self) -> int:
        """The pid of a program that is yet to be waited for; 0 without one. Ports are free when this returns."""
        dismissed = 0
        if self.helper is not None and not self.ports:
            dismissed, self.helper = self.helper.dismiss(), None
        self.disconnect()
        os.close(self.network)
        os.close(self.directory)
        return dismissed


class LinkedBackend(PlainNetwork, ABC):
    """A helper for each container."""

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self._dismissed: list[int] = []

    @abstractmethod
    def link(self, network: int, options: Mapping[str, Any]) -> Link:
        """What will connect a container; nothing is started yet."""

    def attach(self, container: str, network: int, options: Mapping[str, Any]) -> dict[str, Any]:
        while self._dismissed:  # a further run: those of the last one have had the time
            os.waitpid(self._dismissed.pop(), 0)
        link = self._links[container] = self.link(network, options)
        return link.connect()

    def detach(self, container: str, attachment: dict[str, Any]) -> None:
        if link := self._links.pop(container, None):
            self._dismissed += filter(None, [link.close()])

    def watched(self, container: str) -> tuple[int, ...]:
        link = self._links.get(container)
        return link.watched() if link else ()

    def status(self, container: str, attachment: dict[str, Any]) -> dict[str, Any]:
        """A helper that has ended is started again, with its ports."""
        link = self._links[container]
        if link.restarts < RESTARTS and link.mend():
            link.restarts += 1
            return {**attachment, "restarts": link.restarts}
        said = link.disconnect()
        if link.restarts == RESTARTS:
            raise SampanError(
                "the container's network is down",
                f"{link.program} ended {RESTARTS + 1} times: {said}",
                "restart the container",
            )
        link.restarts += 1
        return link.connect()


def probe(link: type[Link], rank: int) -> Probe:
    if wrong := helper.unfit(link.program, link.package):
        return Probe(False, *wrong)
    program = helper.find(link.program)
    return Probe(True, lambda: f"{program}, {helper.version(program)}", rank=rank)
