"""exec: a further process in a running container, as a child of the command.

The command's own descriptors become the process's streams, so nothing relays them; only a terminal needs a pump.
The child joins the container's user namespace, of which the caller is the owner, and the runtime does the rest.
"""

from __future__ import annotations

import os

from sampan.engine import idmaps, limits, terminal
from sampan.errors import InUseError, from_report, to_report
from sampan.linux import messages, paths, processes, sockets
from sampan.model import process as oci
from sampan.model import users
from sampan.model.contract import Io

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    from sampan.engine import Engine
    from sampan.model.secret import Use
    from sampan.store.containers import Container

    class ExecOptions(TypedDict):
        command: list[str]
        env: dict[str, str]
        user: str
        workdir: str
        tty: bool
        stdin: bool
        privileged: bool
        preserve_fds: int


class Joined:
    """A started process: pid of the child that stands for it, and the pty's master (or -1)."""

    __slots__ = ("master", "pid")

    def __init__(self, pid: int, master: int) -> None:
        self.pid, self.master = pid, master


def execute(engine: Engine, word: str, chosen: ExecOptions) -> Joined:
    """Start the process; SampanError with status 126 or 127 if the program cannot be executed."""
    container = _running(engine, word)
    ours, theirs = sockets.pair()
    console, their_console = sockets.pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        console.close()
        _child(engine, container, chosen, theirs, their_console)
    limits.join(engine, container, pid, ours)
    theirs.close()
    their_console.close()
    _expect_started(ours, pid)
    master = -1
    if chosen["tty"]:
        _, fds = sockets.receive(console, 1)
        master = fds[0]
    console.close()
    return Joined(pid, master)


def execute_detached(engine: Engine, word: str, chosen: ExecOptions) -> str:
    """Start the process in the background, where nobody hears it; returns an id of 64 hexadecimal digits."""
    container = _running(engine, word)
    ours, theirs = sockets.pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _leave_caller()
        console, their_console = sockets.pair()
        pump = os.fork() if chosen["tty"] else -1
        if pump == 0:  # somebody must read what it writes to its terminal
            theirs.close()
            their_console.close()
            _discard(console)
        console.close()
        _child(engine, container, {**chosen, "stdin": False}, theirs, their_console)
    limits.join(engine, container, pid, ours)
    theirs.close()
    _expect_started(ours, pid)
    return os.urandom(32).hex()


def _leave_caller() -> None:
    """A session of its own, and none of the caller's streams."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)


def _discard(console: sockets.Socket) -> None:
    try:
        _, fds = sockets.receive(console, 1)
        while fds and os.read(fds[0], 1 << 16):
            pass
    except OSError:
        pass
    finally:
        os._exit(0)


def _expect_started(report: sockets.Socket, pid: int) -> None:
    """The program is executed, or the child's error is raised."""
    answer, _ = messages.receive(report)
    report.close()
    if answer is not None:
        os.waitpid(pid, 0)
        raise from_report(answer["error"])


def _running(engine: Engine, word: str) -> Container:
    container = engine.containers.get(word)
    if container.state != "running":
        raise InUseError(
            f"cannot exec in container {container.id[:12]}",
            f"container state improper: it is {container.state}, and must be running",
            f"sampan {'unpause' if container.state == 'paused' else 'start'} {word}",
        )
    engine.driver("runtime", container.record["runtime"])  # loaded before the namespaces are joined
    return container


def _child(
    engine: Engine,
    container: Container,
    chosen: ExecOptions,
    report: sockets.Socket,
    console: sockets.Socket,
) -> None:
    """Join the user namespace, run the process, and end as it ends."""
    try:
        run = container.run
        assert run is not None
        limits.await_joined(container, report)
        spec = engine.containers.spec(container.id)
        if uses := container.record["options"].get("secrets"):
            _add_secrets(engine, container.id, uses, spec)
        pidfd = processes.open_if_same(run["pid"], run["start_time"])
        if pidfd is None:
            raise InUseError("cannot join the container", "its first process has ended")
        idmaps.join(container.record, pidfd)
        os.close(pidfd)
        process = _process(engine, container, spec, chosen)
        runtime = engine.driver("runtime", container.record["runtime"])
        keep = tuple(range(3, 3 + chosen["preserve_fds"]))
        stdin = 0 if chosen["stdin"] else os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        io = Io(stdin, 1, 2, console.fileno(), keep)
        started = runtime.exec(run["pid"], run["start_time"], spec, process, io)
        report.close()
        console.close()
        os._exit(processes.exit_code(started.pid))
    except BaseException as error:
        messages.send(report, {"error": to_report(error, "cannot exec in the container")})
    finally:
        os._exit(125)


def _add_secrets(engine: Engine, container_id: str, uses: list[Use], spec: dict[str, Any]) -> None:
    """Read before the container's user namespace is joined, in which nobody may read them."""
    from sampan.engine import secrets
    from sampan.model.secret import with_variables

    directory = engine.containers.open(container_id)
    found = secrets.variables(directory, uses)
    os.close(directory)
    spec["process"]["env"] = with_variables(spec["process"]["env"], found)


def _process(
    engine: Engine, container: Container, spec: dict[str, Any], chosen: ExecOptions
) -> dict[str, Any]:
    """The OCI process: the container's own, with what was asked for.

    Called inside the container's user namespace: nobody else sees into a FUSE file system.
    """
    run = container.run
    assert run is not None
    wanted = container.record["options"]["group_add"]
    groups = [group for group in wanted if group != oci.KEEP_GROUPS]
    root = os.open(f"/proc/{run['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        user = users.resolve(
            chosen["user"] or container.record["options"]["user"],
            paths.read_in_root(root, "/etc/passwd"),
            paths.read_in_root(root, "/etc/group"),
            groups,
            gid_count=(idmaps.of_record(container.record) or engine.idmap).gid_count(),
        )
    finally:
        os.close(root)
    process = dict(spec["process"])
    environment = dict(entry.split("=", 1) for entry in process["env"])
    if chosen["tty"]:
        environment.setdefault("TERM", "xterm")
    environment.update(chosen["env"])
    process["env"] = [f"{name}={value}" for name, value in environment.items()]
    process |= {
        "args": chosen["command"],
        "cwd": chosen["workdir"] or process["cwd"],
        "terminal": chosen["tty"],
    }
    if chosen["tty"] and (size := terminal.size()):
        process["consoleSize"] = {"height": size[0], "width": size[1]}
    if chosen["privileged"]:
        from sampan.model.spec import capability_set

        every = capability_set([], [], True)
        process["capabilities"] = {
            **process["capabilities"],
            "bounding": every,
            "permitted": every,
            "effective": every,
        }
    document = oci.finish(
        {"process": process},
        user,
        explicit_home="HOME" in environment,
        keep_groups=oci.KEEP_GROUPS in wanted,
    )
    return document["process"]  # type: ignore[no-any-return]
