"""UDP at this machine's loopback interface, for ports of slirp4netns.

It has datagrams that come from there answered to its gateway's address, which `--disable-host-loopback` closes.  So
a process between takes them: it listens at 127.0.0.1 itself (of two sockets at a port the kernel chooses the one with
the nearer address), and has in the other network namespace a socket for each who asks, at which the answers arrive.
It holds sockets and a namespace, and no capability.  Who is served sees the namespace's own address (udp(7), ip(7)).
"""

from __future__ import annotations

import _socket
import os
import select
import time

from sampan.errors import InUseError
from sampan.linux import capabilities, libc, processes, signals
from sampan.model.ports import EVERY, inside, outside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

LOOPBACK = "127.0.0.1"
LARGEST = 65535  # bytes of a datagram
IDLE = 120.0  # seconds after which who is silent is forgotten, as by the kernel (nf_conntrack_udp_timeout_stream)
CLIENTS = 900  # of all ports; then those are forgotten who have been silent the longest
AT_ONCE = 64  # datagrams of one socket, before others have their turn

Place = tuple[str, int]


class Datagrams:
    """The running process: `pidfd` can be read when it ends."""

    def __init__(self, ports: Sequence[tuple[Mapping[str, Any], Place]], namespace: int) -> None:
        """Each port with the place in the network namespace to which it leads."""
        listeners = [(_listener(port), place) for port, place in ports]
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _main(listeners, namespace, parent)
        for sock, _ in listeners:
            sock.close()
        self.pidfd = os.pidfd_open(self._pid)

    def end(self) -> None:
        processes.send_signal(self.pidfd, signals.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self.pidfd)


def _listener(port: Mapping[str, Any]) -> _socket.socket:
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
    address = LOOPBACK if port["host_ip"] == EVERY[4] else port["host_ip"]
    try:
        # beside the helper's own socket, which is there already
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.bind((address, port["host_port"]))
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 0)  # nobody else beside it
    except OSError as error:
        sock.close()
        raise InUseError(
            f"cannot publish {outside(port)}->{inside(port)}",
            f"{address}: {error.strerror}",
            "another program may have taken the port just now: start the container again",
        ) from None
    return sock


def _main(listeners: list[tuple[_socket.socket, Place]], namespace: int, parent: int) -> NoReturn:
    """In the child."""
    try:
        processes.die_with_parent()
        if os.getppid() != parent:
            os._exit(0)  # too late
        signals.reset_all()
        libc.set_name("sampan-udp")
        libc.setns(namespace, libc.CLONE_NEWNET)
        processes.detach({sock.fileno() for sock, _ in listeners})
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        capabilities.set_sets(0, 0, 0)
        Exchange(listeners).serve()
    finally:
        os._exit(1)


class Exchange:
    """Who has asked at which port, and the socket at which answers for him arrive. It ends when it is killed."""

    def __init__(self, listeners: list[tuple[_socket.socket, Place]]) -> None:
        self._ports = {sock.fileno(): (sock, place) for sock, place in listeners}
        self._clients: dict[tuple[int, Place], _Client] = {}  # the longest silent one is the first
        self._answers: dict[int, _Client] = {}
        self._epoll = select.epoll()
        for fd in self._ports:
            self._epoll.register(fd, select.EPOLLIN)

    def serve(self) -> NoReturn:
        while True:
            for fd, _ in self._epoll.poll(IDLE if self._clients else None):
                if fd in self._ports:
                    self._asked(fd)
                elif fd in self._answers:
                    self._answered(self._answers[fd])
            self._forget()

    def _asked(self, fd: int) -> None:
        sock, place = self._ports[fd]
        for _ in range(AT_ONCE):
            try:
                data, sender = sock.recvfrom(LARGEST)
            except OSError:  # there are no more of them
                return
            client = self._client(fd, sender, place)
            if client is not None:
                _send(client.sock, data)

    def _client(self, fd: int, sender: Place, place: Place) -> _Client | None:
        client = self._clients.get((fd, sender))
        if client is None:
            try:
                client = _Client(fd, sender, place)
            except (
                OSError
            ):  # no more descriptors, or no way: the datagram is lost, as datagrams may be
                return None
            self._epoll.register(client.sock.fileno(), select.EPOLLIN)
            self._answers[client.sock.fileno()] = client
        self._heard(client)
        return client

    def _heard(self, client: _Client) -> None:
        """It goes to the end of the row."""
        client.last = time.monotonic()
        self._clients.pop((client.port, client.sender), None)
        self._clients[client.port, client.sender] = client

    def _answered(self, client: _Client) -> None:
        sock, _ = self._ports[client.port]
        self._heard(client)
        for _ in range(AT_ONCE):
            try:
                data = client.sock.recv(LARGEST)
                sock.sendto(data, client.sender)
            except ConnectionRefusedError:  # nobody listens there: who asks will wait in vain
                continue
            except OSError:
                return

    def _forget(self) -> None:
        oldest = time.monotonic() - IDLE
        for key, client in list(self._clients.items()):
            if client.last > oldest and len(self._clients) <= CLIENTS:
                return
            del self._clients[key], self._answers[client.sock.fileno()]
            client.sock.close()


class _Client:
    def __init__(self, port: int, sender: Place, place: Place) -> None:
        self.port, self.sender, self.last = port, sender, 0.0
        self.sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK)
        try:
            self.sock.connect(place)
        except OSError:
            self.sock.close()
            raise


def _send(sock: _socket.socket, data: bytes) -> None:
    try:
        sock.send(data)
    except OSError:  # nobody listened there a moment ago: now somebody may
        try:
            sock.send(data)
        except OSError:
            return
