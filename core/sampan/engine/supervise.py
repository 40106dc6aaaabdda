"""A container's run, inside the monitor: create, connect, start, pump, record the end.

The plan that the command sends is data: where the container's directory is, its record and OCI document, the
snapshot, and which plugins to load.
"""

from __future__ import annotations

import json
import os
import select
import time

from sampan import files
from sampan.engine import Engine, limits, surroundings, terminal
from sampan.engine.logfile import LogWriter, stamp
from sampan.engine.messages import receive, send
from sampan.engine.streams import Client, Streams
from sampan.errors import SampanError
from sampan.linux import paths, processes, sockets
from sampan.linux.marks import mark
from sampan.model import spec as oci
from sampan.model import users
from sampan.model.contract import Io
from sampan.model.mounts import PLACE, needs_work, snapshots, volumes
from sampan.model.sizes import decimal_size
from sampan.plugins import Plugins
from sampan.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import NetworkBackend, Runtime, StorageDriver
    from sampan.linux.fuse import Server
    from sampan.linux.userns import IdMap
    from sampan.model.container import Exit, Record
    from sampan.model.contract import Process
    from sampan.model.users import User

DRAIN_SECONDS = 10.0  # how long output may still come after the last process


class Supervisor:
    """One run of one container."""

    def __init__(
        self, sock: sockets.Socket, idmap: IdMap, plan: dict[str, Any], fds: list[int]
    ) -> None:
        self.sock = sock
        self.plan = plan
        settings = Settings(plan["settings"], {}, plan["tables"])
        self.engine = Engine(settings, idmap, Plugins("", plan["plugins"]))
        self.dir_fd = files.open_directory(plan["directory"])
        self.bundle_fd = files.open_directory(plan["bundle"])
        self.record: Record = json.loads(files.read(self.dir_fd, "record.json"))
        self.options = self.record["options"]
        self._idmap: IdMap | None = None
        self._owner: tuple[int, int] | None = None
        if "idmap" in self.record:
            self._own_map()
        self.tty: bool = self.options["tty"]
        self._fds = fds  # the client's stdin, stdout, stderr, then what it preserves
        self._kept = fds[3:]
        self.runtime: Runtime = self.engine.driver("runtime", self.record["runtime"])
        self.network: NetworkBackend = self.engine.driver("network", self.options["network"])
        self._servers: list[Server] = []  # of a root that is a FUSE file system
        self._error = ""
        self._oom = False  # the kernel killed one of its processes for want of memory
        self._deadline: float | None = None
        self._late = False  # killed by --timeout, which podman tells as -1

    def _own_map(self) -> None:
        """A container in a nested user namespace; what is made for it here belongs to its root, if it has one."""
        from sampan.engine import idmaps

        self._idmap = idmaps.of_record(self.record)
        if self._idmap is not None and self._idmap.has(0, 0):
            self._owner = self._idmap.outside(0, 0)

    def run(self) -> None:
        started = stamp(time.time_ns())
        limit = decimal_size(self.options["log_options"].get("max-size", "0"), "max-size")
        log = LogWriter(self.dir_fd, self.options["log_driver"], limit)
        try:
            process = self._create()
            mark("  container created")
            attachment = self.network.attach(self.record["id"], process.pid, {})
            streams = self._streams(log)
            self._note_run(process, started)
            self.runtime.start(self.record["id"])
        except BaseException as error:
            self._failed(error, started)
            raise
        send(self.sock, {"kind": "started", "pid": process.pid})
        mark("  program executed")
        if self.options["rm"]:  # load what the end needs, while the container runs
            self.engine.driver("storage", self.record["storage"]["driver"])
            self.engine.containers.name_taken(self.record["name"])
        if self.options["timeout"]:
            self._deadline = time.monotonic() + self.options["timeout"]
        listener = sockets.listen(self.bundle_fd, "attach")
        code = self._watch(process, streams, listener)
        code = -1 if self._late else code
        mark("  program ended")
        streams.drain(DRAIN_SECONDS)
        self.network.detach(self.record["id"], attachment)
        self._oom = limits.ended(self.engine, self.plan)
        self._unmount()  # what a FUSE program still has is written now
        self._note_exit(code, started, self._error)
        self._clean()
        mark("  recorded and cleaned")
        for client in streams.clients:
            client.tell({"kind": "exit", "code": code})
        if not streams.clients:
            send(self.sock, {"kind": "exit", "code": code})

    def _create(self) -> Process:
        """Mount, finish the document, and let the runtime create the container."""
        mark("  plan received")
        for name in ("rootfs", "etc"):
            os.close(files.open_directory(name, dir_fd=self.bundle_fd, create=True))
        target = os.open("rootfs", paths.O_PATH | os.O_DIRECTORY, dir_fd=self.bundle_fd)
        self._servers = surroundings.mount_snapshot(self.plan["snapshot"], target)
        if self._owner:
            surroundings.give_root(f"{self.plan['bundle']}/rootfs", self._owner)
        os.close(target)
        spec = json.loads(files.read(self.dir_fd, "config.json"))
        limits.begin(self.engine, self.plan, spec)
        surroundings.make_etc(
            self.bundle_fd,
            self.record,
            spec["hostname"],
            host_network=self.network.namespace == "host",
            owner=self._owner,
        )
        spec = self._finish(spec)
        files.write_atomic(self.bundle_fd, "config.json", json.dumps(spec).encode(), sync=False)
        mark("  root mounted, document finished")
        io = self._open_io()
        try:
            return self.runtime.create(self.record["id"], self.plan["bundle"], io)
        finally:
            for fd in {io.stdin, io.stdout, io.stderr, io.console, *io.keep} - {-1}:
                os.close(fd)

    def _finish(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Fill in what only the mounted root tells."""
        root = os.open("rootfs", paths.O_PATH | os.O_DIRECTORY, dir_fd=self.bundle_fd)
        groups = [group for group in self.options["group_add"] if group != oci.KEEP_GROUPS]
        try:
            user = users.resolve(
                self.options["user"],
                surroundings.passwd(root, self.bundle_fd, self.options, self._owner),
                paths.read_in_root(root, "/etc/group"),
                groups,
                gid_count=(self._idmap or self.engine.idmap).gid_count(),
            )
            surroundings.check_workdir(root, self.options, spec)
            if any(map(needs_work, self.options["mounts"])):
                from sampan.engine.placed import place

                self._servers += place(
                    self.engine,
                    self.bundle_fd,
                    root,
                    self._seen(user),
                    self.options["mounts"],
                    self.plan["images"],
                )
            surroundings.link_mtab(root, self._owner)
            if self.options["tz"]:
                self._set_zone(root)
        finally:
            os.close(root)
        if self.tty and self.plan.get("size"):
            rows, columns = self.plan["size"]
            spec["process"]["consoleSize"] = {"height": rows, "width": columns}
        explicit = any(word.startswith("HOME=") for word in spec["process"]["env"])
        keep = oci.KEEP_GROUPS in self.options["group_add"]
        return oci.finish(spec, user, explicit_home=explicit, keep_groups=keep)

    def _seen(self, user: User) -> tuple[int, int]:
        """The ids of the container's user as this process sees them."""
        if self._idmap is None:
            return user.uid, user.gid
        return self._idmap.outside(user.uid, user.gid)

    def _set_zone(self, root: int) -> None:
        """`--tz local` copies the host's /etc/localtime; a name is in the variable TZ."""
        if self.options["tz"] != "local":
            return
        with open("/etc/localtime", "rb") as source:
            data = source.read(1 << 20)
        etc = paths.make_directories(root, "/etc")
        files.unlink(etc, "localtime")
        files.write_atomic(etc, "localtime", data, sync=False, mode=0o644)
        os.close(etc)

    def _open_io(self) -> Io:
        """The container's ends; ours are kept for `_streams`."""
        keep = tuple(self._kept)
        self._kept = []
        if self.tty:
            self._console, theirs = sockets.pair()
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            return Io(null, null, null, theirs.detach(), keep)
        self._out, out = os.pipe()
        self._err, err = os.pipe()
        if self.options["stdin"]:
            source, self._in = os.pipe()
        else:
            source, self._in = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
        return Io(source, out, err, -1, keep)

    def _streams(self, log: LogWriter) -> Streams:
        if self.tty:
            _, fds = sockets.receive(self._console, 1)
            self._console.close()
            master = fds[0]
            streams = Streams(
                {master: b"stdout"}, master if self.options["stdin"] else -1, log, tty=True
            )
            self._master = master
        else:
            streams = Streams(
                {self._out: b"stdout", self._err: b"stderr"}, self._in, log, tty=False
            )
        if self.plan["attach"]:
            streams.clients.append(Client(self.sock, self._fds[:3], self.options["stdin"]))
        else:
            for fd in self._fds[:3]:
                os.close(fd)
        return streams

    def _watch(self, process: Process, streams: Streams, listener: sockets.Socket) -> int:
        """Pump until the first process ends; returns its exit code (128+n if a signal ended it)."""
        pidfd = process.pidfd if process.pidfd >= 0 else os.pidfd_open(process.pid)
        control = {self.sock.fileno(): self.sock}
        for number in self.plan["signals"]:
            processes.send_signal(pidfd, number)
        ended = {server.pidfd: server for server in self._servers}
        while True:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.register(listener.fileno(), select.POLLIN)
            for fd in (*control, *ended):
                poll.register(fd, select.POLLIN)
            for fd, events in streams.interest().items():
                poll.register(fd, events)
            for fd, events in poll.poll(self._timeout()):
                if fd == listener.fileno():
                    self._accept(listener, control, streams)
                elif fd in control:
                    self._command(control, fd, pidfd, streams)
                elif fd == pidfd:
                    return processes.exit_code(process.pid)
                elif fd in ended:
                    processes.send_signal(pidfd, 9)  # there is nothing left to read or write
                    server = ended.pop(fd)
                    self._error = f"{server.name} ended: {server.complaint() or 'nobody knows why'}"
                else:
                    streams.handle(fd, events)
            self._check_deadline(pidfd)

    def _timeout(self) -> int | None:
        if self._deadline is None:
            return None
        return max(0, int((self._deadline - time.monotonic()) * 1000) + 1)

    def _check_deadline(self, pidfd: int) -> None:
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._deadline, self._late = None, True
            processes.send_signal(pidfd, 9)

    def _accept(
        self, listener: sockets.Socket, control: dict[int, sockets.Socket], streams: Streams
    ) -> None:
        sock = sockets.accept(listener)
        control[sock.fileno()] = sock

    def _command(
        self, control: dict[int, sockets.Socket], fd: int, pidfd: int, streams: Streams
    ) -> None:
        """A message of the command or of an attached client."""
        sock = control[fd]
        message, fds = receive(sock, 3)
        if message is None:
            del control[fd]
            for client in [c for c in streams.clients if c.sock is sock]:
                streams.clients.remove(client)
                client.close()
            return
        kind = message["kind"]
        if kind == "signal":
            processes.send_signal(pidfd, message["number"])
        elif kind == "resize" and self.tty:
            terminal.set_size(self._master, message["rows"], message["columns"])
        elif kind == "root":
            root = os.open("rootfs", paths.O_PATH | os.O_DIRECTORY, dir_fd=self.bundle_fd)
            send(sock, {"kind": "root"}, [root])
            os.close(root)
        elif kind == "attach":
            streams.clients.append(Client(sock, fds, message["stdin"] and streams.stdin >= 0))

    def _note_run(self, process: Process, started: str) -> None:
        run = {
            "boot": processes.boot_id(),
            "pid": process.pid,
            "start_time": processes.start_time(process.pid),
            "monitor": os.getpid(),
            "monitor_start_time": processes.start_time(os.getpid()),
            "started": started,
            **limits.noted(self.plan),
        }
        files.write_atomic(self.dir_fd, "run.json", json.dumps(run).encode(), sync=False)

    def _note_exit(self, code: int, started: str, error: str = "") -> None:
        ended: Exit = {
            "code": code,
            "finished": stamp(time.time_ns()),
            "started": started,
            "oom": self._oom,
            "error": error,
        }
        try:
            data = json.dumps(ended).encode()
            files.write_atomic(self.dir_fd, "exit.json", data, sync=not self.options["rm"])
        except OSError:  # a full disk: the missing record says that the end is unknown
            return

    def _failed(self, error: BaseException, started: str) -> None:
        """The container could not be started: its record says so, and with --rm it is gone."""
        code = error.exit_status if isinstance(error, SampanError) else 125
        limits.ended(self.engine, self.plan)
        if not self.options["rm"]:
            self._note_exit(code, started, str(error))
        self._clean()

    def _unmount(self) -> None:
        for name in (PLACE, "etc", "rootfs"):
            surroundings.unmount(f"{self.plan['bundle']}/{name}")
        while self._servers:
            self._servers.pop().end()

    def _clean(self) -> None:
        """Remove the bundle; with --rm the container too."""
        self._unmount()
        if not self.options["rm"]:
            for name in ("rootfs", "etc", PLACE):
                files.remove_directory(self.bundle_fd, name)
            for name in ("config.json", "attach"):
                files.unlink(self.bundle_fd, name)
            return
        storage: StorageDriver = self.engine.driver("storage", self.record["storage"]["driver"])
        storage.remove(self.record["storage"]["key"])
        for driver, key in snapshots(self.options["mounts"]):
            self.engine.driver("storage", driver).remove(key)
        self.engine.containers.remove(self.record["id"], self.record["name"])
        if names := volumes(self.options["mounts"]):
            from sampan.engine.volumes import drop

            drop(self.engine, names, inside=True)
