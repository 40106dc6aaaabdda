"""Events: what happened to containers, images and volumes, a JSON object a line, in the order in which it was told.

The log has podman's format and is appended to by whoever did it, command or monitor; one write is one line (O_APPEND,
write(2)).  One that has grown to its limit is made anew with its later half, under a lock that writers share.
Statuses are podman's words; Docker's (`die`, `destroy`, ...) are understood where filters are read.
"""

from __future__ import annotations

import errno
import os
import time

from sampan import jsontext
from sampan.model.rfc3339 import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.model.container import Record
    from sampan.store.images import Image

LOG = "events"  # in the store's root, unless the settings name another file
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def emit(
    engine: Engine,
    kind: str,
    status: str,
    identity: str,
    name: str = "",
    attributes: dict[str, Any] | None = None,
) -> None:
    """Tell of one thing. A disk that takes no more makes no difference to what happened.

    kind: container, image, volume or system.  identity: its id, or its name where it has no id.
    """
    if engine.settings.events_backend == "none":
        return
    event: dict[str, Any] = {
        "time": time.time_ns(),
        "type": kind,
        "status": status,
        "id": identity,
        "name": name,
        "attributes": attributes or {},
    }
    engine.plugins.announce("sampan_event", event=event)
    try:
        _append(engine, _line(event))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO):
            raise


def log_of(engine: Engine) -> str:
    """The path of the log."""
    return engine.settings.events_file or f"{engine.settings.root}/{LOG}"


def _line(event: dict[str, Any]) -> bytes:
    """As podman's libpod/events writes it."""
    attributes: dict[str, Any] = event["attributes"]
    line = {
        "ID": event["id"],
        "Image": str(attributes.get("image", "")),
        "Name": event["name"],
        "Status": event["status"],
        "Time": stamp(event["time"]),
        "Type": event["type"],
        "Attributes": attributes,
    }
    told = {key: value for key, value in line.items() if value}
    return jsontext.dumps(told, compact=True).encode() + b"\n"


def _append(engine: Engine, line: bytes) -> None:
    import fcntl

    path = log_of(engine)
    while True:
        fd = os.open(path, _FLAGS, 0o600)
        try:
            full = os.fstat(fd).st_size >= int(engine.settings.events_max_size)
            fcntl.flock(fd, fcntl.LOCK_EX if full else fcntl.LOCK_SH)
            if _is_named(fd, path):  # else somebody has just made it anew
                if full:
                    return _renew(fd, path, line)
                os.write(fd, line)
                return
        finally:
            os.close(fd)


def _is_named(fd: int, path: str) -> bool:
    """Whether the log is still this file, and not one that took its place."""
    try:
        there = os.lstat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _renew(fd: int, path: str, line: bytes) -> None:
    """Put the later half of the log, a word about it and the new line in its place. The lock is held alone."""
    from sampan import files

    size = os.fstat(fd).st_size
    half = os.pread(fd, size - size // 2, size // 2).partition(b"\n")[2]
    event = {
        "time": time.time_ns(),
        "type": "system",
        "status": "log-rotation",
        "id": "",
        "name": path,
    }
    parent, name = os.path.split(path)
    directory = files.open_directory(parent)
    try:
        data = half + _line({**event, "attributes": {}}) + line
        files.write_atomic(directory, name, data, sync=False)
    finally:
        os.close(directory)


def of_image(engine: Engine, image: Image, status: str, name: str = "") -> None:
    """An event of an image. `name`: the name that it is about."""
    emit(engine, "image", status, image.id.removeprefix("sha256:"), name or image.name)


def of_arrival(engine: Engine, status: str, source: str) -> None:
    """Images were pulled or loaded: Docker and podman tell from where, not which."""
    emit(engine, "image", status, "", source)


def of_container(
    engine: Engine, record: Record, status: str, more: dict[str, Any] | None = None
) -> None:
    """An event of a container, with its labels and its image; those of builds are nobody's business."""
    if "builder" in record:
        return
    attributes = {**record["options"]["labels"], "image": record["image"]["name"], **(more or {})}
    emit(engine, "container", status, record["id"], record["name"], attributes)
