"""sampan network bench: what each network mode can do on this machine, without an image.

For each mode a child of the command becomes what a container's monitor is, root of a user namespace with the host's
network; its own child is in a network namespace of its own and serves there.  The mode connects the two as it would a
container, and the command asks the server through a published port.  Closing the socket between them ends it all;
whoever is left when the command is killed, the kernel ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import time

from sampan.engine import netbench_wire
from sampan.engine.network_shown import mode
from sampan.errors import SampanError, from_report, to_report
from sampan.linux import libc, loopback, messages, processes, signals, sockets, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from typing import Any, NoReturn

    from sampan.drivers import NetworkBackend
    from sampan.engine import Engine

BASE = "host"  # what all others are compared with
PORT = 80  # in the namespace
NAME = "bench"
FIGURES = ("AttachMs", "InMBs", "OutMBs", "LatencyUs", "LatencyP99Us", "ConnectsPerSecond")


def bench(
    engine: Engine, names: Sequence[str] = (), address: str = "127.0.0.1"
) -> Iterator[dict[str, Any]]:
    """A row for each mode, as soon as it has been measured: "Network", "Usable", "Why", and FIGURES or None.

    names: those that are named, or all.  address: the one of this machine's at which ports are published and asked;
    some modes have a shorter way for the loopback interface.
    """
    for name in names or _all(engine):
        yield _row(engine, name, address)


def _all(engine: Engine) -> list[str]:
    """Every mode that connects, under its own name, the base first."""
    found = [name for name in engine.plugins.names("network") if name not in (BASE, "none")]
    return [BASE, *(name for name in found if mode(engine, name)["Driver"] == name)]


def _row(engine: Engine, name: str, address: str) -> dict[str, Any]:
    engine.plugins.entry("network", name)  # NotFoundError: there is none of that name
    shown = mode(engine, name)
    row = {"Network": name, "Usable": shown["Usable"], "Why": shown["Why"]}
    row |= dict.fromkeys(FIGURES)
    if name == "none":
        return {**row, "Usable": "no", "Why": "it connects nothing"}
    if row["Usable"] != "yes":
        return row
    try:
        with _serving(engine, name, address) as (port, attached):
            return {**row, "AttachMs": attached, **netbench_wire.measure(address, port)}
    except (SampanError, OSError) as error:
        return {**row, "Usable": "no", "Why": str(error)}


@contextlib.contextmanager
def _serving(engine: Engine, name: str, address: str) -> Generator[tuple[int, float | None]]:
    """(The port of this machine at which the server of the mode answers, milliseconds that attaching took)."""
    backend: NetworkBackend = engine.plugins.driver(
        "network", name, engine.context("network", name)
    )
    with tempfile.TemporaryDirectory(prefix="bench-", dir=engine.settings.run_dir) as place:
        told = _options(engine, backend, address)
        sock, pid = _start(engine, name, backend, told, place)
        try:
            answer = messages.receive(sock)[0]
            if answer is None:
                raise SampanError(f"cannot measure {name}", "the process that serves has ended")
            if "error" in answer:
                raise from_report(answer["error"])
            yield answer["port"], answer["ms"]
        finally:
            sock.close()
            os.waitpid(pid, 0)


def _options(engine: Engine, backend: NetworkBackend, address: str) -> dict[str, Any]:
    """What the mode is told of the namespace (NetworkBackend.attach), but for descriptors and processes."""
    port = {
        "host_ip": address,
        "host_port": _free_port(address),
        "container_port": PORT,
        "protocol": "tcp",
    }
    told: dict[str, Any] = {
        "ports": [port],
        "settings": {},
        "name": NAME,
        "servers": [],
        "networks": [],
    }
    if backend.networks:
        told["networks"] = [_network(engine, backend)]
    return told


def _network(engine: Engine, backend: NetworkBackend) -> list[Any]:
    """A network that is recorded nowhere, and the end of it."""
    from sampan.model.network_words import endpoint

    taken = [subnet["subnet"] for network in engine.networks.all() for subnet in network["subnets"]]
    asked: dict[str, Any] = {
        "subnets": [],
        "ipv6": False,
        "internal": False,
        "options": {},
        "taken": taken,
    }
    network: dict[str, Any] = {
        "version": 1, "id": os.urandom(32).hex(), "name": NAME, "driver": backend.name, "created": "", "labels": {},
        "internal": False, "named": False, **backend.create(NAME, asked),
    }  # fmt: skip
    return [network, {**endpoint(NAME), "id": network["id"]}]


def _free_port(address: str) -> int:
    with socket.socket() as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])


def _start(
    engine: Engine, name: str, backend: NetworkBackend, told: dict[str, Any], place: str
) -> tuple[sockets.Socket, int]:
    """The child that plays the container's monitor: our end of its socket, its pid."""
    home = backend.home() if backend.namespace == "private" else -1
    ours, theirs = sockets.pair()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            signals.ignore(signals.SIGINT)  # the command gets it, too, and tells
            if backend.namespace == "private":
                _private(engine, name, theirs, home, told, place)
            _public(theirs, told)
        except BaseException as error:
            messages.send(theirs, {"error": to_report(error, f"cannot measure {name}")})
        finally:
            os._exit(1)
    theirs.close()
    if home >= 0:
        os.close(home)
    return ours, pid


