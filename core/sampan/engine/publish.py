"""Publishing ports: what is asked for is checked before anything is made, and what is free is chosen.

Loaded only for a container that publishes something.  Who really listens is the network backend's helper; here a
socket is bound for a moment, which tells what the kernel thinks of it.
"""

from __future__ import annotations

import _socket
import errno

from sampan.errors import InUseError, SampanError, UnsupportedError
from sampan.model import ports as words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from sampan.drivers import NetworkBackend
    from sampan.engine import Engine
    from sampan.model.container import RunOptions
    from sampan.model.ports import Port

LOWEST = "net.ipv4.ip_unprivileged_port_start"
TRIES = 100  # for a port that is free at every address


def check(engine: Engine, chosen: RunOptions, but: str = "") -> None:
    """Whether the ports can be had now. `but`: the id of the container whose ports they are."""
    backend = engine.network(chosen["network"])
    families = _families(engine, chosen)
    singles = [
        single for port in chosen.get("ports", []) for single in _addressed(port, backend, families)
    ]
    backend.check_ports([single for single in singles if single["host_port"]])
    for single in singles:
        if error := single["host_port"] and _refusal(single):
            raise _explained(engine, single, error, but)


def settle(engine: Engine, chosen: RunOptions, exposed: dict[str, Any]) -> None:
    """Make the ports what is recorded: with addresses, with chosen ports, and with those of -P.

    exposed: the image's ExposedPorts.
    """
    backend = engine.network(chosen["network"])
    families = _families(engine, chosen)
    asked = list(chosen.get("ports", []))
    if chosen.get("publish_all"):
        published = {words.inside(port) for port in asked}
        for word in words.exposed([*exposed, *chosen.get("expose", [])]):
            if word not in published:
                number, _, protocol = word.partition("/")
                more = {
                    "host_ip": "",
                    "host_port": 0,
                    "container_port": int(number),
                    "protocol": protocol,
                }
                asked.append(more)
    taken = [port for _, port in _recorded(engine)]
    found: list[Port] = []
    for port in asked:
        singles = _addressed(port, backend, families)
        if not port["host_port"]:
            singles = _free(singles, [*taken, *found])
        found += singles
    chosen["ports"] = found
    check(engine, chosen)


def _families(engine: Engine, chosen: RunOptions) -> frozenset[int]:
    """Those that the container has: on networks, those of the one with the way out."""
    found = [engine.networks.find(end["id"]) for end in chosen.get("networks", [])]
    if not found:
        return frozenset((4, 6))
    main = next((network for network in found if not network["internal"]), found[0])
    families = {6 if ":" in subnet["subnet"] else 4 for subnet in main["subnets"]}
    return frozenset(families or (4, 6))  # a driver may keep its addresses to itself


def _addressed(port: Port, backend: NetworkBackend, had: frozenset[int]) -> list[Port]:
    """The port at each address at which it is published. UnsupportedError: the network cannot.

    had: the families of the container's addresses.
    """
    possible = [
        f
        for f, kind in ((4, port["protocol"]), (6, f"{port['protocol']}6"))
        if kind in backend.publishes
    ]
    families = [family for family in possible if family in had]
    if not possible:
        raise UnsupportedError(
            f"cannot publish {words.inside(port)}",
            f"the network {backend.name} publishes no ports",
            "--network slirp4netns does",
        )
    if not port["host_ip"]:
        return [{**port, "host_ip": words.EVERY[family]} for family in families]
    family = words.family(port)
    if family not in possible:
        raise UnsupportedError(
            f"cannot publish {words.outside(port)}->{words.inside(port)}",
            f"the network {backend.name} publishes at IPv4 addresses only, here",
            "pasta publishes at IPv6 addresses too, where the machine has a way out for IPv6: --network pasta, or "
            'uplink = "pasta" for bridge networks',
        )
    if family not in families:
        raise UnsupportedError(
            f"cannot publish {words.outside(port)}->{words.inside(port)}",
            f"the container's network has no IPv{family}",
            "sampan network create --ipv6 makes one that has both",
        )
    return [port]


def _recorded(engine: Engine, but: str = "", *, live: bool = False) -> Iterator[tuple[str, Port]]:
    """(name of the container, port) of all that are published."""
    for container in engine.containers.all(builds=True):
        if container.id != but and (container.live or not live):
            for port in container.record["options"].get("ports", []):
                yield container.name, port


def _bound(port: Port) -> int:
    """The port that a socket of this address gets, for a moment."""
    kind = _socket.SOCK_STREAM if port["protocol"] == "tcp" else _socket.SOCK_DGRAM
    six = words.family(port) == 6
    sock = _socket.socket(_socket.AF_INET6 if six else _socket.AF_INET, kind)
    try:
        if six:
            sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        if (
            kind == _socket.SOCK_STREAM
        ):  # as those that will listen: connections that have ended are no matter
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        sock.bind((port["host_ip"], port["host_port"]))
        if kind == _socket.SOCK_STREAM:
            sock.listen(1)
        return int(sock.getsockname()[1])
    finally:
        sock.close()


def _refusal(port: Port) -> OSError | None:
    try:
        _bound(port)
        return None
    except OSError as error:
        return error


def _free(singles: list[Port], taken: list[Port]) -> list[Port]:
    """The same free port at each of the addresses; none that a container has, running or not."""
    for _ in range(TRIES):
        number = _bound({**singles[0], "host_port": 0})
        found = [{**single, "host_port": number} for single in singles]
        clash = any(words.overlap(one, other) for one in found for other in taken)
        if not clash and not any(map(_refusal, found)):
            return found
    raise InUseError(
        f"cannot publish {words.inside(singles[0])}", "no free port was found", "name one with -p"
    )


def _next(port: Port, lowest: int) -> str:
    """The next port that is free, as a word of advice."""
    for number in range(max(port["host_port"] + 1, lowest), 65536):
        if _refusal({**port, "host_port": number}) is None:
            return f"{number} is free"
    return "stop what listens there"


def _explained(engine: Engine, port: Port, error: OSError, but: str) -> SampanError:
    what = f"cannot publish {words.outside(port)}->{words.inside(port)}"
    if error.errno == errno.EADDRINUSE:
        holders = [
            name for name, other in _recorded(engine, but, live=True) if words.overlap(port, other)
        ]
        holder = (
            f"container {holders[0]}" if holders else "a program that is no container of sampan's"
        )
        return InUseError(
            what, f"address already in use: {holder} listens there", _next(port, 1024)
        )
    if error.errno == errno.EACCES:
        with open(f"/proc/sys/{LOWEST.replace('.', '/')}", "rb") as file:
            lowest = int(file.read())
        return SampanError(
            what,
            f"permission denied: {LOWEST} is {lowest}, and lower ports are root's",
            f"{_next(port, lowest)}; an administrator can set {LOWEST}={port['host_port']}",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return SampanError(
            what, f"{port['host_ip']} is no address of this machine", "ip address lists them"
        )
    return SampanError(what, error.strerror or str(error))
