"""A container's run, inside the monitor: create, connect, start, pump, record the end.

The plan that the command sends is data: where the container's directory is, its record and OCI document, the
snapshot, and which plugins to load.
"""

from __future__ import annotations

import os
import time

from sampan import files, jsontext
from sampan.engine import Engine, events, hosts, limits, recorded, rooted, surroundings
from sampan.engine.ends import Ends
from sampan.engine.logfile import LogWriter
from sampan.engine.losses import Losses
from sampan.engine.watch import Turn, Watch
from sampan.errors import InUseError, SampanError
from sampan.linux import libc, paths, processes, sockets
from sampan.linux.marks import mark
from sampan.linux.messages import send
from sampan.model import isolation
from sampan.model.mounts import PLACE, snapshots, volumes
from sampan.model.rfc3339 import stamp
from sampan.model.sizes import decimal_size
from sampan.plugins import Plugins
from sampan.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import NetworkBackend, Runtime, StorageDriver
    from sampan.engine.journal import JournalWriter
    from sampan.linux.fuse import Server
    from sampan.linux.userns import IdMap
    from sampan.model.container import Record
    from sampan.model.contract import Process

PLACES = (PLACE, "secrets")  # of what is mounted in the bundle
PATIENCE = 2.0  # seconds that a reader of the root may still take
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
        self.record: Record = jsontext.loads(files.read(self.dir_fd, "record.json"))
        self.options = self.record["options"]
        self.idmap: IdMap | None = None
        self.owner: tuple[int, int] | None = None
        if "idmap" in self.record:
            self._own_map()
        tty, stdin = self.options["tty"], self.options["stdin"]
        self._ends = Ends(fds[:3], fds[3:], tty=tty, stdin=stdin)
        self.runtime: Runtime = self.engine.driver("runtime", self.record["runtime"])
        self.network: NetworkBackend = self.engine.network(self.options["network"])
        self.attachment: dict[str, Any] = {}  # what the network backend gave this run
        self.servers: list[Server] = []  # of a root that is a FUSE file system
        self.restarts = 0
        self._shared = bool(isolation.shared(self.options))
        self.oom = False  # the kernel killed one of its processes for want of memory
        self._oom_kills = 0

    def _own_map(self) -> None:
        """A container in a nested user namespace; what is made for it here belongs to its root, if it has one."""
        from sampan.engine import idmaps

        self.idmap = idmaps.of_record(self.record)
        if self.idmap is not None and self.idmap.has(0, 0):
            self.owner = self.idmap.outside(0, 0)

    def run(self) -> None:
        """All runs of the container, one after another while its restart policy wants another one."""
        log = self._open_log()
        started = stamp(time.time_ns())
        try:
            process = self._create()
            mark("  container created")
            self.watch = Watch(self.sock, self.bundle_fd, self.servers)
            if self.plan["leash"]:
                self.watch.hold()
            turn = self._begin(process, log, started)
        except BaseException as error:
            self.failed(error, started)
            raise
        send(self.sock, {"kind": "started", "pid": process.pid})
        mark("  program executed")
        events.of_container(self.engine, self.record, "start")
        if self.options["rm"]:  # load what the end needs, while the container runs
            self.engine.driver("storage", self.record["storage"]["driver"])
            self.engine.containers.name_taken(self.record["name"])
        for number in self.plan["signals"]:
            turn.signal(number)
        code: int | None = None
        if self.options["restart"] == "no" and "health" not in self.options:
            code = self.until_end(turn)
            if self.options["rm"] or self.policy()[0] == "no":
                self.last(turn, code, started)
                return
        from sampan.engine.again import turns

        turns(self, turn, log, started, code)

    def outside(self, uid: int, gid: int) -> tuple[int, int]:
        """Ids of the container as this process sees them."""
        return (uid, gid) if self.idmap is None else self.idmap.outside(uid, gid)

    def policy(self) -> tuple[str, int]:
        """The restart policy, which `update` may have changed: its name, and how often at most."""
        options = jsontext.loads(files.read(self.dir_fd, "record.json"))["options"]
        return options["restart"], options["restart_max"]

    def _open_log(self) -> LogWriter | JournalWriter:
        if self.options["log_driver"] == "journald":
            from sampan.engine.journal import JournalWriter

            return JournalWriter(self.record, Losses(self.bundle_fd))
        given = self.options["log_options"]
        limit = decimal_size(given.get("max-size", "0"), "max-size")
        count = int(given.get("max-file", "1"))
        losses = Losses(self.bundle_fd)
        return LogWriter(self.dir_fd, self.options["log_driver"], limit, count, losses)

    def _begin(self, process: Process, log: LogWriter | JournalWriter, started: str) -> Turn:
        """Connect the created container and let its program run."""
        self._attach(process)
        streams = self._ends.streams(log, self.sock if self.plan["attach"] else None)
        recorded.running(self, process, started)
        self.runtime.start(self.record["id"])
        if self.options["pid"]:  # how what it has left will be known
            self._mount_namespace = processes.namespace(process.pid, "mnt")
        turn = Turn(process, streams, self._ends.master)
        if self.attachment:
            from sampan.engine.connected import Link

            turn.link = Link(self, process, started)
        if process.listener >= 0:
            from sampan.engine.ownership import Owners

            turn.owners = Owners(process.listener)
        if self.options["timeout"]:
            turn.deadlines["timeout"] = time.monotonic() + self.options["timeout"]
        return turn

    def _attach(self, process: Process) -> None:
        """Connect the container's network namespace, if it has one of its own."""
        if process.network < 0:
            return
        try:
            told: dict[str, Any] = {
                "ports": self.options.get("ports", []),
                "directory": self.bundle_fd,
                "settings": self.options.get("network_settings", {}),
                "name": self.record["name"],
                "pid": process.pid,
                "servers": self.options["dns"],
                "networks": self.plan.get("networks", []),
            }
            self.attachment = self.network.attach(self.record["id"], process.network, told)
        finally:
            os.close(process.network)
        self.tell_addresses()

    def tell_addresses(self) -> None:
        """/etc/hosts has the container's own names, at the addresses that it has got."""
        if {"networks", "address"} & set(self.attachment):
            hosts.tell_addresses(
                self.bundle_fd, self.document()["hostname"], self.record["name"], self.attachment
            )

    def begin_again(self, log: LogWriter | JournalWriter, started: str, restarts: int) -> Turn:
        """The next run: what is mounted stays, and so does the document."""
        self.plan["attach"] = False
        self.restarts = restarts
        turn = self._begin(self._create_process(), log, started)
        events.of_container(self.engine, self.record, "restart")
        return turn

    def document(self) -> dict[str, Any]:
        """The OCI document as the runtime got it."""
        document: dict[str, Any] = jsontext.loads(files.read(self.bundle_fd, "config.json"))
        return document

    def until_end(self, turn: Turn) -> int:
        """The exit code of a run, once its last byte is where it belongs."""
        code = self.watch.until_end(turn)
        mark("  program ended")
        self.network.detach(self.record["id"], self.attachment)
        if self.options["pid"]:
            from sampan.engine import sharing

            sharing.end_all(self._mount_namespace, {server.pid for server in self.servers})
        if turn.owners is not None:
            turn.owners.close(self.dir_fd)
        turn.streams.drain(DRAIN_SECONDS)
        turn.streams.log.finish()
        turn.close()
        kills = limits.emptied(self.engine, self.plan)
        self.oom, self._oom_kills = kills > self._oom_kills, kills
        return -1 if turn.late else code

    def last(self, turn: Turn, code: int, started: str, *, told: bool = False) -> None:
        """The end of a run that no other one follows. `told`: its end has been told already."""
        if self.watch.deserted:
            self.options["rm"] = True
        limits.removed(self.engine, self.plan)
        self._unmount()  # what a FUSE program still has is written now
        recorded.ended(self, code, started, turn.error, told=told)
        self._clean()
        mark("  recorded and cleaned")
        self.watch.tell(turn, code)

    def _create(self) -> Process:
        """Mount, finish the document, and let the runtime create the container."""
        mark("  plan received")
        self._claim()
        if self.options["pid"]:  # what its processes leave behind is ours to end
            libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
        for name in ("rootfs", "etc"):
            os.close(files.open_directory(name, dir_fd=self.bundle_fd, create=True))
        target = os.open("rootfs", paths.O_PATH | os.O_DIRECTORY, dir_fd=self.bundle_fd)
        self.servers = surroundings.mount_snapshot(self.plan["snapshot"], target)
        if self.owner:
            surroundings.give_root(f"{self.plan['bundle']}/rootfs", self.owner)
        os.close(target)
        spec = jsontext.loads(files.read(self.dir_fd, "config.json"))
        network, record = self.network, self.record
        if self._shared:
            from sampan.engine import sharing

            network, record = sharing.network_of(self.engine, record)
            sharing.place_shm(self.engine, self.record, self.plan["bundle"])
        limits.begin(self.engine, self.plan, spec)
        surroundings.make_etc(
            self.bundle_fd,
            record,
            spec["hostname"],
            network=network,
            settings=self.engine.settings,
            owner=self.owner,
        )
        spec = rooted.finish(self, spec)
        files.write_atomic(self.bundle_fd, "config.json", jsontext.dumps(spec).encode(), sync=False)
        mark("  root mounted, document finished")
        return self._create_process()

    def _claim(self) -> None:
        """The root is ours to mount, until this process ends: nobody who reads it has it mounted, or will."""
        import fcntl

        until = time.monotonic() + PATIENCE
        while True:
            try:
                return fcntl.flock(self.dir_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    from sampan.store.locks import holder

                    raise InUseError(
                        f"cannot start container {self.record['name']}",
                        f"{holder(self.dir_fd)} reads its file system (commit, cp, diff or export)",
                        "try again later",
                    ) from None
            time.sleep(0.01)

    def _create_process(self) -> Process:
        if self._shared:
            from sampan.engine import sharing

            spec = sharing.fill_in(self.engine, self.record, self.document())
            data = jsontext.dumps(spec).encode()
            files.write_atomic(self.bundle_fd, "config.json", data, sync=False)
        io = self._ends.open()
        try:
            return self.runtime.create(self.record["id"], self.plan["bundle"], io)
        finally:
            for fd in {io.stdin, io.stdout, io.stderr, io.console, *io.keep} - {-1}:
                os.close(fd)

    def failed(self, error: BaseException, started: str) -> None:
        """The container could not be started: its record says so, and with --rm it is gone."""
        code = error.exit_status if isinstance(error, SampanError) else 125
        self.network.detach(self.record["id"], self.attachment)
        limits.removed(self.engine, self.plan)
        if not self.options["rm"]:
            recorded.ended(self, code, started, str(error))
        self._clean()

    def _unmount(self) -> None:
        for name in (*PLACES, "shm", "etc", "rootfs"):
            surroundings.unmount(f"{self.plan['bundle']}/{name}")
        while self.servers:
            self.servers.pop().end()

    def _clean(self) -> None:
        """Remove the bundle; with --rm the container too."""
        self._unmount()
        if not self.options["rm"]:
            for name in ("rootfs", "etc", "shm", *PLACES):
                files.remove_directory(self.bundle_fd, name)
            for name in ("config.json", "attach", "monitor.pid"):
                files.unlink(self.bundle_fd, name)
            return
        storage: StorageDriver = self.engine.driver("storage", self.record["storage"]["driver"])
        storage.remove(self.record["storage"]["key"])
        for driver, key in snapshots(self.options["mounts"]):
            self.engine.driver("storage", driver).remove(key)
        self.record = jsontext.loads(
            files.read(self.dir_fd, "record.json")
        )  # it may have another name
        self.engine.containers.remove(self.record["id"], self.record["name"])
        events.of_container(self.engine, self.record, "remove")
        if names := volumes(self.options["mounts"]):
            from sampan.engine.volumes import drop

            drop(self.engine, names, inside=True)
