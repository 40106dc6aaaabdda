"""A child in a container's user namespace: it may look at all of the container's processes, and signal them."""

from __future__ import annotations

import os

from sampan import jsontext
from sampan.engine import idmaps
from sampan.errors import from_report, to_report
from sampan.linux import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.store.containers import Container


def call(container: Container, action: Callable[[], Any]) -> Any:
    """What the action returns (a JSON value), or None if the container has ended; its error is raised."""
    run = container.run
    pidfd = processes.open_if_same(run["pid"], run["start_time"]) if run else None
    if pidfd is None:
        return None
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _child(container, pidfd, action, tell)
    os.close(tell)
    os.close(pidfd)
    answer = b""
    while data := os.read(told, 1 << 16):
        answer += data
    os.close(told)
    os.waitpid(pid, 0)
    document: dict[str, Any] = jsontext.loads(answer) if answer else {"value": None}
    if "error" in document:
        raise from_report(document["error"])
    return document["value"]


def _child(container: Container, pidfd: int, action: Callable[[], Any], tell: int) -> None:
    try:
        idmaps.join(container.record, pidfd)
        answer: dict[str, Any] = {"value": action()}
    except BaseException as error:
        answer = {"error": to_report(error, f"cannot look into container {container.name}")}
    try:
        data = jsontext.dumps(answer).encode()
        while data:
            data = data[os.write(tell, data) :]
    finally:
        os._exit(0)
