"""sampan network: networks on which containers find each other, and the modes that --network names."""

from __future__ import annotations

import os
import sys

from sampan.cli.confirm import agreed
from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse
from sampan.errors import NotFoundError, SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FILTER = Option(
    "--filter", LIST, "Only what matches: name, id, driver, label, until, dangling", "KEY=VALUE"
)
CREATE = Verb(
    "network create",
    "Create a network",
    "[NAME]",
    [
        Option("--disable-dns", FLAG, "Containers do not find each other by name"),
        Option("--driver -d", help="Driver of the network", default="bridge", metavar="NAME"),
        Option("--gateway", LIST, "Address of the gateway of a subnet", "ADDRESS"),
        Option("--ignore", FLAG, "A network that is there already is no error"),
        Option("--internal", FLAG, "No way out of the network"),
        Option("--ip-range", LIST, "Addresses that containers get", "CIDR|FIRST-LAST"),
        Option("--ipv6", FLAG, "IPv6 addresses, too"),
        Option("--label", LIST, "Set a label", "KEY=VALUE"),
        Option("--opt -o", LIST, "Option of the driver (bridge: mtu)", "KEY=VALUE"),
        Option("--subnet", LIST, "A subnet of the network", "CIDR"),
    ],
    maximum=1,
)
LS = Verb(
    "network ls",
    "List networks and modes",
    "",
    [
        Option("--filter -f", LIST, FILTER.help, "KEY=VALUE"),
        Option("--format", help="table, json or a Go template", metavar="FORMAT"),
        Option("--no-trunc", FLAG, "Show ids in full"),
        Option("--noheading -n", FLAG, "Show no headings"),
        Option("--quiet -q", FLAG, "Show names alone"),
    ],
    maximum=0,
)
INSPECT = Verb(
    "network inspect",
    "Show networks in detail",
    "NAME [NAME...]",
    [Option("--format -f", help="json or a Go template", metavar="FORMAT")],
    minimum=1,
)
EXISTS = Verb(
    "network exists", "Leave with 0 if it exists, 1 if not", "NAME", [], minimum=1, maximum=1
)
RM = Verb(
    "network rm",
    "Remove networks",
    "NAME [NAME...]",
    [
        Option("--force -f", FLAG, "Remove the containers on it, too; a missing one is no error"),
        Option("--time -t", INTEGER, "Seconds before such containers are killed", default=10),
    ],
    minimum=1,
)
PRUNE = Verb(
    "network prune",
    "Remove the networks that no container is on",
    "",
    [FILTER, Option("--force -f", FLAG, "Do not ask")],
    maximum=0,
)
CONNECT = Verb(
    "network connect",
    "Put a container on a network",
    "NETWORK CONTAINER",
    [
        Option("--alias --network-alias", LIST, "A further name of the container there", "NAME"),
        Option("--ip", help="IPv4 address", metavar="ADDRESS"),
        Option("--ip6", help="IPv6 address", metavar="ADDRESS"),
        Option("--mac-address", help="Hardware address", metavar="ADDRESS"),
    ],
    minimum=2,
    maximum=2,
)
DISCONNECT = Verb(
    "network disconnect",
    "Take a container off a network",
    "NETWORK CONTAINER",
    [Option("--force -f", FLAG, "What is not connected is no error")],
    minimum=2,
    maximum=2,
)
BENCH = Verb(
    "network bench",
    "Measure the modes on this machine",
    "[MODE...]",
    [Option("--format", help="table, json or a Go template", metavar="FORMAT")],
)
COLUMNS = [("NETWORK ID", "ShortID"), ("NAME", "Name"), ("DRIVER", "Driver")]
WARNING = "WARNING! This will remove all networks not used by at least one container."


