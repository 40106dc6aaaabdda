"""The id map of a container: the store's, or one of its own in a nested user namespace."""

from __future__ import annotations

import os

from sampan.errors import UsageError
from sampan.linux import libc, userns
from sampan.linux.userns import IdMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.model.container import Record, RunOptions
    from sampan.store.images import Image


def chosen_map(engine: Engine, chosen: RunOptions) -> IdMap | None:
    """The map that was asked for, None for the store's; keep-id also chooses the user."""
    from sampan.model import idmaps

    mode = idmaps.parse(chosen["userns"])
    if chosen["uidmap"] or chosen["gidmap"]:
        if mode.name not in ("", "host"):
            raise UsageError("--userns and --uidmap", "they cannot be used together")
        uids = idmaps.triples(chosen["uidmap"], "--uidmap")
        gids = idmaps.triples(chosen["gidmap"], "--gidmap")
        found: IdMap | None = idmaps.explicit(engine.idmap, uids, gids)
    else:
        own = os.getuid(), os.getgid()
        taken = _taken(engine) if mode.name == "auto" else []
        found = idmaps.of_mode(engine.idmap, mode, own, taken)
        if mode.name == "keep-id":
            _keep_user(chosen, mode.options.get("uid", own[0]), mode.options.get("gid", own[1]))
    return found


def _taken(engine: Engine) -> list[IdMap]:
    """The maps of the containers that have ids for themselves."""
    records = [container.record for container in engine.containers.all()]
    maps = [
        of_record(one) for one in records if one["options"].get("userns", "").startswith("auto")
    ]
    return [found for found in maps if found is not None]


def _keep_user(chosen: RunOptions, uid: int, gid: int) -> None:
    """The container runs as its user, who gets an entry in /etc/passwd."""
    import pwd

    chosen["user"] = chosen["user"] or f"{uid}:{gid}"
    try:
        entry = pwd.getpwuid(os.getuid())
        name, told = entry.pw_name, entry.pw_gecos
    except KeyError:
        name, told = f"user{uid}", ""
    chosen["passwd_entries"].append(
        f"{name}:*:{uid}:{gid}:{told}:{chosen['workdir'] or '/'}:/bin/sh"
    )


def of_record(record: Record) -> IdMap | None:
    """The container's own map, None if it has the store's."""
    told = record.get("idmap")
    return userns.from_json(told) if told else None


def become_root(record: Record) -> None:
    """Root of the container's user namespace, which this process has joined, if its map has a root."""
    own = of_record(record)
    if own is None or own.has(0, 0):
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def join(record: Record, pidfd: int) -> None:
    """Root of the user namespace of the container's process, unseen by what runs there."""
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    libc.setns(pidfd, libc.CLONE_NEWUSER)
    become_root(record)


def owners(engine: Engine, record: Record) -> IdMap | None:
    """How the storage driver is to show owners.

    Nothing is to be translated with one id, nor of layers that were copied for the container's map.
    """
    copied = any("-" in key for key in record["storage"]["chain"])
    return None if engine.idmap.single or copied else of_record(record)


def copy_layers(engine: Engine, record: Record, image: Image) -> None:
    """Have the container use copies of the layers, where the driver cannot translate owners."""
    mapped = owners(engine, record)
    if mapped is None or "mapped-owners" in engine.storage.features:
        return
    from sampan.engine import unpack, warn

    unpack.ready(engine, image)
    storage = record["storage"]
    storage["chain"] = engine.layers.mapped(storage["chain"], mapped, warn)
