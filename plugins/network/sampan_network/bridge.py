"""bridge: networks of the user's own, on which containers find each other by name.

A bridge, veth pairs, NAT and names are made by a process of the user's, the holder (holder.py), which is started with
the first member and is gone with the last.  The command has it started (`home`), and makes the container's user
namespace inside the holder's: so the holder may give its network namespace an interface, and the container has no
power over anybody else's.  The container's monitor asks for the attachment and keeps the connection: the lease.
"""

from __future__ import annotations

import os
import time

from sampan import files
from sampan.errors import InUseError, SampanError, UnsupportedError, UsageError, from_report
from sampan.linux import inotify, interfaces, messages, sockets, userns
from sampan.model.contract import Probe
from sampan.model.plain_network import PlainNetwork
from sampan_network import firewall, held, helper, holder, pasta, uplinks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

    from sampan.drivers import ConfigTable
    from sampan.model.contract import DriverContext

PLACE = "bridge"  # in the run directory
PATIENCE = 20.0  # seconds that the holder may take to answer
FAREWELL = 2.0  # the same, for who leaves
TRIES, PAUSE = 5, 0.2  # seconds
OPTIONS = {"mtu": "mtu", "com.docker.network.driver.mtu": "mtu"}
DOWN = "the container's network is down"


class BridgeBackend(PlainNetwork):
    name = "bridge"
    networks = True

    def __init__(self, context: DriverContext) -> None:
        self._path = f"{context.run_dir}/{PLACE}"
        self._idmap, self._options = context.idmap, context.options
        self._chosen: type[uplinks.Uplink] | None = None
        self._lease: sockets.Socket | None = None
        self._watch = -1  # the directory, while the holder is gone
        self._asked: dict[str, Any] = {}
        self._namespace = -1
        self._number = 0  # of the last message

    def name_servers(self, settings: Mapping[str, str]) -> tuple[str, ...]:
        return (firewall.NAME_SERVER,)

    @property
    def publishes(self) -> tuple[str, ...]:
        try:
            six = interfaces.has_ipv6() and self._uplink() is uplinks.PastaUplink
        except UnsupportedError:  # who lists networks need not hear that
            six = False
        return ("tcp", "udp", *(("tcp6", "udp6") if six else ()))

    def host_address(self) -> str:
        return interfaces.outgoing_address()

    def _uplink(self) -> type[uplinks.Uplink]:
        """Looked for once: that it works here is tried."""
        if self._chosen is None:
            self._chosen = uplinks.chosen(self._options.get("uplink", "auto"))
        return self._chosen

    def check_ports(self, ports: Sequence[Mapping[str, Any]]) -> None:
        if self._uplink() is uplinks.PastaUplink:
            pasta.forwards(ports)

    def create(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        from sampan_network import subnets

        taken = [*options["taken"], *interfaces.routed()]
        found: dict[str, str] = {}
        for key, value in options["options"].items():
            if key not in OPTIONS:
                raise UsageError(f"unknown option {key!r} of a bridge network", "", "mtu=BYTES")
            found[OPTIONS[key]] = _mtu(value)
        made = subnets.settle(options["subnets"], options["ipv6"], taken)
        return {"subnets": made, "options": found}

    def remove(self, name: str) -> None:
        """What there is of a network goes with its members."""

    def home(self) -> int:
        """Have the holder started, and keep it until this process ends."""
        files.private_directory(self._path)
        directory = files.open_directory(self._path)
        with held.locked(directory):
            try:
                self._lease = sockets.connect(directory, held.SOCKET)
            except (FileNotFoundError, ConnectionRefusedError):
                self._lease = self._start(directory)
        os.close(directory)
        _, fds = self._ask({"kind": "home"}, [])
        return fds[0]

    def _start(self, directory: int) -> sockets.Socket:
        listener = sockets.listen(directory, held.SOCKET)
        survivor = _survivor(directory)
        if os.fork() == 0:
            try:
                holder.main(listener, self._path, self._idmap, survivor, self._options)
            finally:
                os._exit(1)
        if survivor >= 0:
            os.close(survivor)
        connected = sockets.connect(directory, held.SOCKET)
        listener.close()
        return connected

    def attach(self, container: str, network: int, options: Mapping[str, Any]) -> dict[str, Any]:
        self._asked = {
            "kind": "attach",
            "container": container,
            "networks": options["networks"],
            "renewed": False,
            **{key: options[key] for key in ("name", "servers", "pid", "ports")},
        }
        self._namespace = interfaces.namespace(network)
        if self._lease is None:
            self._lease = self._connect()
        return self._attached()

    def _connect(self) -> sockets.Socket:
        directory = files.open_directory(self._path)
        try:
            return sockets.connect(directory, held.SOCKET)
        except OSError as error:
            raise SampanError(
                "cannot connect the container with its network",
                f"the process that holds the bridge networks is not there: {error.strerror}",
                "start the container again",
            ) from None
        finally:
            os.close(directory)

    def _attached(self) -> dict[str, Any]:
        answer, _ = self._ask(self._asked, [self._namespace])
        return _attachment(answer)

    def change(
        self, container: str, attachment: dict[str, Any], networks: Sequence[Any]
    ) -> dict[str, Any]:
        if self._lease is None:
            raise SampanError(DOWN, "the process that holds the bridge networks ended", RENEW)
        answer, _ = self._ask({"kind": "change", "networks": networks}, [])
        self._asked["networks"] = networks
        return _attachment(answer)

    def detach(self, container: str, attachment: dict[str, Any]) -> None:
        """The connection stays: a container that is started again needs the holder."""
        if self._namespace >= 0:
            os.close(self._namespace)
            self._namespace = -1
        if self._lease is None:
            return
        try:
            if self._asked["ports"]:
                self._ask({"kind": "detach"}, [], FAREWELL)
            else:  # nobody waits for anything
                messages.send(self._lease, {"kind": "leave"})
        except SampanError:
            self._give_up()

    def _give_up(self) -> None:
        """The connection has gone with the holder, or is closed: then the holder notices, when it can."""
        if self._lease is not None:
            self._lease.close()
        self._lease = None

    def watched(self, container: str) -> tuple[int, ...]:
        if self._lease is not None:
            return (self._lease.fileno(),)
        return (self._watch,) if self._watch >= 0 else ()

    def status(self, container: str, attachment: dict[str, Any]) -> dict[str, Any]:
        """What the holder tells unasked; or it has ended, or there is a new one."""
        if self._lease is None:
            return self._renew(attachment)
        message, _ = messages.receive(self._lease)
        if message is None:
            self._lost()
        if message["kind"] == "broken":
            raise from_report(message["error"])
        if "number" in message:  # a change that was given up has been made after all
            return self.change(container, attachment, self._asked["networks"])
        return {**attachment, "restarts": message["restarts"]}

    def _lost(self) -> NoReturn:
        self._give_up()
        if self._watch < 0:
            self._watch = inotify.watch([self._path], inotify.CREATE)
        raise SampanError(DOWN, "the process that holds the bridge networks ended", RENEW)

    def _renew(self, attachment: dict[str, Any]) -> dict[str, Any]:
        """The directory has changed: perhaps a new holder is there, started for another container."""
        inotify.drain(self._watch)
        try:
            self._lease = self._connect()
        except SampanError:
            raise SampanError(
                DOWN, "the process that holds the bridge networks ended", RENEW
            ) from None
        self._asked["renewed"] = True
        self._asked["networks"] = [
            [record, _same_end(end, attachment["networks"].get(record["id"]))]
            for record, end in self._asked["networks"]
        ]
        found = self._attached_again()
        os.close(self._watch)
        self._watch = -1
        return found

    def _attached_again(self) -> dict[str, Any]:
        """What a holder that was killed has left goes while the new one begins: not everything is had at once."""
        for _ in range(TRIES - 1):
            try:
                return self._attached()
            except SampanError:
                if self._lease is None:
                    raise
                time.sleep(PAUSE)
        return self._attached()

    def _ask(
        self, message: dict[str, Any], fds: Sequence[int], patience: float = PATIENCE
    ) -> tuple[dict[str, Any], list[int]]:
        """The holder's answer to the message; what it tells unasked meanwhile is not lost: the answer has it, too.

        An answer to an earlier message, for which nobody waits any more, is none.
        """
        assert self._lease is not None
        self._number += 1
        self._lease.settimeout(patience)
        try:
            messages.send(self._lease, {**message, "number": self._number}, fds)
            while True:
                answer, received = messages.receive(self._lease, 1)
                if answer is None:
                    self._lost()
                if answer.get("number", self._number) != self._number:
                    continue
                if answer["kind"] == "error":
                    raise from_report(answer["error"])
                if answer["kind"] not in ("restarted", "broken"):
                    return answer, received
        except TimeoutError:
            raise InUseError(
                "cannot connect the container with its network",
                f"the process that holds the bridge networks did not answer for {patience:.0f} s",
                "try again",
            ) from None
        finally:
            self._lease_waits()

    def _lease_waits(self) -> None:
        if self._lease is not None:
            self._lease.settimeout(None)


RENEW = "it is connected again when another container is started on a bridge network"


def _mtu(value: str) -> str:
    if not (value.isascii() and value.isdigit() and 68 <= int(value[:6]) <= 65535):
        raise UsageError(f"invalid mtu {value!r}", "it is no number of bytes", "68 to 65535")
    return value


def _survivor(directory: int) -> int:
    """The user namespace of a holder that was killed, if a member of its runs still; else -1."""
    members = files.open_directory(held.MEMBERS, dir_fd=directory, create=True)
    try:
        for name in os.listdir(members):
            row = held.read_member(members, name)
            if row is not None:
                try:
                    namespace = os.open(f"/proc/{row['pid']}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
                    return userns.outermost(namespace)
                except OSError:
                    continue
        return -1
    finally:
        os.close(members)


def _same_end(end: dict[str, Any], had: dict[str, Any] | None) -> dict[str, Any]:
    """What the container had is what it asks for."""
    if had is None:
        return end
    found = {**end, "mac": had["mac"], "interface": had["interface"]}
    for address, _, _ in had["addresses"]:
        found["ip6" if ":" in address else "ip"] = address
    return found


def _attachment(answer: dict[str, Any]) -> dict[str, Any]:
    """The holder's answer in the contract's words; at the top what has the way out."""
    main = answer["networks"].get(answer["main"], {})
    four = next((row for row in main.get("addresses", []) if ":" not in row[0]), ["", 0, ""])
    return {
        "interface": main.get("interface", ""),
        "address": four[0],
        "prefix": four[1],
        "gateway": four[2],
        "mac": main.get("mac", ""),
        "clients": "preserved",
        "restarts": answer["restarts"],
        "networks": answer["networks"],
    }


def sampan_network_backend(context: DriverContext) -> BridgeBackend:
    return BridgeBackend(context)


def sampan_config() -> ConfigTable:
    return {"uplink": (str, "auto", "the way out of bridge networks: slirp4netns, pasta or auto")}


def sampan_probe(context: DriverContext) -> Probe:
    if wrong := firewall.missing():
        return Probe(False, wrong, "an administrator can install the package nftables")
    try:
        uplink = uplinks.chosen(context.options.get("uplink", "auto"))
    except SampanError as error:
        return Probe(False, error.why, error.hint)
    return Probe(True, f"{firewall.LIBRARY}, {helper.find(uplink.program)}", rank=0)
