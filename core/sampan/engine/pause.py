"""Stopping a container's processes for a while, without a control group: SIGSTOP, later SIGCONT.

A child joins the container's user namespace, where it may see and signal all of its processes, and
stops those of the pid namespace until a look finds no new one.  It goes on with them when the
caller says so or is gone: its end of the pipe closes either way.
"""

from __future__ import annotations

import contextlib
import os
import signal

from sampan import jsontext
from sampan.engine import idmaps
from sampan.errors import InUseError, from_report, to_report
from sampan.linux import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from sampan.engine import Engine
    from sampan.store.containers import Container

ROUNDS = 50


@contextlib.contextmanager
def paused(
    engine: Engine, container: Container, wanted: bool = True
) -> Generator[None, None, None]:
    """The container's processes stand still in the block; one that does not run needs nothing."""
    run = container.run
    if not wanted or not container.live or run is None:
        yield
        return
    pidfd = processes.open_if_same(run["pid"], run["start_time"])
    if pidfd is None:
        raise InUseError(
            f"cannot pause container {container.id[:12]}", "it has just ended", "try again"
        )
    hold_read, hold = os.pipe()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(hold)
        os.close(told)
        _child(container, pidfd, hold_read, tell)
    for fd in (hold_read, tell, pidfd):
        os.close(fd)
    try:
        answer = os.read(told, 1 << 16)
        if answer != b"null":
            raise from_report(jsontext.loads(answer or b'["cannot pause the container","","",125]'))
        yield
    finally:
        os.close(hold)
        os.waitpid(pid, 0)
        os.close(told)


def _child(container: Container, pidfd: int, hold: int, tell: int) -> None:
    stopped: dict[int, int] = {}
    try:
        os.setpgid(0, 0)  # an interrupt at the terminal is the caller's
        idmaps.join(container.record, pidfd)
        _stop(scope(container), stopped)
        os.write(tell, b"null")
        os.read(hold, 1)
    except BaseException as error:
        os.write(tell, jsontext.dumps(to_report(error, "cannot pause the container")).encode())
    finally:
        for fd in stopped.values():
            processes.send_signal(fd, signal.SIGCONT)
        os._exit(0)


def stop_all(container: Container) -> None:
    """Stop every process of the container until `end_stop`; in a child that may signal them."""
    _stop(scope(container), {})


def end_stop(container: Container) -> None:
    """Let every process of the container go on."""
    for pid in pids(container):
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        if _is_inside(pid, scope(container)):
            processes.send_signal(fd, signal.SIGCONT)
        os.close(fd)


def pids(container: Container) -> list[int]:
    """The processes of a live container, as the host numbers them; in a child that may look at them."""
    wanted = scope(container)
    return [pid for pid in processes.every() if _is_inside(pid, wanted)]


def scope(container: Container) -> tuple[str, int]:
    """What tells the container's processes from others: their pid namespace, or their mounts if that is shared."""
    assert container.run is not None
    kind = "mnt" if container.record["options"]["pid"] else "pid"
    return kind, processes.namespace(container.run["pid"], kind)


def _stop(namespace: tuple[str, int], stopped: dict[int, int]) -> None:
    """SIGSTOP to every process of the container; new ones may appear while we look."""
    for _ in range(ROUNDS):
        new = 0
        for pid in processes.every():
            if pid not in stopped and _is_inside(pid, namespace):
                try:
                    fd = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue
                if not _is_inside(pid, namespace):  # the number went to another one
                    os.close(fd)
                    continue
                if _stands(pid):  # somebody else has stopped it, and will go on with it
                    os.close(fd)
                    continue
                processes.send_signal(fd, signal.SIGSTOP)
                stopped[pid] = fd
                new += 1
        if not new:
            return
    raise InUseError(
        "cannot pause the container", "it makes processes faster than they are stopped"
    )


def _is_inside(pid: int, wanted: tuple[str, int]) -> bool:
    kind, inode = wanted
    return inode != 0 and processes.namespace(pid, kind) == inode


def _stands(pid: int) -> bool:
    """Whether it is stopped, or has just ended."""
    return processes.stat(pid)[:1] in ([b"T"], [])
