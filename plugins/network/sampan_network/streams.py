"""Messages of DNS over TCP: each has its length in front (RFC 1035, 4.2.2).  Nothing here waits."""

from __future__ import annotations

import select
from _socket import MSG_NOSIGNAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

CHUNK = 64 << 10
LENGTH = 2  # bytes of it


class Stream:
    """One connection: what has come and what is to go."""

    __slots__ = ("_came", "_going", "ended", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.ended = False  # the other side says no more
        self._came = bytearray()
        self._going = bytearray()

    @property
    def full(self) -> bool:
        """The other side does not take what it has asked for."""
        return len(self._going) > CHUNK

    @property
    def sent(self) -> bool:
        return not self._going

    @property
    def events(self) -> int:
        reading = 0 if self.ended or len(self._came) > CHUNK else select.POLLIN
        return reading | (select.POLLOUT if self._going else 0)

    def put(self, message: bytes) -> None:
        self._going += len(message).to_bytes(LENGTH, "big") + message

    def flush(self) -> None:
        """Raises OSError if the connection is lost."""
        try:
            while self._going:
                del self._going[: self.sock.send(self._going, MSG_NOSIGNAL)]
        except BlockingIOError:
            pass

    def pull(self) -> None:
        """Raises OSError if the connection is lost."""
        if self.ended or len(self._came) > CHUNK:
            return
        try:
            came = self.sock.recv(CHUNK)
        except BlockingIOError:
            return
        self.ended = not came
        self._came += came

    def take(self) -> bytes | None:
        """The next message that is whole."""
        end = LENGTH + int.from_bytes(self._came[:LENGTH], "big")
        if len(self._came) < LENGTH or len(self._came) < end:
            return None
        message = bytes(self._came[LENGTH:end])
        del self._came[:end]
        return message
