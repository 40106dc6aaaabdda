"""create: an image and options become a committed container with its snapshot and OCI document."""

from __future__ import annotations

import os
import resource
import time

from sampan import __version__
from sampan.engine import limits, networks
from sampan.errors import InUseError, UnsupportedError
from sampan.linux import userns
from sampan.model import isolation, names, options, spec
from sampan.model.rfc3339 import stamp
from sampan.store.containers import NameTakenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine import Engine
    from sampan.linux.userns import IdMap
    from sampan.model.container import Record, RunOptions
    from sampan.model.mount import Snapshot
    from sampan.store.images import Image

NAME_TRIES = 100
THERMAL = "/sys/devices/system/cpu/cpu{}/thermal_throttle"


class Builder:
    """Who makes a container as a step of a build: its pid and start time, and the copies of its secrets."""

    __slots__ = ("confided", "process")

    def __init__(self, process: list[int], confided: dict[str, bytes]) -> None:
        self.process, self.confided = process, confided


class Created:
    """A new container, with the snapshot that its first run uses."""

    __slots__ = ("record", "snapshot", "spec")

    def __init__(self, record: Record, document: dict[str, Any], snapshot: Snapshot) -> None:
        self.record, self.spec, self.snapshot = record, document, snapshot


def create(
    engine: Engine,
    image: Image,
    chosen: RunOptions,
    *,
    sync: bool = True,
    committing: Callable[[], None] | None = None,
    builder: Builder | None = None,
) -> Created:
    """Commit a container. Nothing is left behind when it fails.

    committing: called when all is made and what follows is there for all to see.
    builder: it is a step of a build.

    A name that is ours to choose may be taken by somebody who creates at the same moment: then by another one.
    """
    limits.check(engine, chosen)
    networks.settle(engine, chosen)
    if sync:
        from sampan.engine import tidy

        tidy.tidy(engine)
    _check_platform(image)
    config: dict[str, Any] = image.config.get("config") or {}
    if not (chosen["mounts"] or chosen["volumes_from"] or config.get("Volumes")):
        return _named(engine, image, chosen, sync, committing, builder)
    from sampan.engine.mounting import Settled

    with Settled(engine, image, chosen, sync=sync):
        return _named(engine, image, chosen, sync, committing, builder)


def _named(
    engine: Engine,
    image: Image,
    chosen: RunOptions,
    sync: bool,
    committing: Callable[[], None] | None,
    builder: Builder | None,
) -> Created:
    for _ in range(NAME_TRIES):
        try:
            return _create(engine, image, chosen, sync, committing, builder)
        except NameTakenError:
            if chosen["name"]:
                raise
    raise _no_name()


