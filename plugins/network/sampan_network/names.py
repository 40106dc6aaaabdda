"""The name server of the user networks: members ask it for each other, and what it does not know it asks elsewhere.

It has one thread and waits for nothing: the owner polls what `interest` names, and calls `handle` and `tick`.  The
sockets on which it is asked are in the members' network namespace; it tells askers apart by their address, and to
one that no member has it tells nothing.  It answers from the directory at once, with a time to live of 0, and never
passes on a name of a member, of whatever type the question is.
"""

from __future__ import annotations

import errno
import select
import socket
import time

from sampan_network import answers
from sampan_network.answers import Query
from sampan_network.attempts import LARGEST
from sampan_network.streams import Stream
from sampan_network.upstream import BURST, PORT, Upstream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan_network.directory import Directory

IDLE = 10.0  # seconds for which a connection may say nothing
CONNECTIONS, CONNECTIONS_OF_ONE = 64, 16
RECOVERY = 1.0  # seconds until connections are accepted again if there was no descriptor for one
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Conversation:
    """A member's TCP connection. more: whole questions may have come that were not read yet."""

    __slots__ = ("address", "asker", "moment", "more", "open", "stream", "waiting")

    def __init__(self, sock: socket.socket, address: str, asker: str) -> None:
        self.stream = Stream(sock)
        self.address = address
        self.asker = asker
        self.waiting = 0  # questions without an answer
        self.more = False
        self.open = True
        self.touch()

    def touch(self) -> None:
        """Only whole questions and answers count: who sends one byte at a time is idle."""
        self.moment = time.monotonic() + IDLE

    def reply(self, answer: bytes) -> None:
        """It is sent when the connection is next ready: what comes here may be many answers in one go."""
        self.waiting -= 1
        if self.open:
            self.touch()
            self.stream.put(answer)

    @property
    def events(self) -> int:
        return self.stream.events | (select.POLLOUT if self.more else 0)

    @property
    def over(self) -> bool:
        return self.stream.ended and self.stream.sent and not self.waiting and not self.more

    def close(self) -> None:
        self.open = False
        self.stream.sock.close()


class NameServer:
    """It owns the sockets: `close` closes them.  port: where other name servers are asked."""

    def __init__(
        self,
        directory: Directory,
        udp: socket.socket,
        tcp: socket.socket,
        inside: socket.socket | None,
        conf: str = "/etc/resolv.conf",
        port: int = PORT,
    ) -> None:
        self.directory = directory
        self._udp = udp
        self._tcp = tcp
        self._upstream = Upstream(inside, conf, port)
        self._conversations: dict[int, Conversation] = {}
        self._paused = 0.0  # the moment from which connections are accepted again, 0 if they are

    def interest(self) -> dict[int, int]:
        wanted = {self._udp.fileno(): select.POLLIN, **self._upstream.interest()}
        if not self._paused:
            wanted[self._tcp.fileno()] = select.POLLIN
        wanted.update((fd, one.events) for fd, one in self._conversations.items())
        return wanted

    def handle(self, fd: int, events: int) -> None:
        if fd == self._udp.fileno():
            self._receive()
        elif fd == self._tcp.fileno():
            self._accept()
        elif fd in self._conversations:
            self._converse(fd, self._conversations[fd], events)
        else:
            self._upstream.handle(fd)

    def next_moment(self) -> float | None:
        moments = [one.moment for one in self._conversations.values()]
        if self._paused:
            moments.append(self._paused)
        if upstream := self._upstream.next_moment():
            moments.append(upstream)
        return min(moments, default=None)

    def tick(self) -> None:
        self._upstream.tick()
        now = time.monotonic()
        if self._paused <= now:
            self._paused = 0.0
        for fd, one in list(self._conversations.items()):
            if one.moment > now:
                continue
            if one.waiting:
                one.touch()  # it is not the asker who is silent
            else:
                self._end(fd)

    def close(self) -> None:
        for fd in list(self._conversations):
            self._end(fd)
        self._upstream.close()
        self._udp.close()
        self._tcp.close()

    def _answer(
        self, query: Query, address: str, reply: Callable[[bytes], None], *, stream: bool
    ) -> None:
        """`reply` has one answer, now or later."""
        asker = self.directory.asker(address)
        if asker is None:
            reply(answers.failure(query, answers.REFUSED))
            return
        if not query.supported:
            reply(answers.failure(query, answers.NOTIMP))
            return
        limit = LARGEST if stream else answers.SMALL
        answer = answers.local(self.directory, asker, query, limit)
        if answer is not None:
            reply(answer)
        elif not self._upstream.ask(query, asker, reply, stream=stream):
            reply(answers.failure(query, answers.SERVFAIL))

    def _receive(self) -> None:
        for _ in range(BURST):
            try:
                packet, sender = self._udp.recvfrom(LARGEST, socket.MSG_DONTWAIT)
            except OSError:
                return
            query = _read(packet)
            if query:
                self._answer(query, sender[0], self._sending(sender), stream=False)

    def _sending(self, asker: Any) -> Callable[[bytes], None]:
        def send(answer: bytes) -> None:
            try:
                self._udp.sendto(answer, socket.MSG_DONTWAIT, asker)
            except OSError:
                pass  # the asker is gone, or takes no more: it asks again

        return send

    def _accept(self) -> None:
        for _ in range(BURST):
            try:
                sock, sender = self._tcp.accept()
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._paused = time.monotonic() + RECOVERY
                return
            entry = self.directory.asker(sender[0])
            asker = entry.id if entry else ""
            theirs = sum(one.asker == asker for one in self._conversations.values())
            if len(self._conversations) >= CONNECTIONS or theirs >= CONNECTIONS_OF_ONE:
                sock.close()
                continue
            sock.setblocking(False)
            self._conversations[sock.fileno()] = Conversation(sock, sender[0], asker)

    def _converse(self, fd: int, one: Conversation, events: int) -> None:
        try:
            if one.stream.ended and events & (select.POLLERR | select.POLLHUP):
                raise ConnectionResetError
            one.stream.flush()
            one.stream.pull()
            self._take(one)
            one.stream.flush()
        except OSError:
            self._end(fd)
            return
        if one.over:
            self._end(fd)

    def _take(self, one: Conversation) -> None:
        """Some questions are answered; who does not take the answers has no more of them."""
        one.more = True
        for _ in range(BURST):
            if one.stream.full:
                return
            message = one.stream.take()
            if message is None:
                one.more = False
                return
            query = _read(message)
            if query:
                one.waiting += 1
                self._answer(query, one.address, one.reply, stream=True)

    def _end(self, fd: int) -> None:
        self._conversations.pop(fd).close()


def _read(packet: bytes) -> Query | None:
    """None if it is no question, which nobody answers."""
    try:
        return Query(packet)
    except ValueError:
        return None