def main(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(_overview())
        if not words:
            raise UsageError("missing command 'sampan network COMMAND'")
        return 0
    if words[0] not in VERBS:
        raise UsageError(
            f"unrecognized command 'sampan network {words[0]}'", "", "see 'sampan network --help'"
        )
    verb, action = VERBS[words[0]]
    values, names = parse(verb, words[1:])
    return action(values, names)


def _create(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine import networks
    from sampan.model import options

    engine = make_engine()
    name = names[0] if names else ""
    if name and values["ignore"] and engine.networks.exists(name):
        print(name)
        return 0
    made = networks.create(
        engine,
        name,
        driver=values["driver"],
        subnets=_subnets(values),
        ipv6=values["ipv6"],
        internal=values["internal"],
        named=not values["disable_dns"],
        options=options.pairs(values["opt"], "network option"),
        labels=options.pairs(values["label"], "label"),
    )
    print(made["name"])
    return 0


def _subnets(values: dict[str, Any]) -> list[dict[str, str]]:
    """Each with its gateway and its range, which stand in the same order (podman), or alone with one subnet."""
    found = [{"subnet": word, "gateway": "", "range": ""} for word in values["subnet"]]
    for option, key in (("gateway", "gateway"), ("ip_range", "range")):
        for at, word in enumerate(values[option]):
            if at >= len(found):
                raise UsageError(
                    f"--{option.replace('_', '-')} {word}", "it belongs to a --subnet", "name both"
                )
            found[at][key] = word
    return found


def _ls(values: dict[str, Any], _: list[str]) -> int:
    from sampan.cli.format import render_rows
    from sampan.engine.network_shown import rows

    found = rows(make_engine(), values["filter"])
    if values["quiet"] and not values["format"]:
        print("\n".join(row["Name"] for row in found))
        return 0
    if values["no_trunc"]:
        found = [{**row, "ShortID": row["ID"]} for row in found]
    text = render_rows(values["format"], found, COLUMNS, heading=not values["noheading"])
    if text:
        print(text)
    return 0


def _inspect(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine.network_shown import inspect

    engine, status = make_engine(), 0
    found: list[dict[str, Any]] = []
    for name in names:
        try:
            found.append(inspect(engine, name))
        except NotFoundError as error:
            _tell(error)
            status = 125
    if values["format"] and values["format"] != "json":
        from sampan.cli.format import render

        for document in found:
            print(render(values["format"], document))
        return status
    from sampan.cli.format import json_text

    print(json_text(found))
    return status


def _exists(_: dict[str, Any], names: list[str]) -> int:
    from sampan.engine.network_shown import exists

    return 0 if exists(make_engine(), names[0]) else 1


def _rm(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine import networks

    engine, status = make_engine(), 0
    for name in names:
        try:
            removed = networks.remove(engine, name, force=values["force"], timeout=values["time"])
            print(removed, flush=True)
        except NotFoundError as error:
            if not values["force"]:
                _tell(error)
                status = status or 1
        except SampanError as error:
            _tell(error)
            status = error.exit_status
    return status


def _prune(values: dict[str, Any], _: list[str]) -> int:
    from sampan.engine import networks
    from sampan.engine.network_shown import select

    engine = make_engine()
    chosen = select(networks.unused(engine), values["filter"])
    if not values["force"]:
        print(WARNING)
        if not agreed():
            return 0
    for network in chosen:
        try:
            print(networks.remove(engine, network["name"]), flush=True)
        except SampanError as error:  # somebody has joined it meanwhile
            _tell(error)
    return 0


def _connect(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine import networks
    from sampan.model.network_words import endpoint

    end = endpoint(
        names[0],
        ip=values["ip"] or "",
        ip6=values["ip6"] or "",
        mac=values["mac_address"] or "",
        aliases=values["alias"],
    )
    networks.connect(make_engine(), names[0], names[1], end)
    return 0


def _disconnect(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine import networks

    try:
        networks.disconnect(make_engine(), names[0], names[1])
    except NotFoundError:
        if not values["force"]:
            raise
    return 0


def _bench(values: dict[str, Any], names: list[str]) -> int:
    from sampan.cli.network_bench import bench

    return bench(make_engine(), names, values["format"])


def _tell(error: SampanError) -> None:
    sys.stdout.flush()
    os.write(2, f"Error: {error}\n".encode(errors="backslashreplace"))


VERBS: dict[str, tuple[Verb, Callable[[dict[str, Any], list[str]], int]]] = {
    "bench": (BENCH, _bench),
    "connect": (CONNECT, _connect),
    "create": (CREATE, _create),
    "disconnect": (DISCONNECT, _disconnect),
    "exists": (EXISTS, _exists),
    "inspect": (INSPECT, _inspect),
    "list": (LS, _ls),
    "ls": (LS, _ls),
    "prune": (PRUNE, _prune),
    "remove": (RM, _rm),
    "rm": (RM, _rm),
}


def _overview() -> str:
    rows = [f"  {name:12}{verb.summary}" for name, (verb, _) in sorted(VERBS.items())]
    head = [
        "Manage networks", "", "Usage:", "  sampan network [command]", "", "Available Commands:",
    ]  # fmt: skip
    return "\n".join([*head, *rows])