def _create(
    engine: Engine,
    image: Image,
    chosen: RunOptions,
    sync: bool,
    committing: Callable[[], None] | None,
    builder: Builder | None,
) -> Created:
    from sampan.engine import events, hooks, unpack

    config: dict[str, Any] = image.config.get("config") or {}
    idmap = owners = None
    if (
        (chosen["userns"] and "userns" not in isolation.shared(chosen))
        or chosen["uidmap"]
        or chosen["gidmap"]
    ):
        from sampan.engine.idmaps import chosen_map

        idmap = chosen_map(engine, chosen)
    chosen["user"] = chosen["user"] or config.get("User") or ""
    chosen["stop_signal"] = chosen["stop_signal"] or config.get("StopSignal") or "TERM"
    options.signal_number(chosen["stop_signal"])
    chosen["labels"] = {**(config.get("Labels") or {}), **chosen["labels"]}
    if "health" in chosen or config.get("Healthcheck"):
        from sampan.model import health

        check = health.merged(config.get("Healthcheck"), chosen.get("health") or {})
        chosen.pop("health", None)
        if check is not None:
            chosen["health"] = check
    container_id = os.urandom(32).hex()
    name = chosen["name"] or _free_name(engine)
    network = engine.network(chosen["network"])
    if network.name != "container":
        chosen["network"] = network.name  # the one of its names that is recorded
    if "ports" in chosen:
        from sampan.engine import publish

        publish.settle(engine, chosen, config.get("ExposedPorts") or {})
    facts = _facts(engine, container_id, chosen, idmap, private=network.namespace != "host")
    confided: dict[str, bytes] = {}
    if builder is not None:
        confided = builder.confided
    elif "secrets" in chosen:
        from sampan.engine import secrets

        confided = secrets.copies(engine, chosen["secrets"])
    document = spec.build(config, chosen, facts)
    key = snapshot_key(container_id)
    record: Record = {
        "version": 1,
        "id": container_id,
        "name": name,
        "created": stamp(time.time_ns()),
        "image": {"id": image.id, "name": image.name, "digest": image.digest},
        "args": document["process"]["args"],
        "storage": {"driver": engine.storage.name, "key": key, "chain": []},
        "runtime": engine.settings.runtime,
        "options": chosen,
        "engine": __version__,
    }
    if builder is not None:
        record["builder"] = builder.process
    if idmap is not None:
        record["idmap"] = userns.to_json(idmap)
    if chosen["mounts"]:
        from sampan.engine.mounting import name_snapshots

        name_snapshots(record)
    hooks.amend(engine, document, record)
    record["storage"]["chain"] = unpack.chain(image)
    if idmap is not None:
        from sampan.engine import idmaps

        idmaps.copy_layers(engine, record, image)
        owners = idmaps.owners(engine, record)
    made: list[Snapshot] = []

    def prepare() -> None:
        made.append(unpack.snapshot(engine, image, key, record["storage"]["chain"], owners))
        if committing:
            committing()

    try:
        engine.containers.create(
            record,
            document,
            sync=sync,
            more=confided,
            prepare=prepare,
        )
    except BaseException:
        from sampan.engine.remove import remove_snapshots, snapshots_of

        remove_snapshots(engine, snapshots_of(record))
        raise
    for donor in set(isolation.shared(chosen).values()):
        engine.containers.note_joined(donor, container_id)
    events.of_container(engine, record, "create")
    return Created(record, document, made[0])


def snapshot_key(container_id: str) -> str:
    return f"c{container_id[:31]}"


def _check_platform(image: Image) -> None:
    from sampan.model.seccomp import ARCHITECTURES

    machine = ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    if (
        image.architecture
        and image.architecture != machine
        and not (machine == "amd64" and image.architecture == "386")
    ):
        raise UnsupportedError(
            f"cannot run {image.name}",
            f"image is {image.os}/{image.architecture}, host is linux/{machine}",
            f"pull it again with --platform linux/{machine}",
        )


def _free_name(engine: Engine) -> str:
    for _ in range(NAME_TRIES):
        name = names.random_name()
        if not engine.containers.name_taken(name):
            return name
    raise _no_name()


def _no_name() -> InUseError:
    return InUseError("no free container name was found", "", "give one with --name")


def _hostname(engine: Engine, container_id: str, chosen: RunOptions, private: bool) -> str:
    """Of the host or of another container, if its UTS namespace is shared, or its network."""
    joined = isolation.shared(chosen)
    donor = joined.get("uts") or joined.get("network")
    if donor:
        return str(engine.containers.spec(donor)["hostname"])
    own = private and chosen["uts"] != "host"
    return container_id[:12] if own else os.uname().nodename


def _facts(
    engine: Engine, container_id: str, chosen: RunOptions, idmap: IdMap | None, *, private: bool
) -> spec.Facts:
    hostname = chosen["hostname"] or _hostname(engine, container_id, chosen, private)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    masks: list[str] = []
    if os.path.exists(THERMAL.format(0)):
        masks = [THERMAL.format(number) for number in range(os.cpu_count() or 1)]
    return spec.Facts(
        container_id,
        hostname,
        gids=(idmap or engine.idmap).gids,
        private_network=private,
        nofile=hard if hard >= 0 else 1 << 20,
        masks=masks,
        idmap=idmap,
        ipv6=os.path.isdir("/proc/sys/net/ipv6"),
    )
