"""The way out of the bridges' namespace: a helper as single containers have it, whose ports come and go."""

from __future__ import annotations

from abc import ABC, abstractmethod

from sampan import files
from sampan.errors import SampanError, UnsupportedError
from sampan.linux import interfaces
from sampan_network import backlog, helper, linked, links, pasta, slirp, slirp_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, ClassVar

    from sampan_network.datagrams import Datagrams

    Port = dict[str, Any]

WAY_OUT = "169.254.63"
WAY6 = "fd73:616d:7061"  # and a number: a unique local network for each; firewall.HERE6 is 0
WAY_OUT6 = f"{WAY6}:1::"
MTU = 65520  # pasta's own
WAYS = 1000  # numbers of ways in begin here


class Uplink(ABC):
    """The helper is running when it is made."""

    program: ClassVar[str]
    package: ClassVar[str]

    def __init__(self, namespace: int, directory: int) -> None:
        if wrong := helper.missing(self.program, self.package):
            raise helper.unusable(self.program, wrong)
        self._namespace, self._directory = namespace, directory
        self._helper: helper.Helper | None = self._start(helper.find(self.program))

    @abstractmethod
    def _start(self, program: str) -> helper.Helper: ...

    def watched(self) -> Sequence[int]:
        """Descriptors that can be read when a helper has ended: then `mend`."""
        return (self._helper.pidfd,) if self._helper else ()

    @abstractmethod
    def open(self, ports: Sequence[Port]) -> None:
        """Publish a member's ports; each has `entry`, where it is delivered. They are open, or none is."""

    @abstractmethod
    def close(self, ports: Sequence[Port]) -> None:
        """Those that are not open are left out."""

    @abstractmethod
    def mend(self, members: Iterable[Sequence[Port]]) -> None:
        """Start again what has ended, with the ports of all members."""

    def end(self) -> str:
        """How the helper ended."""
        ended, self._helper = self._helper, None
        return ended.end() if ended else ""


class SlirpUplink(Uplink):
    """slirp4netns; its socket stays in the holder's directory, which is the user's alone."""

    program = package = "slirp4netns"

    def __init__(self, namespace: int, directory: int) -> None:
        self._relays: list[Datagrams] = []
        super().__init__(namespace, directory)

    def watched(self) -> Sequence[int]:
        return (*super().watched(), *(relay.pidfd for relay in self._relays))

    def _start(self, program: str) -> helper.Helper:
        # of the networks that are tried the last first: users give their own ones the others
        network = slirp.network(candidates=slirp.NETWORKS[::-1])
        self.subnet = slirp.Subnet(f"{network}.0/24")
        files.unlink(self._directory, slirp_api.SOCKET)
        socket = f"--api-socket=/proc/self/fd/4/{slirp_api.SOCKET}"
        words = [program, socket, *slirp.words(self.subnet, {})]
        return helper.Helper(words, {3: self._namespace, 4: self._directory}, ready=5, leash=6)

    def open(self, ports: Sequence[Port]) -> None:
        address = self.subnet.address(slirp.ADDRESS)
        try:
            for port in ports:
                if linked.only_at_loopback(port):
                    continue
                found = slirp_api.forward(self._directory, port, address, port["entry"])
                port["forward"] = found
            self._answer_loopback(ports)
        except SampanError:
            self.close(ports)
            raise
        if ports and self._helper:
            backlog.widen(self._helper)

    def _answer_loopback(self, ports: Sequence[Port]) -> None:
        """One process for a member's; where the rules deliver, they have the address that it has at the moment."""
        if found := linked.at_loopback(ports):
            from sampan_network.datagrams import LOOPBACK, Datagrams

            places = [(port, (LOOPBACK, port["entry"])) for port in found]
            relay = Datagrams(places, self._namespace)
            self._relays.append(relay)
            for port in found:
                port["relay"] = relay

    def close(self, ports: Sequence[Port]) -> None:
        for relay in {port.pop("relay") for port in ports if "relay" in port}:
            if relay in self._relays:
                self._relays.remove(relay)
                relay.end()
        for port in ports:
            if "forward" in port:
                slirp_api.take_back(self._directory, port.pop("forward"))

    def end(self) -> str:
        while self._relays:
            self._relays.pop().end()
        return super().end()

    def mend(self, members: Iterable[Sequence[Port]]) -> None:
        members = list(members)
        if self._helper is not None and not _ended(self._helper.pidfd):
            return self._mend_relays(members)
        self.end()
        self._helper = self._start(helper.find(self.program))
        for ports in members:
            self.open(ports)

    def _mend_relays(self, members: Iterable[Sequence[Port]]) -> None:
        for relay in [one for one in self._relays if _ended(one.pidfd)]:
            self._relays.remove(relay)
            relay.end()
            for ports in members:
                if any(port.get("relay") is relay for port in ports):
                    self._answer_loopback(ports)


