"""A container's streams: from its pipes or pty to the log and to any number of attached clients.

A client hands over its own descriptors, and the monitor writes to them directly: nothing relays in between.
Descriptors that can be opened anew get a description of their own, so that making it non-blocking does not
change the client's terminal or pipe; others are written in pieces that poll(2) says will not block.
"""

from __future__ import annotations

import errno
import os
import select
import stat

from sampan.linux import sockets
from sampan.linux.messages import send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine.journal import JournalWriter
    from sampan.engine.logfile import LogWriter

CHUNK = 64 << 10
PIPE_BUF = 4096


class Sink:
    """One output of a client, with the bytes that it has not taken yet."""

    __slots__ = ("_limit", "fd", "pending")

    def __init__(self, fd: int) -> None:
        self.pending = b""
        self.fd, self._limit = fd, CHUNK
        mode = os.fstat(fd).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
                self.fd = os.open(f"/proc/self/fd/{fd}", flags)
                os.close(fd)
            except OSError:  # another user's pipe or terminal
                self._limit = PIPE_BUF
        elif stat.S_ISSOCK(mode):
            self._limit = PIPE_BUF

    def push(self) -> bool:
        """Write what is pending; False if the reader is gone."""
        while self.pending:
            if self._limit == PIPE_BUF and not _writable(self.fd):
                return True
            try:
                written = os.write(self.fd, self.pending[: self._limit])
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                return False
            self.pending = self.pending[written:]
            if self._limit == PIPE_BUF:
                return True  # poll again before the next piece
        return True


def _writable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return bool(poll.poll(0))


class Client:
    """Somebody attached: a socket, sinks for stdout and stderr, and perhaps a source for stdin."""

    def __init__(self, sock: sockets.Socket, fds: list[int], stdin: bool) -> None:
        self.sock = sock
        source, out, err = fds
        self.stdin = source if stdin else -1
        if not stdin:
            os.close(source)
        self.sinks: dict[bytes, Sink] = {b"stdout": Sink(out), b"stderr": Sink(err)}

    def tell(self, message: dict[str, Any]) -> None:
        """Send a message; somebody who is gone does not hear it."""
        send(self.sock, message)

    def close(self) -> None:
        self.sock.close()
        for sink in self.sinks.values():
            os.close(sink.fd)
        self.sinks = {}
        self.close_stdin()

    def close_stdin(self) -> None:
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def pending(self) -> bool:
        return any(sink.pending for sink in self.sinks.values())


class Streams:
    """The pumps.  `sources` are (descriptor, name); `stdin` is where the container reads from, or -1."""

    def __init__(
        self, sources: dict[int, bytes], stdin: int, log: LogWriter | JournalWriter, *, tty: bool
    ) -> None:
        self.sources, self.stdin, self.log, self.tty = sources, stdin, log, tty
        self.clients: list[Client] = []
        self._input = b""
        if stdin >= 0 and not tty:
            os.set_blocking(stdin, False)
        for fd in sources:
            os.set_blocking(fd, False)

    def interest(self) -> dict[int, int]:
        """What is worth waking for: {descriptor: poll events}."""
        wanted: dict[int, int] = {}
        if not any(
            client.pending() for client in self.clients
        ):  # a slow client slows the container
            wanted = dict.fromkeys(self.sources, select.POLLIN)
        if self._input:
            wanted[self.stdin] = wanted.get(self.stdin, 0) | select.POLLOUT
        for client in self.clients:
            if client.stdin >= 0 and not self._input:
                wanted[client.stdin] = select.POLLIN
            for sink in client.sinks.values():
                if sink.pending:
                    wanted[sink.fd] = select.POLLOUT
        return wanted

    def handle(self, fd: int, events: int) -> bool:
        """Move what can be moved at a descriptor that is ready; False if it is not one of ours."""
        if fd == self.stdin and self._input and events & (select.POLLOUT | select.POLLERR):
            self._push_input()
        if fd in self.sources:
            if events & ~select.POLLOUT:
                self._output(fd)
            return True
        if fd == self.stdin:
            return True
        for client in self.clients:
            if fd == client.stdin:
                self._take_input(client)
                return True
            for name, sink in list(client.sinks.items()):
                if sink.fd == fd:
                    if not sink.push():
                        self._drop_sink(client, name)
                    return True
        return False

    def _output(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # the pty's other end is closed
                raise
            data = b""
        name = self.sources[fd]
        if not data:
            del self.sources[fd]
            if fd != self.stdin:
                os.close(fd)
            return
        self.log.write(name, data)
        for client in self.clients:
            sink = client.sinks.get(name)
            if sink is not None:
                sink.pending += data
                if not sink.push():
                    self._drop_sink(client, name)

    def _drop_sink(self, client: Client, name: bytes) -> None:
        sink = client.sinks.pop(name)
        os.close(sink.fd)
        client.tell({"kind": "broken"})

    def _take_input(self, client: Client) -> None:
        try:
            data = os.read(client.stdin, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if self.stdin < 0:
            client.close_stdin()
        elif data:
            self._input = data
            self._push_input()
        else:
            client.close_stdin()
            if not self.tty:
                self.close_input()

    def _push_input(self) -> None:
        while self._input:
            try:
                written = os.write(self.stdin, self._input[:PIPE_BUF] if self.tty else self._input)
            except BlockingIOError:
                return
            except OSError:  # the container closed its end
                self._input = b""
                self.close_input()
                return
            self._input = self._input[written:]

    def close_input(self) -> None:
        """The container reads end of file."""
        if self.stdin >= 0 and not self.tty:
            os.close(self.stdin)
            self.stdin = -1
            for client in self.clients:
                client.close_stdin()

    def close(self) -> None:
        """Let go of the container's ends."""
        for fd in {*self.sources, self.stdin} - {-1}:
            os.close(fd)
        self.sources, self.stdin = {}, -1

    def drain(self, seconds: float) -> None:
        """After the end of the container: move what is left, until all is read or the time is over."""
        import time

        deadline = time.monotonic() + seconds
        while self.sources or any(client.pending() for client in self.clients):
            poll = select.poll()
            for fd, events in self.interest().items():
                poll.register(fd, events)
            ready = poll.poll(max(0, int((deadline - time.monotonic()) * 1000)))
            if not ready and time.monotonic() >= deadline:
                return
            for fd, events in ready:
                self.handle(fd, events)
