"""The monitor: one small process a container, from before its first process until after its last byte.

It holds the container's user namespace and root mount, pumps its streams, keeps its log, and writes how it
ended.  If it is killed, the container's first process dies with it (PDEATHSIG), the kernel takes back every
mount, and the missing exit record says that nobody saw the end.
"""

from __future__ import annotations

import os

from sampan.errors import SampanError, to_report
from sampan.linux import libc, processes, sockets, userns
from sampan.linux.marks import mark
from sampan.linux.messages import receive, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from sampan.linux.userns import IdMap
    from sampan.model.container import Run


def main(
    sock: sockets.Socket, idmap: IdMap, join: Run | None = None, nest: int = -1, enter: int = -1
) -> NoReturn:
    """Make the namespaces, wait for the plan, run it; leave with the status 0 whatever the container does."""
    try:
        plan, fds = _prepare(sock, idmap, join, nest, enter)
        if plan is not None:
            from sampan.engine.supervise import Supervisor

            Supervisor(sock, idmap, plan, fds).run()
    except BaseException as error:
        send(sock, {"kind": "error", "error": to_report(error, "the monitor failed")})
        os._exit(125)
    os._exit(0)


def _prepare(
    sock: sockets.Socket, idmap: IdMap, join: Run | None = None, nest: int = -1, enter: int = -1
) -> tuple[dict[str, Any] | None, list[int]]:
    """Leave the caller's session, descriptors and user namespace behind; receive the plan."""
    processes.detach({sock.fileno(), nest, enter} - {-1})
    if nest >= 0:
        userns.nest(nest, idmap)
        os.close(nest)
    elif enter >= 0:
        userns.enter_existing(enter)
        os.close(enter)
        userns.check(idmap)
    elif join is None:
        userns.enter(idmap)
    else:
        from sampan.engine import sharing

        sharing.join(join)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    libc.set_name("sampan-monitor")
    _own_mounts()
    send(sock, {"kind": "ready"})
    mark("  namespaces made")
    __import__("sampan.engine.supervise")  # while the command is still parsing

    early: list[int] = []  # signals that came to the command before it had sent the plan
    while True:
        message, fds = receive(sock, 64)
        if message is None:
            return None, fds
        if message["kind"] == "run":
            return {**message, "signals": early}, fds
        if message["kind"] == "signal":
            early.append(message["number"])
        elif message["kind"] == "prepare":
            _preload(message)


def _own_mounts() -> None:
    """A mount namespace of our own, which hears of the host's mounts but tells nobody of ours."""
    from sampan.linux import mounts

    try:
        libc.unshare(libc.CLONE_NEWNS)
        mounts.change_propagation("/", mounts.MS_SLAVE)
    except PermissionError as error:
        raise SampanError(
            "cannot mount in a user namespace",
            error.strerror or str(error),
            "a security module or an outer container's seccomp profile forbids it; "
            "an administrator can allow it for sampan",
        ) from None


def _preload(message: dict[str, Any]) -> None:
    """Import the drivers that the plan will name, while the command resolves the image."""
    from sampan.plugins import Plugins

    plugins = Plugins("", message["plugins"])
    for concern, name in message["drivers"]:
        try:
            plugins.load(plugins.entry(concern, name))
        except SampanError:
            return  # the plan may name others; if not, it fails with this very error
