"""A network backend of somebody else's: no way out, and published TCP ports that a relay carries, on networks or not.

The relay listens in the machine's network namespace, then enters the container's, where it connects to what is asked
for: a child of the monitor, which dies with it.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from sampan.errors import SampanError, UsageError
from sampan.linux import interfaces, libc, processes
from sampan.model.contract import DriverContext, Probe
from sampan.model.plain_network import PlainNetwork


class Relay(PlainNetwork):
    name = "relay"
    networks = True

    @property
    def publishes(self) -> tuple[str, ...]:
        return ("tcp",)

    def __init__(self) -> None:
        self._relays: dict[str, tuple[int, int]] = {}

    def create(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        if options["subnets"] or options["ipv6"]:
            raise UsageError(f"cannot create network {name}", "a relay has no addresses")
        return {"subnets": [], "options": options["options"]}

    def remove(self, name: str) -> None:
        return

    def attach(self, container: str, network: int, options: Mapping[str, Any]) -> dict[str, Any]:
        namespace = interfaces.namespace(network)
        listeners = {_listen(port): port["container_port"] for port in options["ports"]}
        monitor, pid = os.getpid(), os.fork()
        if pid == 0:
            try:
                processes.die_with_parent()
                if os.getppid() == monitor:
                    libc.setns(namespace, libc.CLONE_NEWNET)
                    _carry(listeners)
            finally:
                os._exit(1)
        for listener in listeners:
            listener.close()
        os.close(namespace)
        self._relays[container] = (pid, os.pidfd_open(pid))
        return _told(options["networks"])

    def change(
        self, container: str, attachment: dict[str, Any], networks: Sequence[Any]
    ) -> dict[str, Any]:
        return _told(networks)

    def detach(self, container: str, attachment: dict[str, Any]) -> None:
        if container in self._relays:
            pid, pidfd = self._relays.pop(container)
            processes.send_signal(pidfd, 9)
            os.waitpid(pid, 0)
            os.close(pidfd)

    def watched(self, container: str) -> tuple[int, ...]:
        return (self._relays[container][1],) if container in self._relays else ()

    def status(self, container: str, attachment: dict[str, Any]) -> dict[str, Any]:
        self.detach(container, attachment)
        raise SampanError("the relay ended", "somebody killed it", "restart the container")


def _told(networks: Sequence[Any]) -> dict[str, Any]:
    ends = {
        network["id"]: {
            "name": network["name"],
            "interface": "",
            "mac": "",
            "addresses": [],
            "aliases": [],
        }
        for network, _ in networks
    }
    return {"clients": "proxied", "networks": ends}


def _listen(port: Mapping[str, Any]) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((port["host_ip"], port["host_port"]))
    sock.listen(8)
    return sock


def _carry(listeners: dict[socket.socket, int]) -> None:
    pairs: dict[socket.socket, socket.socket] = {}
    while True:
        for sock in select.select([*listeners, *pairs], [], [])[0]:
            if sock in listeners:
                client = sock.accept()[0]
                try:
                    server = socket.create_connection(("127.0.0.1", listeners[sock]), 5)
                except OSError:
                    client.close()
                    continue
                pairs[client], pairs[server] = server, client
            elif sock in pairs:
                data = sock.recv(65536)
                if data:
                    pairs[sock].sendall(data)
                    continue
                other = pairs.pop(sock)
                pairs.pop(other)
                sock.close()
                other.close()


def sampan_network_backend(context: DriverContext) -> Relay:
    return Relay()


def sampan_probe(context: DriverContext) -> Probe:
    return Probe(True, "needs nothing")
