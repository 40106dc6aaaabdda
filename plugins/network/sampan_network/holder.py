"""The holder: one process of the user's while a container is on a bridge network.

It owns a user namespace with the user's full map, in which the members' own ones are nested, a network namespace with
the bridges, the uplink, and the names.  It stays in the host's network namespace itself, so what it asks or starts
there sees what the host sees; changes in the others are made by children (links.Apart), one at a time.

A connection to its socket is a lease: as long as one is open it lives, and a member whose connection ends is gone from
every network.  If it is killed, the kernel takes back the namespace, the bridges, the uplink and the published ports.
"""

from __future__ import annotations

import contextlib
import os
import select
import time

from sampan import files
from sampan.errors import InUseError, SampanError, to_report
from sampan.linux import libc, messages, processes, sockets, userns
from sampan_network import held, inner, links, uplinks
from sampan_network.directory import Connection, Directory, Entry
from sampan_network.members import Books, Member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

    from sampan.linux.userns import IdMap

LINGER = 1.0  # seconds that it waits for another member
FAREWELL = 2.0  # seconds in which it tells why it cannot go on
RESTARTS = 10  # how often an uplink that ends is started again


def main(
    listener: sockets.Socket, directory: str, idmap: IdMap, home: int, options: Mapping[str, Any]
) -> NoReturn:
    """In a new process. home: the user namespace of a holder that was killed, to be used again; -1 without one."""
    try:
        processes.detach({listener.fileno(), home} - {-1})
        libc.set_name("sampan-network")
        holder = Holder(listener, files.open_directory(directory), options)
    except BaseException:
        os._exit(1)
    try:
        if home >= 0:
            userns.enter_existing(home)
            os.close(home)
        else:
            userns.enter(idmap)
        libc.prctl(libc.PR_SET_DUMPABLE, 0)
        holder.serve()
    except BaseException as error:
        holder.despair(error)
        os._exit(1)
    os._exit(0)


