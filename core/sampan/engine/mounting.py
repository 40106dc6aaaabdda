"""What a new container mounts beside the user's own mounts, and the volumes and images that it needs.

The user's flags come first, then what --volumes-from brings, then the image's VOLUMEs.  A volume that is not there
is made, as Docker does.
"""

from __future__ import annotations

import os

from sampan.errors import UsageError
from sampan.model import mounts as model
from sampan.model.mount_words import PROPAGATION, check_target
from sampan.store.volumes import VolumeExistsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.model.container import Record, RunOptions
    from sampan.model.mount import Snapshot
    from sampan.model.mounts import Mount
    from sampan.store.images import Image

BORROWED = ("ro", "rw", "z", "Z", *PROPAGATION)


class Settled:
    """`with Settled(...)`: the container's mounts are complete; when it fails, the anonymous volumes are gone."""

    def __init__(self, engine: Engine, image: Image, chosen: RunOptions, *, sync: bool) -> None:
        self._engine, self._chosen, self._sync = engine, chosen, sync
        config: dict[str, Any] = image.config.get("config") or {}
        self._volumes: dict[str, Any] = config.get("Volumes") or {}
        self._made: list[str] = []

    def __enter__(self) -> Settled:
        found = {os.path.normpath(m["destination"]): m for m in self._chosen["mounts"]}
        for target, mount in {**_declared(self._volumes, self._chosen), **self._borrowed()}.items():
            found.setdefault(target, mount)
        self._chosen["mounts"] = list(found.values())
        try:
            for mount in self._chosen["mounts"]:
                if mount["type"] == "volume":
                    self._ensure(mount)
                elif mount["type"] == "image" and "chain" not in mount:
                    _resolve(self._engine, mount)
        except BaseException:
            self._drop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._drop()
            return
        # A volume that was removed before the container was committed is made anew, and now nobody may remove it.
        with self._engine.volumes.lock():
            for mount in self._chosen["mounts"]:
                if mount["type"] == "volume":
                    self._ensure(mount)

    def _drop(self) -> None:
        if self._made:
            from sampan.engine import volumes

            volumes.drop(self._engine, self._made)

    def _ensure(self, mount: Mount) -> None:
        from sampan.engine import volumes

        anonymous = not mount["name"]
        if not anonymous and self._engine.volumes.exists(mount["name"]):
            return
        try:
            made = volumes.create(
                self._engine,
                mount["name"],
                driver=mount["driver"],
                options=mount["driver_options"],
                labels=mount["labels"],
                anonymous=anonymous or mount["name"] in self._made,
                sync=self._sync,
            )
        except VolumeExistsError:
            return  # somebody else needs the same volume at this moment
        os.close(made.fd)
        if anonymous:
            mount["name"] = made.name
            self._made.append(made.name)

    def _borrowed(self) -> dict[str, Mount]:
        """The mounts of --volumes-from; of two for one target the later one counts, as with podman."""
        found: dict[str, Mount] = {}
        for word in self._chosen["volumes_from"]:
            name, _, text = word.partition(":")
            options = [option for option in text.split(",") if option]
            unknown = [option for option in options if option not in BORROWED]
            if unknown or ("ro" in options and "rw" in options):
                raise UsageError(
                    f"invalid --volumes-from {word!r}",
                    f"options {text!r}",
                    f"known: {', '.join(BORROWED)}",
                )
            record = self._engine.containers.get(name).record
            for mount in record["options"]["mounts"]:
                if mount["type"] in ("bind", "volume"):
                    found[os.path.normpath(mount["destination"])] = _with(mount, options)
        return found


def _with(mount: Mount, options: list[str]) -> Mount:
    kept = list(mount["options"])
    for option in options:
        group = ("ro", "rw") if option in ("ro", "rw") else PROPAGATION
        if option not in ("z", "Z"):
            kept = [old for old in kept if old not in group] + [option]
    return {key: value for key, value in mount.items() if key != "chown"} | {"options": kept}


def _declared(volumes: dict[str, Any], chosen: RunOptions) -> dict[str, Mount]:
    """The image's VOLUMEs."""
    from sampan.model.mount_words import named, tmpfs

    found: dict[str, Mount] = {}
    for word in sorted(volumes):
        if chosen["image_volume"] == "ignore":
            continue
        target = check_target(f"/{word}")  # a word that is no path is one below the root
        found[target] = (
            tmpfs(f"{target}:exec,tmpcopyup")
            if chosen["image_volume"] == "tmpfs"
            else named("", target, [])
        )
    return found


def _resolve(engine: Engine, mount: Mount) -> None:
    """The image of a mount becomes a chain of layers, of which the container has a snapshot of its own."""
    from sampan.engine import unpack
    from sampan.engine.obtain import obtain

    image = obtain(engine, mount["source"])
    mount["id"], mount["driver"], mount["chain"] = (
        image.id,
        engine.storage.name,
        unpack.chain(image),
    )
    unpack.ready(engine, image)


def name_snapshots(record: Record) -> None:
    """Give the snapshots of mounted images their keys."""
    for number, mount in enumerate(record["options"]["mounts"]):
        if mount["type"] == "image":
            mount["key"] = f"{record['storage']['key']}-{number}"


def prepare(engine: Engine, record: Record) -> dict[str, Snapshot]:
    """The snapshots of the images that the container mounts, by the number of the mount."""
    from sampan.engine import idmaps, unpack

    owners = idmaps.owners(engine, record)
    return {
        str(number): unpack.prepare(
            engine.driver("storage", mount["driver"]),
            mount["key"],
            mount["chain"],
            owners,
            readonly=model.is_readonly(mount),
        )
        for number, mount in enumerate(record["options"]["mounts"])
        if mount["type"] == "image"
    }
