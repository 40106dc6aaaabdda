"""What a forked child does on its way to the container's program, given as data.

`init` makes the container's root and becomes its first process; `join` enters a running container (setns(2) with
a pidfd joins all its namespaces at once), non-dumpable, so that nothing inside can look at it.  Both can be done
by the fork itself or, where `restart` says so, by the interpreter started again.
"""

from __future__ import annotations

import _socket
import os

from sampan.errors import NotFoundError
from sampan.linux import libc, loopback, processes, sockets
from sampan.model.contract import Io
from sampan_runtime import child, console, identity, restart
from sampan_runtime.rootfs import Root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def begin(
    kind: str, job: dict[str, Any], io: Io, report: sockets.Socket, program_filter: bytes | None
) -> None:
    """Do the job in this child; `report` becomes part of it."""
    nested = kind == "init" and _has(job["spec"], "user")
    if nested:
        _await_map(report)
    if kind == "init" and job["spec"]["linux"].get("cgroupsPath") and _has(job["spec"], "cgroup"):
        libc.unshare(libc.CLONE_NEWCGROUP)
    job = {
        **job,
        "io": [io.stdin, io.stdout, io.stderr, io.console, *io.keep],
        "report": child.move_up(report.fileno(), 3 + len(io.keep)),
    }
    if restart.is_needed():
        if nested:
            identity.become_root(
                job["spec"]["linux"]
            )  # execve(2) leaves capabilities to root alone
        restart.restart(
            kind, job, [fd for fd in (*job["io"], job["report"]) if fd >= 0], program_filter
        )
    run(kind, job, program_filter)


def _await_map(report: sockets.Socket) -> None:
    """Let the monitor map the ids of this process's new user namespace.

    The file for it belongs to the host's root while the process is non-dumpable; nothing of the container runs yet.
    """
    libc.prctl(libc.PR_SET_DUMPABLE, 1)
    sockets.send(report, b"map")
    answer = sockets.receive(report)[0]
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    if answer != b"mapped":
        os._exit(125)  # the monitor is gone


def run(kind: str, job: dict[str, Any], program_filter: bytes | None) -> None:
    """Never returns: the program is executed, or the error is told."""
    stdin, stdout, stderr, terminal, *keep = job["io"]
    io = Io(stdin, stdout, stderr, terminal, tuple(keep))
    report = sockets.of(job["report"])
    os.set_inheritable(job["report"], False)
    action = _init if kind == "init" else _join
    child.in_child(report, lambda: action(job, io, report, program_filter))


def _init(
    job: dict[str, Any], io: Io, report: sockets.Socket, program_filter: bytes | None
) -> None:
    spec: dict[str, Any] = job["spec"]
    processes.die_with_parent()
    join_namespaces(spec)
    root = Root(job["bundle"], spec)
    if _has(spec, "user"):
        identity.become_root(spec["linux"])
        processes.die_with_parent()
    root.build()
    process = spec["process"]
    if spec.get("hostname") and _has(spec, "uts"):
        libc.sethostname(spec["hostname"])
    network = _loopback_up() if _has(spec, "network") else None
    root.make_directory(process["cwd"])
    peer = -1
    if process.get("terminal"):
        peer = console.open_console(root.fd, io.console, process.get("consoleSize"))
    root.enter()
    sockets.send(report, b"ready", [network.fileno()] if network else [])
    network = None
    if sockets.receive(report)[0] != b"start":
        os._exit(125)  # the monitor is gone
    _become(process, io, peer, report, program_filter, asks=_asks(spec))


def _asks(spec: dict[str, Any]) -> bool:
    """Whether the seccomp filter asks about some calls."""
    profile: dict[str, Any] = spec["linux"].get("seccomp") or {}
    rows: list[dict[str, Any]] = profile.get("syscalls") or []
    return any(row["action"] == "SCMP_ACT_NOTIFY" for row in rows)


def _join(
    job: dict[str, Any], io: Io, report: sockets.Socket, program_filter: bytes | None
) -> None:
    """The joining process stays as the parent, outside the pid namespace, and hands on the exit status."""
    processes.die_with_parent()
    inner = _enter_and_fork(job["target"], job["started"], job["namespaces"])
    if inner == 0:
        process = job["process"]
        processes.die_with_parent()
        peer = -1
        if process.get("terminal"):
            root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            peer = console.open_console(root, io.console, process.get("consoleSize"), bind=False)
            os.close(root)
        _become(process, io, peer, report, program_filter)
    libc.close_range(0)  # the report among them: it tells by its end that the program is executed
    os._exit(processes.exit_code(inner))


def _enter_and_fork(target: int, started: int, namespaces: int) -> int:
    """Join the namespaces (CLONE_NEW*) of the process `target`, which started at `started`; fork inside.

    Returns 0 in the new process, its pid (as seen here) in the caller.
    """
    pidfd = processes.open_if_same(target, started)
    if pidfd is None:
        raise NotFoundError("cannot join the container", "its first process has ended")
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    libc.setns(pidfd, namespaces)
    os.close(pidfd)
    return os.fork()


def _become(
    process: dict[str, Any],
    io: Io,
    peer: int,
    report: sockets.Socket,
    program_filter: bytes | None,
    *,
    asks: bool = False,
) -> None:
    """Streams or terminal, identity, program."""

    def hand_on(listener: int) -> None:
        sockets.send(report, child.LISTENER, [listener])
        os.close(listener)

    if peer >= 0:
        console.take(peer)
    else:
        os.setsid()
        child.place_streams((io.stdin, io.stdout, io.stderr, *io.keep))
    identity.become(process, program_filter, hand_on if asks else None)
    processes.die_with_parent()
    identity.change_directory(process["cwd"])
    identity.execute(process, report.fileno(), len(io.keep))


def _has(spec: dict[str, Any], kind: str) -> bool:
    """Whether the container has a namespace of this kind that nobody else had before."""
    return any(
        namespace["type"] == kind and "path" not in namespace
        for namespace in spec["linux"]["namespaces"]
    )


def join_namespaces(spec: dict[str, Any]) -> None:
    """Join what the document names by path; a pid namespace has been joined by the process's birth."""
    for namespace in spec["linux"]["namespaces"]:
        if "path" in namespace and namespace["type"] != "pid":
            fd = os.open(namespace["path"], os.O_RDONLY | os.O_CLOEXEC)
            libc.setns(fd, libc.NAMESPACES[namespace["type"]])
            os.close(fd)


def _loopback_up() -> sockets.Socket:
    """The socket with which it was done: it belongs to the container's network namespace."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    loopback.bring_up(sock.fileno())
    return sock