class Holder:
    """What it owns, and who is connected."""

    def __init__(
        self, listener: sockets.Socket, directory: int, options: Mapping[str, Any]
    ) -> None:
        self._listener, self._directory, self._options = listener, directory, options
        self._clients: dict[int, sockets.Socket] = {}
        self._members: dict[int, Member] = {}  # by connection
        self._inner = -1  # the network namespace
        self._restarts = 0
        self._leaving: links.Apart | None = (
            None  # what is being taken away, while nobody waits for it
        )

    def serve(self) -> None:
        files.write_atomic(self._directory, held.PID, f"{os.getpid()}\n".encode(), sync=False)
        self._home = os.open("/proc/self/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        waiting = self._serve_early()
        self._begin()
        for fd, message, fds in waiting:
            self._respond(fd, message, fds)
        idle = time.monotonic()
        while True:
            for fd, events in self._poll().poll(self._patience(idle)):
                self._handle(fd, events)
            self.names.tick()
            if self._clients:
                idle = time.monotonic()
            elif time.monotonic() - idle >= LINGER and self._leave():
                return

    def _serve_early(self) -> list[tuple[int, dict[str, Any], list[int]]]:
        """Who starts a container needs the user namespace now, and the rest when its own are made.

        Returns what else is asked already, by members that a holder before this one has left.
        """
        waiting: list[tuple[int, dict[str, Any], list[int]]] = []
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while poll.poll(0):
            self._accept()
        for fd in list(self._clients):
            ready = select.poll()
            ready.register(fd, select.POLLIN)
            if not ready.poll(0):
                continue
            message, fds = _received(self._clients[fd])
            if message is None:
                self._end(fd)
            elif message.get("kind") == "home":
                self._respond(fd, message, fds)
            else:
                waiting.append((fd, message, fds))
        return waiting

    def _begin(self) -> None:
        """The namespace and the uplink, and what making links needs."""
        self._inner, udp, tcp, inside = inner.make()
        self.uplink = uplinks.start(self._inner, self._directory, self._options)
        self.books = Books(held.reserved(self._directory))
        from sampan_network.names import NameServer

        self.names = NameServer(Directory(), udp, tcp, inside)
        __import__("pyroute2.iproute.linux")  # once, for all the children

    def _poll(self) -> select.poll:
        poll = select.poll()
        leaving = [self._leaving.errors] if self._leaving else []
        for fd in (self._listener.fileno(), *self._clients, *self.uplink.watched(), *leaving):
            poll.register(fd, select.POLLIN)
        for fd, events in self.names.interest().items():
            poll.register(fd, events)
        return poll

    def _patience(self, idle: float) -> int | None:
        moments = [self.names.next_moment()]
        if not self._clients:
            moments.append(idle + LINGER)
        left = [moment - time.monotonic() for moment in moments if moment is not None]
        return max(0, int(min(left) * 1000) + 1) if left else None

    def _handle(self, fd: int, events: int) -> None:
        if fd == self._listener.fileno():
            self._accept()
        elif fd in self._clients:
            self._request(fd)
        elif fd in self.uplink.watched():
            self._mend()
        elif self._leaving and fd == self._leaving.errors:
            self._settle()
        else:
            self.names.handle(fd, events)

    def _accept(self) -> None:
        sock = sockets.accept(self._listener)
        self._clients[sock.fileno()] = sock

    def _request(self, fd: int) -> None:
        message, fds = _received(self._clients[fd])
        if message is None:
            self._end(fd)
        else:
            self._respond(fd, message, fds)

    def _respond(self, fd: int, message: dict[str, Any], fds: list[int]) -> None:
        sock = self._clients[fd]
        answer: dict[str, Any] | None
        try:
            answer = self._answer(fd, message, fds)
        except (SampanError, OSError, LookupError, ValueError, TypeError) as error:
            report = to_report(error, "cannot connect the container with its network")
            answer = {"kind": "error", "error": report}
        home = [self._home] if message.get("kind") == "home" else []
        if answer is not None:
            messages.send(sock, {**answer, "number": message.get("number", 0)}, home)

    def _answer(self, fd: int, message: dict[str, Any], fds: list[int]) -> dict[str, Any] | None:
        kind = message["kind"]
        if kind == "home":
            return {"kind": "home"}
        if kind == "attach":
            return self._attach(fd, message, fds[0])
        if kind == "change":
            member = self._members[fd]
            self._arrange(member, message["networks"])
            return self._told(member)
        if kind == "detach":
            self._close_ports(fd)
            told = {"kind": "detached", "number": message["number"]}
            messages.send(self._clients[fd], told)
            self._drop(fd)
            return None
        if kind == "leave":
            self._drop(fd)
            return None
        raise SampanError("the network's holder", f"it does not know what {kind!r} is")

    def _attach(self, fd: int, told: dict[str, Any], namespace: int) -> dict[str, Any]:
        member = self._members[fd] = Member(self._clients[fd], namespace, told)
        try:
            self.books.enter_ports([*self._members.values()], member)
            self._arrange(member, told["networks"], renewed=told["renewed"])
            self.uplink.open(member.ports)
        except BaseException:
            self._drop(fd)
            raise
        return self._told(member)

    def _arrange(self, member: Member, networks: list[list[Any]], *, renewed: bool = False) -> None:
        """Give the member exactly these ends: [network, end]. If that fails it has what it had, but for what goes."""
        change, before = links.Change(), member.main()
        change.renewed = renewed
        wanted = {record["id"]: (record, end) for record, end in networks}
        added = [network for network in wanted if network not in member.plugs]
        for network in [known for known in member.plugs if known not in wanted]:
            self.books.plan_leave(member, network, change)
        try:
            for network in added:
                self.books.plan_join(member, *wanted[network], change)
            change.rules += member.retarget()
            if member.main() is not before:
                change.main = member.main()
            self._carry_out(change, member.namespace)
        except BaseException:
            self._leave_networks(member, [name for name in added if name in member.plugs])
            raise
        self._note(member)

    def _leave_networks(self, member: Member, networks: list[str]) -> None:
        change = links.Change()
        change.lenient = True
        for network in networks:
            self.books.plan_leave(member, network, change)
        change.rules += member.retarget()
        self._settle()
        self._leaving = links.Apart(lambda: links.carry_out(change, self._inner, -1))

    def _carry_out(self, change: links.Change, namespace: int) -> None:
        self._settle()
        links.Apart(lambda: links.carry_out(change, self._inner, namespace)).wait()

    def _settle(self) -> None:
        """What was to be taken away is gone; what is left of it is in nobody's way."""
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            with contextlib.suppress(SampanError):
                leaving.wait()

    def _close_ports(self, fd: int) -> None:
        """Somebody may want them at once."""
        if fd in self._members:
            self.uplink.close(self._members[fd].ports)

    def _drop(self, fd: int) -> None:
        """A member has left."""
        member = self._members.pop(fd, None)
        if member is None:
            return
        self.uplink.close(member.ports)
        self._leave_networks(member, list(member.plugs))
        self.names.directory.drop(member.id)
        os.close(member.namespace)
        files.unlink(self._directory, f"{held.MEMBERS}/{member.id}")

    def _end(self, fd: int) -> None:
        self._drop(fd)
        self._clients.pop(fd).close()

    def _note(self, member: Member) -> None:
        """Write down what a holder after this one must know, and tell the names."""
        connections = {
            network: Connection(
                self.books.nets[network].record["name"],
                (member.name, *member.ends[network]["aliases"]),
                tuple(address for address, _, _ in plug.addresses),
                self.books.nets[network].record["named"],
            )
            for network, plug in member.plugs.items()
        }
        self.names.directory.set(Entry(member.id, connections, member.servers))
        addresses = {network: [*c.addresses] for network, c in connections.items()}
        held.note(self._directory, member.id, member.pid, addresses)

    def _told(self, member: Member) -> dict[str, Any]:
        """The attachment, but for what the member knows itself."""
        networks = {
            network: {
                "name": self.books.nets[network].record["name"],
                "interface": plug.interface,
                "mac": plug.mac,
                "addresses": [list(row) for row in plug.addresses],
                "aliases": member.ends[network]["aliases"],
            }
            for network, plug in member.plugs.items()
        }
        main = next((k for k, plug in member.plugs.items() if plug is member.main()), "")
        return {"kind": "attached", "networks": networks, "main": main, "restarts": self._restarts}

    def _mend(self) -> None:
        """The uplink has ended: it is started again with all ports, and the members are told."""
        self._restarts += 1
        try:
            if self._restarts > RESTARTS:
                self._restarts -= 1
                raise SampanError(
                    "the bridge networks have no way out",
                    f"{self.uplink.program} ended {RESTARTS + 1} times: {self.uplink.end()}",
                    "restart their containers",
                )
            self.uplink.mend([member.ports for member in self._members.values()])
            message: dict[str, Any] = {"kind": "restarted", "restarts": self._restarts}
        except SampanError as error:
            message = {"kind": "broken", "error": to_report(error, "")}
        for member in self._members.values():
            messages.send(member.sock, message)

    def _leave(self) -> bool:
        """Nobody is left; who connects just now is served."""
        try:
            with held.locked(self._directory, LINGER):
                poll = select.poll()
                poll.register(self._listener, select.POLLIN)
                if poll.poll(0):
                    return False
                files.unlink(self._directory, held.SOCKET)
                files.unlink(self._directory, held.PID)
                self.uplink.end()
                return True
        except InUseError:  # by somebody who will connect
            return False

    def despair(self, error: BaseException) -> None:
        """It could not begin, or it is broken: who waits for it, or is on the way to, is told."""
        report = to_report(error, "the process that holds the bridge networks failed")
        until = time.monotonic() + FAREWELL
        while (left := until - time.monotonic()) > 0:
            for sock in self._clients.values():
                messages.send(sock, {"kind": "error", "error": report})
                sock.close()
            self._clients.clear()
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            if poll.poll(int(left * 1000)):
                self._accept()
        files.unlink(self._directory, held.SOCKET)


def _received(sock: sockets.Socket) -> tuple[dict[str, Any] | None, list[int]]:
    """What a client asks; who sends what is no message has left, too."""
    try:
        message, fds = messages.receive(sock, 1)
    except (OSError, ValueError):
        return None, []
    return (message if isinstance(message, dict) else None), fds
