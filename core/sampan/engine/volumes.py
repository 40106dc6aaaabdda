"""volume: create, list, inspect, remove, prune, export and import."""

from __future__ import annotations

import os
import time

from sampan import files, jsontext
from sampan.engine import events
from sampan.errors import InUseError, NotFoundError
from sampan.linux import userns
from sampan.model import mounts
from sampan.model.rfc3339 import stamp
from sampan.model.volume import Volume, check_name
from sampan.store.volumes import VolumeExistsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from sampan.drivers import VolumeDriver
    from sampan.engine import Engine
    from sampan.store.containers import Container


def driver_of(engine: Engine, volume: Volume) -> VolumeDriver:
    return engine.driver("volume", volume.driver)  # type: ignore[no-any-return]


def create(
    engine: Engine,
    name: str = "",
    *,
    driver: str = "local",
    options: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    anonymous: bool = False,
    sync: bool = True,
) -> Volume:
    """A new volume; without a name it gets one of 64 hexadecimal digits. VolumeExistsError."""
    name = check_name(name) if name else os.urandom(32).hex()
    if engine.volumes.exists(name):
        raise VolumeExistsError(f"volume with name {name} already exists", "volume already exists")
    made = Volume(
        name, driver, options or {}, labels or {}, stamp(time.time_ns()), anonymous=anonymous
    )
    engine.volumes.create(made, engine.driver("volume", driver).create, sync=sync)
    events.emit(engine, "volume", "create", name, name)
    return made


def users(engine: Engine) -> dict[str, list[Container]]:
    """The containers by the volumes that they name."""
    found: dict[str, list[Container]] = {}
    for container in engine.containers.all():
        for name in mounts.volumes(container.record["options"]["mounts"]):
            found.setdefault(name, []).append(container)
    return found


def remove(engine: Engine, word: str, *, force: bool = False, timeout: float = 10) -> str:
    """Remove a volume; with `force` the containers that use it go first. Returns its name."""
    volume = engine.volumes.find(word)
    os.close(volume.fd)
    if force:
        from sampan.engine.remove import remove as remove_container

        for container in users(engine).get(volume.name, ()):
            remove_container(engine, container.id, force=True, timeout=timeout)
    with engine.volumes.lock():
        using = users(engine).get(volume.name)
        if using:
            ids = ", ".join(container.id for container in using)
            raise InUseError(
                f"volume {volume.name} is being used by the following container(s): {ids}",
                "volume is being used",
                exit_status=2,
            )
        driver_of(engine, volume)  # one that is not installed could not give back what it has
        doomed = engine.volumes.put_aside(volume.name)
    userns.run(engine.idmap, lambda: discard(engine, doomed))
    events.emit(engine, "volume", "remove", volume.name, volume.name)
    return volume.name


def discard(engine: Engine, name: str) -> None:
    """Remove a draft or remains, inside the user namespace."""
    volume = engine.volumes.draft(name)
    if volume is not None:
        driver_of(engine, volume).remove(volume)
        os.close(volume.fd)
    engine.volumes.discard(name)


def drop(engine: Engine, names: Iterable[str], *, inside: bool = False) -> None:
    """Remove those volumes that were made for a container that gave them no name, and that nobody uses.

    inside: this process is in the user namespace already.
    """
    doomed: list[str] = []
    with engine.volumes.lock():
        using = users(engine)
        for name in names:
            try:
                volume = engine.volumes.get(name)
            except NotFoundError:
                continue
            os.close(volume.fd)
            if volume.anonymous and name not in using:
                doomed.append(engine.volumes.put_aside(name))
    if inside:
        _discard_all(engine, doomed)
    elif doomed:
        userns.run(engine.idmap, lambda: _discard_all(engine, doomed))


def tidy(engine: Engine) -> None:
    """Remove what killed creators and removers have left."""
    doomed = engine.volumes.abandoned()
    if doomed:
        userns.run(engine.idmap, lambda: _discard_all(engine, doomed))


def _discard_all(engine: Engine, names: Iterable[str]) -> None:
    for name in names:
        try:
            discard(engine, name)
        except NotFoundError:  # its driver is not installed any more: it keeps what it has
            continue


def describe(
    engine: Engine, volume: Volume, using: Mapping[str, list[Container]]
) -> dict[str, Any]:
    """The volume as Docker's and podman's clients read it."""
    try:
        path = driver_of(engine, volume).path(volume)
    except NotFoundError:
        path = ""
    running = [c for c in using.get(volume.name, ()) if c.run]
    return {
        "Name": volume.name,
        "Driver": volume.driver,
        "Mountpoint": path,
        "CreatedAt": volume.created,
        "Labels": volume.labels,
        "Scope": "local",
        "Options": volume.options,
        "UID": 0,
        "GID": 0,
        "Anonymous": volume.anonymous,
        "MountCount": len(running),
        "NeedsCopyUp": not engine.volumes.noted(volume, "copied"),
        "NeedsChown": not engine.volumes.noted(volume, "used"),
    }


def described(engine: Engine, volumes: Iterable[Volume]) -> list[dict[str, Any]]:
    using = users(engine)
    found: list[dict[str, Any]] = []
    for volume in volumes:
        found.append(describe(engine, volume, using))
        os.close(volume.fd)
    return found


def usages(engine: Engine) -> list[tuple[str, int]]:
    """The volumes' names and the bytes that they take."""
    answer = os.memfd_create("usages", os.MFD_CLOEXEC)

    def measure() -> None:
        sizes: list[tuple[str, int]] = []
        for volume in engine.volumes.all():
            try:
                sizes.append((volume.name, driver_of(engine, volume).usage(volume)))
            except NotFoundError:  # its driver is not installed any more
                sizes.append((volume.name, 0))
            os.close(volume.fd)
        files.write_all(answer, jsontext.dumps(sizes).encode())

    userns.run(engine.idmap, measure)
    os.lseek(answer, 0, os.SEEK_SET)
    sizes: list[tuple[str, int]] = jsontext.loads(
        files.read_fd(answer, "the volumes' sizes", 64 << 20)
    )
    os.close(answer)
    return [(name, size) for name, size in sizes]


def unused(engine: Engine) -> list[Volume]:
    """The volumes that no container names; their descriptors are closed."""
    using = users(engine)
    found: list[Volume] = []
    for volume in engine.volumes.all():
        os.close(volume.fd)
        if volume.name not in using:
            found.append(volume)
    return found


def prune(engine: Engine, names: Iterable[str]) -> list[str]:
    """Remove those of the volumes that are still unused; returns their names."""
    gone: list[str] = []
    tidy(engine)
    for name in names:
        try:
            gone.append(remove(engine, name))
        except (InUseError, NotFoundError):  # somebody was faster
            continue
    return gone
