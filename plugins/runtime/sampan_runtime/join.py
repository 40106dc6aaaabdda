"""exec: a further process in the namespaces of a running container.

The process that enters is non-dumpable before it joins, so nothing inside can look at it; inside it does only
system calls until it executes the program (setns(2) with a pidfd joins all namespaces at once).
"""

from __future__ import annotations

import os

from sampan.errors import NotFoundError
from sampan.linux import libc, processes, sockets
from sampan.model.contract import Process
from sampan_runtime import child, console, identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.model.contract import Io

NAMESPACES = (
    libc.CLONE_NEWNS
    | libc.CLONE_NEWPID
    | libc.CLONE_NEWNET
    | libc.CLONE_NEWIPC
    | libc.CLONE_NEWUTS
    | libc.CLONE_NEWCGROUP
)


def enter_and_fork(target: int, started: int) -> int:
    """Join the namespaces of the process `target`, which started at `started`; fork into its pid namespace.

    Returns 0 in the new process, its pid (as seen here) in the caller.
    """
    pidfd = processes.open_if_same(target, started)
    if pidfd is None:
        raise NotFoundError("cannot join the container", "its first process has ended")
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    libc.setns(pidfd, NAMESPACES)
    os.close(pidfd)
    return os.fork()


def become_and_execute(
    process: dict[str, Any], io: Io, program_filter: bytes | None, sock: sockets.Socket
) -> None:
    """In the new process: streams or terminal, identity, program."""
    processes.die_with_parent()
    if process.get("terminal"):
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        console.take(console.open_console(root, io.console, process.get("consoleSize"), bind=False))
        os.close(root)
    else:
        os.setsid()
        child.place_streams((io.stdin, io.stdout, io.stderr, *io.keep))
    identity.become(process, program_filter)
    processes.die_with_parent()
    identity.change_directory(process["cwd"])
    identity.execute(process, sock.fileno(), len(io.keep))


def run(
    target: int, started: int, process: dict[str, Any], io: Io, program_filter: bytes | None
) -> Process:
    """Run the OCI `process` in the container; returns when its program was executed."""
    ours, theirs = sockets.pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        report = sockets.of(child.move_up(theirs.detach(), 3 + len(io.keep)))
        child.in_child(report, lambda: _enter(target, started, process, io, program_filter, report))
    theirs.close()
    child.expect_executed(ours, pid)
    return Process(pid, os.pidfd_open(pid))


def _enter(
    target: int,
    started: int,
    process: dict[str, Any],
    io: Io,
    program_filter: bytes | None,
    report: sockets.Socket,
) -> None:
    """The joining process stays as the parent, outside the pid namespace, and hands on the exit status."""
    inner = enter_and_fork(target, started)
    if inner == 0:
        become_and_execute(process, io, program_filter, report)
    report.close()
    _, status = os.waitpid(inner, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)
