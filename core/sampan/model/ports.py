"""Published ports: the words of -p, --expose and EXPOSE, what overlaps, and how lists of them are shown.

A port is {"host_ip", "host_port", "container_port", "protocol"}: one port, never a range.  Until a container is
created host_ip "" is every address of the machine, and host_port 0 is any port that is free.
"""

from __future__ import annotations

from sampan.errors import UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    Port = dict[str, Any]

FORM = "[ADDRESS:][HOST_PORT:]CONTAINER_PORT[/tcp|udp]"
EVERY = {4: "0.0.0.0", 6: "::"}  # family: what stands for all addresses


def parse(words: Iterable[str]) -> list[Port]:
    """The ports of -p, in their order; the same word twice is one."""
    found = [port for word in words for port in _published(word)]
    unique = [
        port
        for number, port in enumerate(found)
        if port not in found[:number] or not port["host_port"]
    ]
    for number, port in enumerate(unique):
        if port["host_port"] and any(overlap(port, other) for other in unique[:number]):
            raise UsageError(
                f"conflicting port mappings for host port {port['host_port']} (protocol {port['protocol']})",
                "two ports of the container cannot be behind one of the host",
            )
    return unique


def _published(word: str) -> list[Port]:
    mapping, protocol = _split_protocol(word)
    address = ""
    if mapping.startswith("["):
        address, bracket, mapping = mapping[1:].partition("]:")
        if not bracket:
            raise UsageError(f"invalid port {word!r}", "", FORM)
    *before, inside = mapping.split(":")
    if len(before) > (1 if address else 2):
        raise UsageError(f"invalid port {word!r}", "", f"{FORM}; IPv6 addresses in []")
    outside = before[-1] if before else ""
    if len(before) == 2:
        address = before[0]
    first, last = _range(inside, word)
    lowest, highest = _range(outside, word, lowest=0) if outside not in ("", "0") else (0, 0)
    if lowest and highest - lowest != last - first:
        raise UsageError(
            f"invalid port {word!r}",
            f"host and container port ranges have different lengths: {highest - lowest + 1} vs {last - first + 1}",
        )
    return [
        {
            "host_ip": _address(address, word),
            "host_port": lowest and lowest + number - first,
            "container_port": number,
            "protocol": protocol,
        }
        for number in range(first, last + 1)
    ]


def _split_protocol(word: str) -> tuple[str, str]:
    mapping, _, protocol = word.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol == "sctp":
        raise UnsupportedError(
            f"cannot publish {word}", "SCTP is carried by no network", "tcp or udp"
        )
    if protocol not in ("tcp", "udp"):
        raise UsageError(f"invalid port {word!r}", f"no protocol is named {protocol!r}", FORM)
    return mapping, protocol


def _range(text: str, word: str, lowest: int = 1) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    ends = [first, last if dash else first]
    if not all(end.isascii() and end.isdigit() and len(end) <= 5 for end in ends):
        raise UsageError(f"invalid port {word!r}", "", FORM)
    numbers = int(ends[0]), int(ends[1])
    if not lowest <= numbers[0] <= numbers[1] <= 65535:
        raise UsageError(
            f"invalid port {word!r}", "ports are 1 to 65535, ranges begin with the lower one", FORM
        )
    return numbers


def _address(text: str, word: str) -> str:
    if not text:
        return ""
    import ipaddress

    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise UsageError(f"invalid port {word!r}", f"{text!r} is no address", FORM) from None


def exposed(words: Iterable[str]) -> list[str]:
    """`80/tcp` for each port of --expose and of an image's ExposedPorts."""
    found: list[str] = []
    for word in words:
        ports, protocol = _split_protocol(word)
        first, last = _range(ports, word)
        found += [f"{number}/{protocol}" for number in range(first, last + 1)]
    return list(dict.fromkeys(found))


def inside(port: Mapping[str, Any]) -> str:
    return f"{port['container_port']}/{port['protocol']}"


def outside(port: Mapping[str, Any]) -> str:
    """ADDRESS:PORT."""
    address = port["host_ip"] or EVERY[4]
    return (
        f"[{address}]:{port['host_port']}" if ":" in address else f"{address}:{port['host_port']}"
    )


def family(port: Mapping[str, Any]) -> int:
    return 6 if ":" in port["host_ip"] else 4


def overlap(one: Port, other: Port) -> bool:
    """Whether both cannot listen at once."""
    if (one["host_port"], one["protocol"]) != (other["host_port"], other["protocol"]):
        return False
    addresses = {one["host_ip"], other["host_ip"]}
    if len(addresses) == 1 or "" in addresses:
        return True
    return family(one) == family(other) and EVERY[family(one)] in addresses


def shown(ports: Sequence[Port]) -> str:
    """As `ps` has them: ports that follow on each other are a range."""
    runs: list[list[Port]] = []
    for port in ports:
        if runs and _follows(runs[-1][-1], port):
            runs[-1].append(port)
        else:
            runs.append([port])
    return ", ".join(map(_run, runs))


def _follows(one: Port, other: Port) -> bool:
    after = {**one, "host_port": one["host_port"] + 1, "container_port": one["container_port"] + 1}
    return after == other


def _run(run: list[Port]) -> str:
    first, last = run[0], run[-1]
    if len(run) == 1:
        return f"{outside(first)}->{inside(first)}"
    inner = f"{first['container_port']}-{last['container_port']}/{first['protocol']}"
    return f"{outside(first)}-{last['host_port']}->{inner}"


def bindings(ports: Iterable[Port], more: Iterable[str] = ()) -> dict[str, Any]:
    """Docker's shape: {"80/tcp": [{"HostIp", "HostPort"}]}, and null for what is only exposed."""
    found: dict[str, Any] = {}
    for port in ports:
        row = {"HostIp": port["host_ip"], "HostPort": str(port["host_port"])}
        found.setdefault(inside(port), []).append(row)
    return {**dict.fromkeys(more), **found}
