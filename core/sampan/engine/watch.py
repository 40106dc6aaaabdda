"""The monitor's ear: it waits for the end of the container's first process, and serves whoever talks to it meanwhile.

Any number of commands may be connected through the socket `attach` in the container's run directory (0700): they
attach, send signals and sizes, ask for a descriptor of the root, or for a health check.
"""

from __future__ import annotations

import os
import select
import time

from sampan.engine.streams import Client
from sampan.linux import paths, processes, sockets
from sampan.linux.messages import receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.engine.connected import Link
    from sampan.engine.health import Health
    from sampan.engine.ownership import Owners
    from sampan.engine.streams import Streams
    from sampan.linux.fuse import Server
    from sampan.model.contract import Process


class Turn:
    """One run of the first process: what must be watched and answered while it lasts."""

    __slots__ = (
        "deadlines",
        "error",
        "health",
        "late",
        "link",
        "master",
        "owners",
        "pidfd",
        "process",
        "streams",
    )

    def __init__(self, process: Process, streams: Streams, master: int) -> None:
        """master: the terminal's, or -1."""
        self.process, self.streams, self.master = process, streams, master
        self.pidfd = process.pidfd if process.pidfd >= 0 else os.pidfd_open(process.pid)
        self.health: Health | None = None
        self.link: Link | None = None  # of a network that may break
        self.owners: Owners | None = None  # of a container that pretends ids
        self.deadlines: dict[str, float] = {}  # "timeout", "stop": when it is killed, and why
        self.late = False  # killed by --timeout
        self.error = ""

    def signal(self, number: int) -> None:
        processes.send_signal(self.pidfd, number)

    def close(self) -> None:
        if self.health is not None:
            self.health.close()
        if self.link is not None:
            self.link.close()
        if self.pidfd != self.process.pidfd:
            os.close(self.pidfd)


class Watch:
    """What lives as long as the monitor: the connections, and the servers of the root."""

    def __init__(self, sock: sockets.Socket, bundle_fd: int, servers: Sequence[Server]) -> None:
        """sock: the connection of the command that started the container."""
        self._control = {sock.fileno(): sock}
        self._bundle_fd = bundle_fd
        self._listener = sockets.listen(bundle_fd, "attach")
        self._servers = {server.pidfd: server for server in servers}
        self._leash: sockets.Socket | None = None  # whose end is the container's, too
        self.deserted = False
        self._waiting: list[sockets.Socket] = []
        self.asked_to_stop = False

    def until_end(self, turn: Turn) -> int:
        """Pump until the first process ends; returns its exit code (128+n if a signal ended it)."""
        while True:
            for fd, events in self._poll(turn).poll(_milliseconds(turn)):
                if fd == turn.pidfd:
                    return processes.exit_code(turn.process.pid)
                if fd == self._listener.fileno():
                    self._accept()
                elif fd in self._control:
                    self._command(fd, turn)
                elif turn.owners is not None and fd == turn.owners.listener:
                    if events & select.POLLIN:
                        turn.owners.handle()
                elif fd in self._servers:
                    server = self._servers.pop(fd)
                    turn.signal(9)  # there is nothing left to read or write
                    turn.error = f"{server.name} ended: {server.complaint() or 'nobody knows why'}"
                elif turn.link is not None and fd in turn.link.interest():
                    turn.link.handle(turn, fd)
                elif turn.health is None or not turn.health.handle(fd):
                    turn.streams.handle(fd, events)
            _keep_time(turn)

    def _poll(self, turn: Turn) -> select.poll:
        poll = select.poll()
        for fd in (turn.pidfd, self._listener.fileno(), *self._control, *self._servers):
            poll.register(fd, select.POLLIN)
        for fd, events in turn.streams.interest().items():
            poll.register(fd, events)
        if turn.owners is not None:
            poll.register(turn.owners.listener, select.POLLIN)
        for fd in turn.link.interest() if turn.link is not None else ():
            poll.register(fd, select.POLLIN)
        if turn.health is not None:
            for fd in turn.health.interest():
                poll.register(fd, select.POLLIN)
        return poll

    def tell(self, turn: Turn, code: int, *, again: bool = False) -> None:
        """Tell the end of a run to those who are attached, and to those who wait."""
        message = {"kind": "exit", "code": code, "again": again}
        for sock in [*(client.sock for client in turn.streams.clients), *self._waiting]:
            send(sock, message)

    def rest(self, seconds: float) -> bool:
        """Wait before the next turn; False as soon as somebody asks to stop."""
        until = time.monotonic() + seconds
        while not self.asked_to_stop:
            poll = select.poll()
            for fd in (self._listener.fileno(), *self._control):
                poll.register(fd, select.POLLIN)
            left = until - time.monotonic()
            if left <= 0:
                return True
            for fd, _ in poll.poll(int(left * 1000) + 1):
                if fd == self._listener.fileno():
                    self._accept()
                else:
                    self._command(fd, None)
        return False

    def _accept(self) -> None:
        sock = sockets.accept(self._listener)
        self._control[sock.fileno()] = sock

    def _command(self, fd: int, turn: Turn | None) -> None:
        """A message of a command; without a turn there is nothing to attach to."""
        sock = self._control[fd]
        message, fds = receive(sock, 3)
        if message is None:
            self.forget(sock, turn)
            return
        kind = message["kind"]
        if kind == "root":
            root = os.open("rootfs", paths.O_PATH | os.O_DIRECTORY, dir_fd=self._bundle_fd)
            send(sock, {"kind": "root"}, [root])
            os.close(root)
        elif kind == "stop":
            self.asked_to_stop = True
        elif kind == "wait":
            self._waiting.append(sock)
        elif turn is None:
            for received in fds:
                os.close(received)
            self.forget(sock, None)
        elif kind == "signal":
            turn.signal(message["number"])
        elif kind == "resize" and turn.master >= 0:
            from sampan.engine import terminal

            terminal.set_size(turn.master, message["rows"], message["columns"])
        elif kind == "attach":
            stdin = message["stdin"] and turn.streams.stdin >= 0
            turn.streams.clients.append(Client(sock, fds, stdin))
        elif kind == "networks" and turn.link is not None:
            turn.link.change(sock)
        elif kind == "healthcheck":
            if turn.health is None:
                send(sock, {"kind": "health", "code": -1, "status": ""})
            else:
                turn.health.ask(sock)

    def hold(self) -> None:
        """From now on the container ends with the command that started it."""
        (self._leash,) = self._control.values()

    def forget(self, sock: sockets.Socket, turn: Turn | None) -> None:
        """A command has left, or has nothing to hope for."""
        if sock is self._leash and turn is not None:
            self.deserted = True
            turn.signal(9)
        del self._control[sock.fileno()]
        if sock in self._waiting:
            self._waiting.remove(sock)
        for client in [c for c in turn.streams.clients if c.sock is sock] if turn else ():
            turn.streams.clients.remove(client)  # type: ignore[union-attr]
            client.close()
            return
        sock.close()


def _moments(turn: Turn) -> list[float]:
    moments = list(turn.deadlines.values())
    if turn.health is not None:
        moments.append(turn.health.next_moment())
    return moments


def _milliseconds(turn: Turn) -> int | None:
    moments = _moments(turn)
    if not moments:
        return None
    return max(0, int((min(moments) - time.monotonic()) * 1000) + 1)


def _keep_time(turn: Turn) -> None:
    if turn.health is not None:
        turn.health.tick()
    now = time.monotonic()
    for why in [why for why, moment in turn.deadlines.items() if now >= moment]:
        del turn.deadlines[why]
        turn.late = turn.late or why == "timeout"
        turn.signal(9)
