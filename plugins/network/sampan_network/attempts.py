"""One question to one server, once: over UDP, over TCP, or over the socket in the members' namespace."""

from __future__ import annotations

import os
import select
import socket
from abc import ABC, abstractmethod

from sampan_network.streams import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan_network.answers import Query

    Place = tuple[int, tuple[Any, ...]]  # family, address

LARGEST = 65535  # bytes of a message


def place(server: str, port: int, family: int = 0) -> Place:
    """Raises OSError if it is no address, or none that a socket of that family reaches."""
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    if family == socket.AF_INET6:
        flags |= socket.AI_V4MAPPED
    found = socket.getaddrinfo(server.encode(), port, family, socket.SOCK_DGRAM, 0, flags)
    return found[0][0], found[0][4]


class Attempt(ABC):
    """One server is asked once. key: the descriptor to watch, or the id if the socket is shared."""

    key: int | bytes
    id: bytes
    events = select.POLLIN

    @abstractmethod
    def advance(self) -> bytes | None:
        """What may be the answer; raises OSError if there will be none."""

    @abstractmethod
    def close(self) -> None: ...


class Datagram(Attempt):
    def __init__(self, place: Place, query: Query) -> None:
        self.id = os.urandom(2)
        self._sock = socket.socket(place[0], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.key = self._sock.fileno()
        try:
            self._sock.connect(place[1])
            self._sock.send(query.with_id(self.id))
        except OSError:
            self._sock.close()
            raise

    def advance(self) -> bytes | None:
        try:
            return self._sock.recv(LARGEST)
        except BlockingIOError:
            return None

    def close(self) -> None:
        self._sock.close()


class Connection(Attempt):
    def __init__(self, place: Place, query: Query) -> None:
        self.id = os.urandom(2)
        sock = socket.socket(place[0], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.key = sock.fileno()
        self.events = select.POLLIN | select.POLLOUT
        self._stream = Stream(sock)
        self._stream.put(query.with_id(self.id))
        try:
            sock.connect(place[1])
        except BlockingIOError:
            pass  # it goes on
        except OSError:
            sock.close()
            raise

    def advance(self) -> bytes | None:
        self._stream.flush()
        self._stream.pull()
        self.events = self._stream.events
        answer = self._stream.take()
        if answer is None and self._stream.ended:
            raise ConnectionResetError
        return answer

    def close(self) -> None:
        self._stream.sock.close()


class Shared(Attempt):
    """Over the socket in the members' namespace; what comes is told apart by its id and its sender."""

    def __init__(self, sock: socket.socket, place: Place, query: Query, id: bytes) -> None:
        self.key = self.id = id
        self.sender = place[1][:2]
        sock.sendto(query.with_id(id), socket.MSG_DONTWAIT, place[1])

    def advance(self) -> bytes | None:
        return None

    def close(self) -> None:
        pass
