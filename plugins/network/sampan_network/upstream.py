"""Names of elsewhere: the question is passed on as it came, to the host's name servers or to the asker's own.

Each question has a socket and an id of its own, so that who wants to forge an answer must guess both, and connected
so that nobody but the server is heard.  Those sockets are in the host's network namespace: what the host asks can be
asked, also a stub on its loopback interface.  An asker's own servers may be containers; they are asked over the one
socket that is in the members' namespace.  There are limits to what is pending, in all and for one asker: a container
that asks without end starves itself.
"""

from __future__ import annotations

import os
import select
import socket
import time

from sampan_network import answers
from sampan_network.attempts import LARGEST, Connection, Datagram, Shared, place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan_network.answers import Query
    from sampan_network.attempts import Attempt
    from sampan_network.directory import Entry

PORT = 53
PATIENCE = 2.0  # seconds that a server may take
ROUNDS = 2
SERVERS = 3  # that are asked, as glibc does (MAXNS)
PENDING, PENDING_OF_ONE = 512, 64
BURST = 32  # packets that are read before others have their turn
CHECK = 1.0  # seconds for which the configuration is taken to be as it was
CONFIGURATION = 64 << 10  # bytes of it that are read
LOCAL = "127.0.0.1"  # who is asked if none is named (resolv.conf(5))
FAILURES = (answers.SERVFAIL, answers.NOTIMP, answers.REFUSED)  # another server may know


class Configuration:
    """The servers of a resolv.conf, which may be changed, replaced, removed, or a link that turns elsewhere."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: tuple[int, ...] = ()
        self._checked = float("-inf")
        self._servers = [LOCAL]

    def servers(self) -> list[str]:
        now = time.monotonic()
        if now - self._checked >= CHECK:
            self._checked = now
            self._look()
        return self._servers

    def _look(self) -> None:
        try:
            status = os.stat(self._path)
            seen = (status.st_mtime_ns, status.st_dev, status.st_ino, status.st_size)
            if seen == self._seen:
                return
            with open(self._path, "rb") as file:
                text = file.read(CONFIGURATION)
        except OSError:
            self._seen, self._servers = (), [LOCAL]
            return
        self._seen, self._servers = seen, _named(text)[:SERVERS] or [LOCAL]


def _named(text: bytes) -> list[str]:
    words = [line.split() for line in text.decode(errors="replace").splitlines()]
    return [row[1] for row in words if len(row) > 1 and row[0] == "nameserver"]


class Pending:
    """A question until it is answered. left: the servers that are still to be asked, the present one out."""

    __slots__ = (
        "asker",
        "attempt",
        "failed",
        "left",
        "moment",
        "query",
        "reply",
        "server",
        "stream",
    )

    def __init__(
        self, query: Query, asker: Entry, reply: Callable[[bytes], None], stream: bool
    ) -> None:
        self.query = query
        self.asker = asker
        self.reply = reply
        self.stream = stream
        self.left: list[str] = []
        self.server = ""
        self.attempt: Attempt | None = None
        self.moment = 0.0
        self.failed: bytes | None = None  # the last answer that says that a server cannot tell


class Upstream:
    def __init__(self, inside: socket.socket | None, conf: str, port: int = PORT) -> None:
        self._inside = inside
        self._configuration = Configuration(conf)
        self._port = port
        self._pending: dict[int | bytes, Pending] = {}
        self._asking: dict[str, int] = {}  # id of an asker: how many of them are his

    def ask(
        self, query: Query, asker: Entry, reply: Callable[[bytes], None], *, stream: bool
    ) -> bool:
        """`reply` has the answer once, maybe at once.  False if too much is pending: it is not called then."""
        mine = self._asking.get(asker.id, 0)
        if len(self._pending) >= PENDING or mine >= PENDING_OF_ONE:
            return False
        self._asking[asker.id] = mine + 1
        pending = Pending(query, asker, reply, stream)
        pending.left = (asker.servers[:SERVERS] or self._configuration.servers()) * ROUNDS
        self._next(pending)
        return True

    def _next(self, pending: Pending) -> None:
        """The next server is asked; the answer of the last one is better than none."""
        self._leave(pending)
        while pending.left:
            pending.server = pending.left.pop(0)
            try:
                attempt = self._attempt(pending)
            except OSError:
                continue
            pending.attempt = attempt
            pending.moment = time.monotonic() + PATIENCE
            self._pending[attempt.key] = pending
            return
        self._finish(pending, pending.failed or answers.failure(pending.query, answers.SERVFAIL))

    def _attempt(self, pending: Pending) -> Attempt:
        query, inside = pending.query, self._inside
        if pending.asker.servers and inside:
            id = os.urandom(2)
            while id in self._pending:
                id = os.urandom(2)
            return Shared(inside, place(pending.server, self._port, inside.family), query, id)
        there = place(pending.server, self._port)
        return Connection(there, query) if pending.stream else Datagram(there, query)

    def _leave(self, pending: Pending) -> None:
        if pending.attempt:
            del self._pending[pending.attempt.key]
            pending.attempt.close()
            pending.attempt = None

    def _finish(self, pending: Pending, answer: bytes) -> None:
        self._leave(pending)
        asker = pending.asker.id
        self._asking[asker] -= 1
        if not self._asking[asker]:
            del self._asking[asker]
        pending.reply(answer)

    def _weigh(self, pending: Pending, attempt: Attempt, answer: bytes) -> None:
        """What is no answer to the question is not heard; a server that cannot tell is not asked again."""
        query = pending.query
        if answer[:2] != attempt.id or not query.answered_by(answer):
            return
        answer_asked = query.restored(answer)
        if answers.rcode(answer) not in FAILURES:
            self._finish(pending, answer_asked)
            return
        pending.failed = answer_asked
        pending.left = [server for server in pending.left if server != pending.server]
        self._next(pending)

    def interest(self) -> dict[int, int]:
        wanted = {
            key: pending.attempt.events
            for key, pending in self._pending.items()
            if isinstance(key, int) and pending.attempt
        }
        if self._inside:
            wanted[self._inside.fileno()] = select.POLLIN
        return wanted

    def handle(self, fd: int) -> None:
        """A descriptor that is watched no more is none of ours: events may be of before."""
        if self._inside and fd == self._inside.fileno():
            self._receive(self._inside)
            return
        pending = self._pending.get(fd)
        if not pending or not pending.attempt:
            return
        try:
            answer = pending.attempt.advance()
        except OSError:
            self._next(pending)
            return
        if answer is not None:
            self._weigh(pending, pending.attempt, answer)

    def _receive(self, inside: socket.socket) -> None:
        for _ in range(BURST):
            try:
                answer, sender = inside.recvfrom(LARGEST, socket.MSG_DONTWAIT)
            except OSError:
                return
            pending = self._pending.get(answer[:2])
            attempt = pending.attempt if pending else None
            if pending and isinstance(attempt, Shared) and attempt.sender == sender[:2]:
                self._weigh(pending, attempt, answer)

    def next_moment(self) -> float | None:
        return min((pending.moment for pending in self._pending.values()), default=None)

    def tick(self) -> None:
        now = time.monotonic()
        for pending in [one for one in self._pending.values() if one.moment <= now]:
            self._next(pending)

    def close(self) -> None:
        for pending in list(self._pending.values()):
            self._leave(pending)
        self._asking.clear()
        if self._inside:
            self._inside.close()
