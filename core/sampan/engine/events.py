"""Events: what happened to containers, images and volumes, a JSON object a line, in the order in which it was told.

`events` in the store's root is appended to by whoever did it, command or monitor; one write is one line (O_APPEND,
write(2)).  A log that has grown to LIMIT becomes `events.old`, and the older one is forgotten.
Statuses are podman's words; Docker's (`die`, `destroy`, ...) are understood where filters are read.
"""

from __future__ import annotations

import errno
import os
import time

from sampan import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.model.container import Record
    from sampan.store.images import Image

LOG = "events"
OLD = "events.old"
LIMIT = 4 << 20


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
    line = jsontext.dumps(event).encode() + b"\n"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(LOG, flags, 0o600, dir_fd=engine.root_fd)
        try:
            if os.fstat(fd).st_size > LIMIT:
                fd = _renew(engine.root_fd, fd, flags)
            os.write(fd, line)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO):
            raise


def _renew(root_fd: int, fd: int, flags: int) -> int:
    """Begin the log anew, unless somebody else has just done so."""
    import fcntl

    fcntl.flock(fd, fcntl.LOCK_EX)
    here, there = os.fstat(fd), os.stat(LOG, dir_fd=root_fd, follow_symlinks=False)
    if here.st_ino == there.st_ino:
        os.rename(LOG, OLD, src_dir_fd=root_fd, dst_dir_fd=root_fd)
    os.close(fd)
    return os.open(LOG, flags, 0o600, dir_fd=root_fd)


def of_image(engine: Engine, image: Image, status: str, name: str = "") -> None:
    """An event of an image. `name`: the name that it is about."""
    emit(engine, "image", status, image.id.removeprefix("sha256:"), name or image.name)


def of_arrival(engine: Engine, status: str, source: str) -> None:
    """Images were pulled or loaded: Docker and podman tell from where, not which."""
    emit(engine, "image", status, "", source)


def of_container(
    engine: Engine, record: Record, status: str, more: dict[str, Any] | None = None
) -> None:
    """An event of a container, with its labels and its image."""
    attributes = {**record["options"]["labels"], "image": record["image"]["name"], **(more or {})}
    emit(engine, "container", status, record["id"], record["name"], attributes)