def _public(sock: sockets.Socket, told: dict[str, Any]) -> NoReturn:
    """No namespace, and nothing to attach."""
    (port,) = told["ports"]
    server, _ = _serve(port["host_ip"], port["host_port"], private=False)
    messages.send(sock, {"port": port["host_port"], "ms": None})
    messages.receive(sock)
    _end(server)


def _private(
    engine: Engine, name: str, sock: sockets.Socket, home: int, told: dict[str, Any], place: str
) -> NoReturn:
    # One of this process's own: what the command's has begun (`home`) is the command's.
    backend: NetworkBackend = engine.plugins.driver(
        "network", name, engine.context("network", name)
    )
    if home >= 0:
        userns.nest(home, engine.idmap)
    else:
        userns.enter(engine.idmap)
    server, network = _serve("0.0.0.0", PORT, private=True)
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    begun = time.perf_counter()
    try:
        attachment = backend.attach(NAME, network, {**told, "directory": directory, "pid": server})
        taken = round((time.perf_counter() - begun) * 1000, 1)
        messages.send(sock, {"port": told["ports"][0]["host_port"], "ms": taken})
        messages.receive(sock)  # until the command has enough
        backend.detach(NAME, attachment)
    finally:
        os.kill(server, signals.SIGKILL)
    _end(server)


def _end(server: int) -> NoReturn:
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, signals.SIGKILL)
    os.waitpid(server, 0)
    os._exit(0)


def _serve(address: str, port: int, *, private: bool) -> tuple[int, int]:
    """A server, which listens already: its pid, and a socket in its network namespace."""
    processes.die_with_parent()  # after the last change of the uid, which undoes it
    ours, theirs = sockets.pair()
    pid = os.fork()
    if pid == 0:
        try:
            processes.die_with_parent()
            ours.close()
            if private:
                libc.unshare(libc.CLONE_NEWNET)
            listener = socket.create_server((address, port), backlog=128)
            if private:
                loopback.bring_up(listener.fileno())
            sockets.send(theirs, b"listening", [listener.fileno()])
            theirs.close()
            netbench_wire.serve(listener)
        except BaseException as error:
            messages.send(theirs, {"error": to_report(error, "cannot serve")})
        finally:
            os._exit(1)
    theirs.close()
    data, fds = sockets.receive(ours, 1)
    ours.close()
    if not fds:
        from sampan import jsontext

        raise from_report(jsontext.loads(data)["error"]) if data else SampanError("cannot serve")
    return pid, fds[0]