class PastaUplink(Uplink):
    """pasta takes no port later: each member's have a further pasta, whose interface is their way in and back."""

    program, package = "pasta", "passt"

    def __init__(self, namespace: int, directory: int) -> None:
        self._ways: dict[int, helper.Helper] = {}  # by number
        super().__init__(namespace, directory)

    def _start(self, program: str) -> helper.Helper:
        """With an address that is not the machine's: what comes from that one would be taken for forged."""
        ways = _four(f"{WAY_OUT}.0") + (_six(WAY_OUT6) if interfaces.has_ipv6() else [])
        words = [
            program, *pasta.WORDS, *pasta.options(pasta.DEFAULTS), *ways, *pasta.forwards(()),
        ]  # fmt: skip
        return helper.Helper(words, {0: self._namespace}, ready=1)

    def watched(self) -> Sequence[int]:
        return (*super().watched(), *(way.pidfd for way in self._ways.values()))

    def open(self, ports: Sequence[Port]) -> None:
        if not ports:
            return
        number = next(n for n in range(WAYS, WAYS + 64 * 64) if n not in self._ways)
        self._open(number, ports)
        for port in ports:
            port["forward"] = number

    def _open(self, number: int, ports: Sequence[Port]) -> None:
        at = (number - WAYS) * 4
        four, interface = f"169.254.{64 + at // 256}.{at % 256}", f"p{number}"
        chosen = {**pasta.DEFAULTS, "--ns-ifname": interface}
        addresses = [(_host(four, 2), 30)]
        ways = _four(four)
        if any(":" in port["host_ip"] for port in ports):
            six = f"{WAY6}:{number:x}::"
            addresses.append((_host(six, 2), 64))
            ways += _six(six)
        delivered = [{**port, "container_port": port["entry"]} for port in ports]
        plain = [word for word in pasta.WORDS if word != "--config-net"]
        words = [
            helper.find(self.program), *plain, *pasta.options(chosen), *ways, *pasta.forwards(delivered),
        ]  # fmt: skip
        told = (self._namespace, interface, addresses, MTU, number)
        links.Apart(lambda: links.add_way_in(*told)).wait()
        try:
            self._ways[number] = helper.Helper(words, {0: self._namespace}, ready=1)
        except SampanError:
            self._remove(number)
            raise

    def _remove(self, number: int) -> None:
        way = (self._namespace, f"p{number}", number)
        links.Apart(lambda: links.remove_way_in(*way)).wait()

    def close(self, ports: Sequence[Port]) -> None:
        for number in {port.pop("forward") for port in ports if "forward" in port}:
            self._ways.pop(number).end()
            self._remove(number)

    def mend(self, members: Iterable[Sequence[Port]]) -> None:
        if self._helper is not None and _ended(self._helper.pidfd):
            super().end()
            self._helper = self._start(helper.find(self.program))
        for ports in members:
            if any(
                _ended(self._ways[port["forward"]].pidfd) for port in ports if "forward" in port
            ):
                self.close(ports)
                self.open(ports)

    def end(self) -> str:
        for way in self._ways.values():
            way.end()
        self._ways.clear()
        return super().end()


def _four(network: str) -> list[str]:
    """The options for an interface of pasta's in a network of 30 bits."""
    return ["--address", _host(network, 2), "--netmask", "30", "--gateway", _host(network, 1)]


def _six(network: str) -> list[str]:
    """Likewise; the network has 64 bits."""
    return ["--address", _host(network, 2), "--gateway", _host(network, 1)]


def _host(network: str, number: int) -> str:
    first, separator, last = network.rpartition(":" if ":" in network else ".")
    return f"{first}{separator}{int(last or 0) + number}"


def _ended(pidfd: int) -> bool:
    from sampan.linux import processes

    return processes.ended(pidfd, 0)


KINDS: dict[str, type[Uplink]] = {"slirp4netns": SlirpUplink, "pasta": PastaUplink}


def chosen(name: str) -> type[Uplink]:
    """The uplink of that name; of `auto` the first that works here. UnsupportedError: none does."""
    if name in KINDS:
        return KINDS[name]
    if name != "auto":
        raise UnsupportedError(f"uplink = {name!r}", "there is no such one", ", ".join(KINDS))
    wrong: list[str] = []
    for kind, one in KINDS.items():
        row = helper.unfit(one.program, one.package)
        if row is None:
            return one
        wrong.append(f"{kind}: {row[0]}")
    raise UnsupportedError(
        "bridge networks have no way out",
        "; ".join(wrong),
        "an administrator can install slirp4netns",
    )


def start(namespace: int, directory: int, options: Mapping[str, Any]) -> Uplink:
    return chosen(options.get("uplink", "auto"))(namespace, directory)
