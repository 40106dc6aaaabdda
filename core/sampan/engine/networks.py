"""Networks: create, list, remove, prune; who is on them; connect and disconnect, also while a container runs."""

from __future__ import annotations

import os
import time

from sampan.engine import choose, events
from sampan.errors import InUseError, NotFoundError, SampanError, UnsupportedError, UsageError
from sampan.model import isolation, names
from sampan.model.rfc3339 import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sampan.drivers import NetworkBackend
    from sampan.engine import Engine
    from sampan.model.container import Record, RunOptions
    from sampan.model.network import Endpoint, Network
    from sampan.store.containers import Container

DEFAULT = "bridge"  # the driver of networks that name none
NONE = "none"  # the mode that needs nothing


def create(
    engine: Engine,
    name: str = "",
    *,
    driver: str = DEFAULT,
    subnets: Sequence[Mapping[str, str]] = (),
    ipv6: bool = False,
    internal: bool = False,
    named: bool = True,
    options: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Network:
    """A new network, whose driver settles its subnets and options.

    subnets: {"subnet", "gateway", "range"}; without one the driver chooses.  name: without one it is "networkN".
    """
    if name:
        names.check(name, "network")
    backend = _with_networks(engine, driver)
    with engine.networks.lock():
        known = engine.networks.all()
        if name in engine.plugins.names("network") and name != driver:
            raise InUseError(f"network name {name} already used", "it is the name of a mode")
        if not name:
            taken = {network["name"] for network in known}
            name = next(n for at in range(1, 1 << 30) if (n := f"network{at}") not in taken)
        if engine.networks.exists(name):
            raise InUseError(f"network name {name} already used", "network already exists")
        made = backend.create(
            name,
            {
                "subnets": list(subnets),
                "ipv6": ipv6,
                "internal": internal,
                "options": dict(options or {}),
                "taken": [subnet["subnet"] for network in known for subnet in network["subnets"]],
            },
        )
        network: Network = {
            "version": 1,
            "id": os.urandom(32).hex(),
            "name": name,
            "driver": driver,
            "created": stamp(time.time_ns()),
            "labels": dict(labels or {}),
            "options": made["options"],
            "subnets": made["subnets"],
            "internal": internal,
            "named": named,
        }
        engine.networks.add(network)
    events.emit(engine, "network", "create", network["id"], name, {"driver": driver})
    return network


def _with_networks(engine: Engine, driver: str) -> NetworkBackend:
    try:
        backend = engine.network(driver)
    except NotFoundError as error:
        raise NotFoundError(f"unsupported driver {driver}", error.why, error.hint) from None
    if not backend.networks:
        raise UnsupportedError(f"unsupported driver {driver}", "it has no networks of its own")
    return backend


def find(engine: Engine, word: str) -> Network:
    """The network of a name or id; the standing ones are made when they are first asked for."""
    if not engine.networks.exists(word) and is_standing(engine, word):
        try:
            return create(engine, word, driver=word, named=False)
        except InUseError:
            if not engine.networks.exists(word):
                raise
    return engine.networks.find(word)


def is_standing(engine: Engine, name: str) -> bool:
    """Whether it is there without having been made: each driver with networks has one of its own name."""
    return name in engine.plugins.names("network") and engine.network(name).networks


def members(engine: Engine, network: Network) -> list[Container]:
    """The containers that are on the network, running or not."""
    return [
        container
        for container in engine.containers.all(builds=True)
        if any(end["id"] == network["id"] for end in ends(container.record))
    ]


def ends(record: Record) -> list[Endpoint]:
    found: list[Endpoint] = record["options"].get("networks", [])
    return found


def remove(engine: Engine, word: str, *, force: bool = False, timeout: float = 10) -> str:
    """Remove a network; with `force` the containers on it go first. Returns its name."""
    if word in engine.plugins.names("network"):
        raise UsageError(f"default network {word} cannot be removed", "it is always there")
    network = engine.networks.find(word)
    if force:
        from sampan.engine.remove import remove as remove_container

        for container in members(engine, network):
            remove_container(engine, container.id, force=True, timeout=timeout)
    with engine.networks.lock():
        using = members(engine, network)
        if using:
            raise InUseError(
                f'"{network["name"]}" has associated containers with it',
                f"network is being used by {', '.join(c.name for c in using)}",
                "use -f to forcibly delete containers",
                exit_status=2,
            )
        engine.network(network["driver"]).remove(network["name"])
        engine.networks.remove(network["name"])
    events.emit(engine, "network", "remove", network["id"], network["name"])
    return network["name"]


def unused(engine: Engine) -> list[Network]:
    """Those that no container is on; the standing ones stay."""
    used = {
        end["id"]
        for container in engine.containers.all(builds=True)
        for end in ends(container.record)
    }
    standing = engine.plugins.names("network")
    return [n for n in engine.networks.all() if n["id"] not in used and n["name"] not in standing]


def settle(engine: Engine, chosen: RunOptions) -> None:
    """Names become ids, and the mode of the default is chosen: before anything is made. Once more is no matter."""
    if chosen["network"].startswith((isolation.CONTAINER, isolation.PATH)):
        return
    if chosen["network"] == "auto":
        chosen["network"] = default(engine)
        return
    asked: list[Endpoint] = chosen.get("networks", [])
    if not asked:
        engine.network(chosen["network"]).check_settings(chosen.get("network_settings", {}))
        return
    name = asked[0]["name"]
    if (
        len(asked) == 1
        and name in engine.plugins.names("network")
        and not is_standing(engine, name)
    ):
        if any(asked[0][key] for key in ("ip", "ip6", "mac", "aliases", "interface")):
            raise UsageError(f"--network {name}", "it gives a container its address itself")
        chosen.pop("networks", None)
        chosen["network"] = name
        return
    drivers: dict[str, str] = {}
    for end in asked:
        network = find(engine, end["name"])
        check_end(network, end)
        drivers[network["driver"]] = network["name"]
    if len(drivers) > 1:
        raise UnsupportedError(
            f"networks {' and '.join(drivers.values())} of one container",
            f"they have the drivers {' and '.join(drivers)}",
            "choose networks of one driver",
        )
    if len({end["id"] for end in asked}) < len(asked):
        raise UsageError("--network", "one network is named twice")
    chosen["network"], chosen["networks"] = next(iter(drivers)), asked


def check_end(network: Network, end: Endpoint) -> None:
    """Fill in which network it is; refuse what it cannot have."""
    if end["aliases"] and not network["named"]:
        raise UsageError(
            f"--network-alias on network {network['name']}",
            "containers have no names there",
            "sampan network create makes a network where they have",
        )
    end["id"], end["name"], end["named"] = network["id"], network["name"], network["named"]


def default(engine: Engine) -> str:
    """The mode of containers that name none: what worked before and still does, or what the probes say.

    Where that is none, the user is told why.
    """
    name: str = choose.choices(engine).get("network", {}).get("driver", NONE)
    known = name != NONE and name in engine.plugins.names("network")
    if known and choose.probe_of(engine, "network", name).usable:
        return name
    found = choose.renewed(engine, "network")
    name = found["driver"]
    if name == NONE:
        from sampan.engine import warn

        why = _lacking(engine, found["reasons"])
        warn(f"the container has no network: {why}; --network none is silent")
    return name


def _lacking(engine: Engine, reasons: dict[str, str]) -> str:
    """Why the modes do not work that would give a container a network, each reason once."""
    found: list[str] = []
    for name, reason in reasons.items():
        try:
            standing = is_standing(engine, name)  # those rely on the others
        except SampanError:
            standing = False
        if reason.startswith(choose.NOT) and not standing:
            found.append(reason.removeprefix(choose.NOT))
    return " | ".join(dict.fromkeys(found))


def configured(engine: Engine) -> str:
    """What the settings name; "" if that is left to `default`."""
    return "" if engine.settings.network == "auto" else engine.settings.network


def told(engine: Engine, record: Record) -> list[list[Any]]:
    """What the backend is told of a container's networks: [network, end] each. NotFoundError: one is gone."""
    found: list[list[Any]] = []
    for end in ends(record):
        network = engine.networks.find(end["id"])
        found.append([network, end])
    return found


def connect(engine: Engine, word: str, container_word: str, end: Endpoint) -> None:
    """Put a container on one more network, at once if it runs."""
    network = find(engine, word)
    check_end(network, end)
    container = engine.containers.get(container_word)
    _check_driver(container, network)
    with engine.networks.lock():
        container = engine.containers.load(container.id)
        now = ends(container.record)
        if any(one["id"] == network["id"] for one in now):
            raise InUseError(
                f"container {container.name} is already connected to network {network['name']}",
                "network is already connected",
            )
        _change(engine, container, [*now, end])
    events.emit(
        engine, "network", "connect", network["id"], network["name"], {"container": container.id}
    )


def disconnect(engine: Engine, word: str, container_word: str) -> None:
    """Take a container off a network, at once if it runs."""
    network = engine.networks.find(word)
    container = engine.containers.get(container_word)
    with engine.networks.lock():
        container = engine.containers.load(container.id)
        now = ends(container.record)
        rest = [end for end in now if end["id"] != network["id"]]
        if len(rest) == len(now):
            raise NotFoundError(
                f"container {container.name} is not connected to network {network['name']}",
                "network is not connected to container",
            )
        _change(engine, container, rest)
    events.emit(
        engine, "network", "disconnect", network["id"], network["name"], {"container": container.id}
    )


def _check_driver(container: Container, network: Network) -> None:
    mode = container.record["options"]["network"]
    if mode != network["driver"]:
        raise UnsupportedError(
            f'"{mode}" is not supported: invalid network mode',
            f"container {container.name} was not made on a {network['driver']} network, and only such can join another",
            f"make it anew with --network {network['name']}",
        )


def _change(engine: Engine, container: Container, new: list[Endpoint]) -> None:
    """The record first; if the running container cannot follow, it is as before."""
    old = ends(container.record)
    engine.containers.change_options(container.id, {"networks": new})
    if not container.live:
        return
    from sampan.engine import run

    try:
        monitor = run.connect(engine, container)
        monitor.send({"kind": "networks"})
        monitor.expect("networks")
    except SampanError:
        engine.containers.change_options(container.id, {"networks": old})
        raise
