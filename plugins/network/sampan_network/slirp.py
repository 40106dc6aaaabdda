"""slirp4netns: TCP, UDP and DNS of a container through a TCP/IP stack in a process of the user's.

The container has a tap device with the address 10.0.2.100 in a network of its own; 10.0.2.2 is the way out and
10.0.2.3 answers names as the host does, also where the host asks a server on its loopback interface.  That interface
itself is closed to the container.  The program runs in a sandbox of its own making: its own mount namespace, no
capabilities, a seccomp filter (slirp4netns(1)).
"""

from __future__ import annotations

import _socket

from sampan import files, jsontext
from sampan.errors import InUseError, UnsupportedError
from sampan.linux import interfaces
from sampan.model.ports import inside, outside
from sampan_network import helper, linked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sampan.model.contract import DriverContext, Probe

ADDRESS, PREFIX, GATEWAY, NAME_SERVER = "10.0.2.100", 24, "10.0.2.2", "10.0.2.3"
SOCKET = "slirp"  # in the container's directory
WORDS = [
    "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp", "--enable-ipv6",
    "--ready-fd=5", "--exit-fd=6", "--netns-type=path", "/proc/self/fd/3", linked.INTERFACE,
]  # fmt: skip


class SlirpLink(linked.Link):
    """Ports are opened over a socket, to which nobody else will talk: it is removed when the last one is open."""

    program = package = "slirp4netns"

    def start(self, program: str, namespace: int) -> helper.Helper:
        words = [program, *WORDS]
        if self.ports:
            words.insert(1, f"--api-socket=/proc/self/fd/4/{SOCKET}")
            files.unlink(self.directory, SOCKET)
        return helper.Helper(words, {3: namespace, 4: self.directory}, ready=5, leash=6)

    def addresses(self) -> dict[str, Any]:
        return {"address": ADDRESS, "prefix": PREFIX, "gateway": GATEWAY}

    def publish(self) -> None:
        for port in self.ports:
            arguments = {
                "proto": port["protocol"],
                "host_addr": port["host_ip"],
                "host_port": port["host_port"],
                "guest_addr": ADDRESS,
                "guest_port": port["container_port"],
            }
            answer = self._request({"execute": "add_hostfwd", "arguments": arguments})
            if "return" not in answer:
                raise InUseError(
                    f"cannot publish {outside(port)}->{inside(port)}",
                    f"{self.program}: {answer.get('error', {}).get('desc', 'no answer')}",
                    "another program may have taken the port just now: start the container again",
                )
        if self.ports:
            files.unlink(self.directory, SOCKET)

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        """One request a connection (slirp4netns(1), API SOCKET)."""
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.settimeout(helper.PATIENCE)
            sock.connect(f"/proc/self/fd/{self.directory}/{SOCKET}")
            sock.send(jsontext.dumps(request).encode())
            sock.shutdown(_socket.SHUT_WR)
            answer: dict[str, Any] = jsontext.loads(sock.recv(4096))
            return answer
        except (OSError, ValueError) as error:
            return {"error": {"desc": str(error)}}
        finally:
            sock.close()


class SlirpBackend(linked.LinkedBackend):
    name = "slirp4netns"
    link = SlirpLink
    name_servers = (NAME_SERVER,)

    @property
    def publishes(self) -> tuple[str, ...]:
        return ("tcp", "udp")  # it forwards from IPv4 addresses only

    def check_ports(self, ports: Sequence[Mapping[str, Any]]) -> None:
        """What answers a datagram of the loopback interface would go to 10.0.2.2, which is closed."""
        for port in ports:
            if port["protocol"] == "udp" and port["host_ip"].startswith("127."):
                raise UnsupportedError(
                    f"cannot publish {outside(port)}->{inside(port)}",
                    "slirp4netns does not answer UDP at the machine's loopback interface",
                    "publish it at another address, or use --network pasta and the same port on both sides",
                )

    def host_address(self) -> str:
        return interfaces.outgoing_address()


def sampan_network_backend(context: DriverContext) -> SlirpBackend:
    return SlirpBackend()


def sampan_probe(context: DriverContext) -> Probe:
    return linked.probe(SlirpLink, rank=3)
