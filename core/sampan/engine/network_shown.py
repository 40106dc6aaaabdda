"""Networks and modes as clients read them: rows of `network ls`, documents of `network inspect`."""

from __future__ import annotations

from sampan.engine.networks import find, is_standing, members
from sampan.errors import NotFoundError, SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sampan.engine import Engine
    from sampan.model.network import Network

FILTERS = ("name", "id", "driver", "label", "until", "dangling")


def rows(engine: Engine, filters: list[str]) -> list[dict[str, Any]]:
    """Every network, and every mode under its own name (not under a second one)."""
    modes = _modes(engine)
    known = engine.networks.all()
    known += [
        _unmade(row["Name"])
        for row in modes
        if row["Networks"] and not engine.networks.exists(row["Name"])
    ]
    found = [_row(network) for network in select(known, filters, engine)]
    if not any(word.startswith(("label=", "until=", "dangling=")) for word in filters):
        found += [row for row in modes if not row["Networks"] and _passes(row, filters)]
    return sorted(found, key=lambda row: str(row["Name"]))


def _unmade(name: str) -> Network:
    """A driver's own network, which nobody has used yet."""
    return {
        "version": 1, "id": "", "name": name, "driver": name, "created": "", "labels": {}, "options": {},
        "subnets": [], "internal": False, "named": False,
    }  # fmt: skip


def _row(network: Network) -> dict[str, Any]:
    return {
        "ID": network["id"],
        "ShortID": network["id"][:12] or "-",
        "Name": network["name"],
        "Driver": network["driver"],
        "Scope": "local",
        "Labels": network["labels"],
        "Internal": network["internal"],
        "IPv6": _ipv6(network),
        "CreatedAt": network["created"],
    }


def _ipv6(network: Network) -> bool:
    return any(":" in subnet["subnet"] for subnet in network["subnets"])


def _modes(engine: Engine) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name in engine.plugins.names("network"):
        row = mode(engine, name)
        if row["Name"] == row["Driver"]:
            found.append(row)
    return found


def mode(engine: Engine, name: str) -> dict[str, Any]:
    """A mode, whether it works here and why not; a second name of a mode has that mode's as its driver."""
    shown = {"ID": "", "ShortID": "-", "Name": name, "Driver": name, "Scope": "local"}
    try:
        probe = engine.plugins.probe("network", name, engine.context("network", name))
        backend = engine.network(name)
    except SampanError as error:  # a plugin that cannot be loaded
        return {**shown, "Networks": False, "Usable": "no", "Why": str(error)}
    return {
        **shown,
        **backend.describe(name),
        "Name": name,
        "Networks": backend.networks,
        "Usable": "yes" if probe.usable else "no",
        "Why": probe.why if probe.usable else f"{probe.why}; {probe.fix}",
        "Publishes": list(backend.publishes),
    }


def select(
    networks: Iterable[Network], filters: list[str], engine: Engine | None = None
) -> list[Network]:
    """Those that every filter lets through; of several of one key, one must."""
    wanted: dict[str, list[str]] = {}
    for word in filters:
        key, equals, value = word.partition("=")
        if not equals or key not in FILTERS:
            raise UsageError(f'invalid filter "{word}"', "", f"KEY=VALUE with {', '.join(FILTERS)}")
        wanted.setdefault(key, []).append(value)
    return [
        network
        for network in networks
        if all(any(_matches(network, k, v, engine) for v in vs) for k, vs in wanted.items())
    ]


def _matches(network: Network, key: str, value: str, engine: Engine | None) -> bool:
    if key == "name":
        import re

        try:
            return re.search(value, network["name"]) is not None
        except re.error as error:
            raise UsageError(f"invalid filter name={value}", str(error)) from None
    if key == "id":
        return network["id"].startswith(value)
    if key == "driver":
        return network["driver"] == value
    if key == "label":
        name, equals, wanted = value.partition("=")
        return name in network["labels"] and (not equals or network["labels"][name] == wanted)
    if key == "until":
        from sampan.model import times

        return bool(network["created"]) and times.parse(network["created"]) < times.moment(value)
    if value not in ("true", "false", "1", "0"):
        raise UsageError(f"invalid filter dangling={value}", "", "true or false")
    used = engine is not None and network["id"] != "" and bool(members(engine, network))
    return used == (value in ("false", "0"))


def _passes(row: dict[str, Any], filters: list[str]) -> bool:
    """A mode has a name and a driver, and nothing else that filters ask for."""
    shown = _unmade(str(row["Name"]))
    return bool(select([shown], filters))


def exists(engine: Engine, word: str) -> bool:
    if word in engine.plugins.names("network"):
        return True
    try:
        engine.networks.find(word)
    except NotFoundError:
        return False
    return True


def inspect(engine: Engine, word: str) -> dict[str, Any]:
    """A network with who is on it, in podman's and Docker's words; or a mode."""
    if word in engine.plugins.names("network") and not is_standing(engine, word):
        row = mode(engine, word)
        row.pop("Networks", None)
        return row
    network = find(engine, word)
    subnets = [
        {
            "subnet": subnet["subnet"],
            "gateway": subnet["gateway"],
            **({"lease_range": subnet["range"]} if subnet["range"] else {}),
        }
        for subnet in network["subnets"]
    ]
    config = [
        {
            "Subnet": subnet["subnet"],
            "Gateway": subnet["gateway"],
            **({"IPRange": subnet["range"]} if subnet["range"] else {}),
        }
        for subnet in network["subnets"]
    ]
    return {
        "Name": network["name"],
        "Id": network["id"],
        "Driver": network["driver"],
        "Scope": "local",
        "Created": network["created"],
        "Subnets": subnets,
        "IPAM": {"Driver": "default", "Options": {}, "Config": config},
        "EnableIPv6": _ipv6(network),
        "Internal": network["internal"],
        "DNSEnabled": network["named"],
        "Labels": network["labels"],
        "Options": network["options"],
        "Containers": _containers(engine, network),
    }


def _containers(engine: Engine, network: Network) -> dict[str, Any]:
    """Those that run: {id: Docker's row}."""
    found: dict[str, Any] = {}
    for container in members(engine, network):
        attachment = container.run.get("network", {}) if container.run else {}
        networks: dict[str, Any] = attachment.get("networks", {})
        end = networks.get(network["id"])
        if end is None:
            continue
        by_family = {":" in row[0]: f"{row[0]}/{row[1]}" for row in end["addresses"]}
        found[container.id] = {
            "Name": container.name,
            "EndpointID": "",
            "MacAddress": end["mac"],
            "IPv4Address": by_family.get(False, ""),
            "IPv6Address": by_family.get(True, ""),
        }
    return found
