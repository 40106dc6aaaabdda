"""slirp4netns: TCP, UDP and DNS of a container through a TCP/IP stack in a process of the user's.

The container has a tap device with the address 10.0.2.100 in a network of its own; 10.0.2.2 is the way out and
10.0.2.3 answers names as the host does, also where the host asks a server on its loopback interface.  That interface
itself is closed to the container.  The program runs in a sandbox of its own making: its own mount namespace, no
capabilities, a seccomp filter (slirp4netns(1)).
"""

from __future__ import annotations

import _socket
import os

from sampan import files, jsontext
from sampan.errors import InUseError, SampanError
from sampan.linux import interfaces
from sampan.model import ports
from sampan.model.contract import Probe
from sampan_network import helper
from sampan_network.none import NoneBackend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.model.contract import DriverContext

PROGRAM = PACKAGE = "slirp4netns"
INTERFACE = "tap0"
ADDRESS, PREFIX, GATEWAY, NAME_SERVER = "10.0.2.100", 24, "10.0.2.2", "10.0.2.3"
SOCKET = "slirp"  # in the container's directory
RESTARTS = 10  # how often a helper that ends is started again in one run
WORDS = [
    "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp", "--enable-ipv6",
    "--ready-fd={ready}", "--exit-fd={leash}", "--netns-type=path", "/proc/self/fd/3", INTERFACE,
]  # fmt: skip


class Link:
    """One container's connection: what is needed to make it, and the program that is it now."""

    def __init__(self, network: int, options: Mapping[str, Any]) -> None:
        self._network = os.dup(network)
        self._directory = os.dup(options["directory"])
        self._ports: list[dict[str, Any]] = options["ports"]
        self.restarts = 0
        self.helper: helper.Helper | None = None

    def connect(self) -> dict[str, Any]:
        program = helper.check(PROGRAM, PACKAGE)
        words = [program, *WORDS]
        if self._ports:
            words.insert(1, f"--api-socket=/proc/self/fd/4/{SOCKET}")
            files.unlink(self._directory, SOCKET)
        namespace = interfaces.namespace(self._network)
        try:
            self.helper = helper.Helper(words, [namespace, self._directory])
        finally:
            os.close(namespace)
        if self._ports:
            self._publish()
        return {
            "interface": INTERFACE,
            "address": ADDRESS,
            "prefix": PREFIX,
            "gateway": GATEWAY,
            "mac": interfaces.hardware_address(self._network, INTERFACE),
            "clients": "preserved",
            "restarts": self.restarts,
        }

    def _publish(self) -> None:
        """Nobody else will talk to the socket: it is removed when the last port is open."""
        for port in self._ports:
            answer = self._request(
                {
                    "execute": "add_hostfwd",
                    "arguments": {
                        "proto": port["protocol"],
                        "host_addr": port["host_ip"],
                        "host_port": port["host_port"],
                        "guest_addr": ADDRESS,
                        "guest_port": port["container_port"],
                    },
                }
            )
            if "return" not in answer:
                raise InUseError(
                    f"cannot publish {ports.outside(port)}->{ports.inside(port)}",
                    f"{PROGRAM}: {answer.get('error', {}).get('desc', 'no answer')}",
                    "another program may have taken the port just now: start the container again",
                )
        files.unlink(self._directory, SOCKET)

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request a connection (slirp4netns(1), API SOCKET)."""
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.settimeout(helper.PATIENCE)
            sock.connect(f"/proc/self/fd/{self._directory}/{SOCKET}")
            sock.send(jsontext.dumps(request).encode())
            sock.shutdown(_socket.SHUT_WR)
            answer: dict[str, Any] = jsontext.loads(sock.recv(4096))
            return answer
        except (OSError, ValueError) as error:
            return {"error": {"desc": str(error)}}
        finally:
            sock.close()

    def disconnect(self) -> str:
        """How the program ended."""
        ended, self.helper = self.helper, None
        return ended.end() if ended else ""

    def close(self) -> None:
        self.disconnect()
        os.close(self._network)
        os.close(self._directory)


class SlirpBackend(NoneBackend):
    """A program for each container."""

    name = "slirp4netns"
    name_servers = (NAME_SERVER,)
    publishes = ("tcp", "udp")  # it forwards from IPv4 addresses only

    def __init__(self) -> None:
        self._links: dict[str, Link] = {}

    def host_address(self) -> str:
        return interfaces.outgoing_address()

    def attach(self, container: str, network: int, options: Mapping[str, Any]) -> dict[str, Any]:
        link = self._links[container] = Link(network, options)
        return link.connect()

    def detach(self, container: str, attachment: dict[str, Any]) -> None:
        if link := self._links.pop(container, None):
            link.close()

    def watched(self, container: str) -> tuple[int, ...]:
        link = self._links.get(container)
        return (link.helper.pidfd,) if link and link.helper else ()

    def status(self, container: str, attachment: dict[str, Any]) -> dict[str, Any]:
        """A helper that has ended is started again, with its ports."""
        link = self._links[container]
        said = link.disconnect()
        if link.restarts == RESTARTS:
            raise SampanError(
                "the container's network is down",
                f"{PROGRAM} ended {RESTARTS + 1} times: {said}",
                "restart the container",
            )
        link.restarts += 1
        return link.connect()


def sampan_network_backend(context: DriverContext) -> SlirpBackend:
    return SlirpBackend()


def sampan_probe(context: DriverContext) -> Probe:
    if wrong := helper.missing(PROGRAM, PACKAGE):
        return Probe(False, *wrong)
    program = helper.find(PROGRAM)
    return Probe(True, f"{program}, {helper.version(program)}", rank=3)
