"""sampan's own OCI runtime: a process cloned into new namespaces, which makes its root and waits to start.

It runs inside the monitor, which is root of the container's user namespace.  The child is a fork of the
monitor; until it executes the container's program it is non-dumpable, and nothing of the container runs
beside it.
"""

from __future__ import annotations

import _blake2  # hashlib's import takes longer than the whole lookup
import os

from sampan import files, jsontext
from sampan.errors import NotFoundError, SampanError
from sampan.linux import libc, processes, seccomp, sockets, userns
from sampan.model.contract import Probe, Process
from sampan_runtime import child, jobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.model.contract import DriverContext, Io


class Created:
    """A container that this process created: its first process and the socket to it."""

    __slots__ = ("process", "sock")

    def __init__(self, process: Process, sock: sockets.Socket) -> None:
        self.process, self.sock = process, sock


class NativeRuntime:
    name = "native"

    def __init__(self, context: DriverContext) -> None:
        self._context = context
        self._created: dict[str, Created] = {}

    def create(self, container: str, bundle: str, io: Io) -> Process:
        """Make the container up to its program, which waits for `start`."""
        with open(f"{bundle}/config.json", "rb") as file:
            spec = jsontext.loads(file.read())
        program_filter = self._filter(spec)
        ours, theirs = sockets.pair()
        flags = libc.namespace_flags(
            space["type"] for space in spec["linux"]["namespaces"] if "path" not in space
        )
        place = child.open_cgroup(spec["linux"])
        if (
            place >= 0
        ):  # its namespace of cgroups is made in the child, whose cgroup is then the root
            flags &= ~libc.CLONE_NEWCGROUP
        pid, pidfd = _clone(flags, _joined_pids(spec), place)
        if pid == 0:
            ours.close()
            report = sockets.of(child.move_up(theirs.detach(), 3 + len(io.keep)))
            job = {"bundle": bundle, "spec": spec}
            child.in_child(report, lambda: jobs.begin("init", job, io, report, program_filter))
        theirs.close()
        if place >= 0:
            os.close(place)
        process = Process(pid, pidfd)
        if flags & libc.CLONE_NEWUSER:
            _expect(ours, process, b"map")
            userns.write_map(pid, _id_map(spec["linux"]))
            sockets.send(ours, b"mapped")
        self._created[container] = Created(process, ours)
        process.network = _expect(ours, process)
        return process

    def _filter(self, spec: dict[str, Any]) -> bytes | None:
        """The compiled seccomp program, kept on disk under its profile's hash."""
        linux: dict[str, Any] = spec.get("linux") or {}
        profile: dict[str, Any] | None = linux.get("seccomp")
        if not profile:
            return None
        digest = _blake2.blake2b(jsontext.dumps(profile, sort_keys=True).encode(), digest_size=16)
        name = f"seccomp-{digest.hexdigest()}.bpf"
        try:
            cache = files.open_directory("cache", dir_fd=self._context.root_fd, create=True)
        except PermissionError:  # in a user namespace in which the store's owner has no id
            return seccomp.compile_filter(profile)
        try:
            try:
                return files.read(cache, name, 1 << 20)
            except FileNotFoundError:
                program = seccomp.compile_filter(profile)
                files.write_atomic(cache, name, program, sync=False)
                return program
        finally:
            os.close(cache)

    def start(self, container: str) -> None:
        """Let the program run; SampanError with status 126 or 127 if it cannot be executed."""
        created = self._created.pop(container)
        sockets.send(created.sock, b"start")
        created.process.listener = child.expect_executed(created.sock, created.process.pid)

    def state(self, container: str) -> dict[str, Any]:
        created = self._created.get(container)
        return {"id": container, "status": "created" if created else "running"}

    def kill(self, container: str, signal: int) -> None:
        created = self._created.get(container)
        if created is None:
            raise NotFoundError(f"container {container} is not waiting here")
        processes.send_signal(created.process.pidfd, signal)

    def exec(
        self, pid: int, started: int, spec: dict[str, Any], process: dict[str, Any], io: Io
    ) -> Process:
        """Run a further process in the namespaces of the container's first process."""
        program_filter = self._filter(spec)
        ours, theirs = sockets.pair()
        helper = os.fork()
        if helper == 0:
            ours.close()
            report = sockets.of(child.move_up(theirs.detach(), 3 + len(io.keep)))
            kinds = {space["type"] for space in spec["linux"]["namespaces"]} - {"user"}
            job = {
                "target": pid,
                "started": started,
                "process": process,
                "namespaces": libc.namespace_flags(kinds),
            }
            child.in_child(report, lambda: jobs.begin("join", job, io, report, program_filter))
        theirs.close()
        child.expect_executed(ours, helper)
        return Process(helper, os.pidfd_open(helper))

    def delete(self, container: str) -> None:
        created = self._created.pop(container, None)
        if created is not None:
            created.sock.close()


def _joined_pids(spec: dict[str, Any]) -> str:
    """The path of the pid namespace that is joined, or ""."""
    for namespace in spec["linux"]["namespaces"]:
        if namespace["type"] == "pid":
            return str(namespace.get("path", ""))
    return ""


def _clone(flags: int, pids: str, cgroup: int) -> tuple[int, int]:
    """Fork into new namespaces, and into the pid namespace at the path `pids`: (pid, pidfd), (0, -1) in the child.

    Who has set a pid namespace for its children cannot take it back (setns(2)): so a process in between
    does, and the child becomes its sister (CLONE_PARENT).
    """
    if not pids:
        return libc.clone(flags, cgroup)
    told, tell = os.pipe()
    between = os.fork()
    if between == 0:
        try:
            libc.setns(os.open(pids, os.O_RDONLY | os.O_CLOEXEC), libc.CLONE_NEWPID)
            pid, _ = libc.clone(flags | libc.CLONE_PARENT, cgroup)
            if pid == 0:
                return 0, -1
            os.write(tell, b"%d" % pid)
        except OSError as error:
            os.write(tell, f"-{error.strerror}".encode())
        os._exit(0)
    os.close(tell)
    answer = os.read(told, 4096).decode()
    os.close(told)
    os.waitpid(between, 0)
    if not answer.isdigit():
        raise SampanError(f"cannot join the pid namespace {pids}", answer.removeprefix("-"))
    return int(answer), os.pidfd_open(int(answer))


def _id_map(linux: dict[str, Any]) -> userns.IdMap:
    """The OCI document's map; its host ids are those of this process's user namespace."""
    uids, gids = (
        tuple((m["containerID"], m["hostID"], m["size"]) for m in linux[kind])
        for kind in ("uidMappings", "gidMappings")
    )
    return userns.IdMap(uids, gids)


def _expect(sock: sockets.Socket, process: Process, word: bytes = b"ready") -> int:
    """Wait until the child has made its root; raise what it tells.

    Returns the socket of its network namespace, -1 if that is not its own.
    """
    data, fds = sockets.receive(sock, 1)
    if data == word:
        return fds[0] if fds else -1
    os.waitpid(process.pid, 0)
    if data:
        raise child.told(data)
    raise SampanError(
        "the container's first process ended", "it was killed while it was being made"
    )


def sampan_runtime(context: DriverContext) -> NativeRuntime:
    return NativeRuntime(context)


def sampan_probe(context: DriverContext) -> Probe:
    return Probe(True, "part of sampan", rank=100)
