"""The child that reads one layer: it waits for the layer's lock, shuts itself in, and unpacks."""

from __future__ import annotations

import os
import socket
import sys

from sampan import files, jsontext
from sampan.store import apply, confine, records, sidecar
from sampan.store.decompress import Source
from sampan.store.inflate import ceiling
from sampan.store.tar import TarReader
from sampan.store.wire import FDS, MESSAGE, describe, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import LayerWriter
    from sampan.store.jobs import Job, Plan

RESERVE = 64 << 20  # bytes that unpacking leaves free, or a twentieth of a small file system


def child(
    plan: Plan, job: Job, writer: LayerWriter, lock: int, channel: socket.socket, worker: int
) -> None:
    """Unpack one layer. Does not return."""
    try:
        answer = _unpack(plan, job, writer, lock, channel, worker)
    except BaseException as error:
        answer = {"error": describe(error)}
    try:
        send(channel, answer)
    finally:
        os._exit(0)


def _unpack(
    plan: Plan, job: Job, writer: LayerWriter, lock: int, channel: socket.socket, worker: int
) -> dict[str, Any]:
    key = plan.keys[job.index]
    records.lock(lock, key)
    if records.exists(plan.directory, key):
        return {"exists": True}
    span = job.offset, job.size
    source = Source(job.blob, ceiling(job.size), _room(writer.fd), span)
    inherited: dict[bytes, sidecar.Extra] = {}
    if job.inherited_fd >= 0:
        data = files.read_fd(job.inherited_fd, "a sidecar", sidecar.MAX_SIZE)
        inherited = sidecar.parse(data, "a sidecar")
    root = confine.enter(writer.fd, [job.blob, job.sidecar_fd, channel.fileno()], worker)
    # the thread that inflates needs the interpreter only for a moment
    sys.setswitchinterval(0.0005)
    if job.alone:
        source.start()
    aside = sidecar.SidecarWriter(job.sidecar_fd)
    stack = Stack(channel, empty=job.index == 0)
    applier = apply.Applier(root, writer, plan.idmap, aside, stack, inherited)
    reader = TarReader(source.read)
    applier.run(reader)
    source.drain()
    return {
        "diff_id": source.diff_id(),
        "size": source.size,
        "entries": reader.entries,
        "sidecar": aside.count,
        "notices": {**applier.notices(), "trailing": int(bool(source.trailing))},
    }


def _room(directory: int) -> int:
    """The bytes that there is room for, with some left over."""
    status = os.fstatvfs(directory)
    reserve = min(RESERVE, status.f_blocks * status.f_frsize // 20)
    return max(0, status.f_bavail * status.f_frsize - reserve)


class Stack:
    """The directories of the layers below, asked for when first needed."""

    def __init__(self, channel: socket.socket, *, empty: bool) -> None:
        self._channel = channel
        self._fds: list[int] | None = [] if empty else None

    def __call__(self) -> list[int]:
        if self._fds is None:
            send(self._channel, {"stack": True})
            count = jsontext.loads(self._channel.recv(MESSAGE))["count"]
            found: list[int] = []
            while len(found) < count:
                _, fds, _, _ = socket.recv_fds(self._channel, 16, FDS)
                found += fds
            self._fds = found
        return self._fds
