"""Layers are unpacked by a worker process while others are still on their way.

    caller -- Unpacker -- (socket, blob descriptors) --> worker -- fork --> one child a layer

The worker is forked when the caller still has one thread, and moves into the user namespace of the
store.  For each blob it forks a child, which waits for the layer's lock, shuts itself into the
layer's directory (`confine`), and reads.  A child that needs the layers below (a hard link into
them, a directory that no entry names) asks the worker, which answers with their directories as
soon as they are there.

The worker ends when the caller says so, or when the caller's end of the socket closes for whatever
reason; it then kills its children and lets the driver take back what is half made.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket

from sampan import files
from sampan.errors import CorruptError, SampanError
from sampan.linux import libc, userns
from sampan.store import confine, reader, records, sidecar, unsynced, wire
from sampan.store.jobs import Job, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PARALLEL = 2


class _Discard(Exception):
    """Leaves a driver's layer() without committing."""


def serve(plan: Plan, control: socket.socket) -> None:
    """The worker's life. Returns when the caller is done with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the caller's end of the socket tells when to stop
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    worker = _Worker(plan, control)
    try:
        userns.enter(plan.idmap)
        confine.isolate_network()
        gc.disable()
        worker.loop()
        worker.settle()
    except BaseException as error:
        with contextlib.suppress(OSError):  # the caller is gone
            wire.send(control, {"error": wire.describe(error)})
        worker.abandon()
        worker.settle()


class _Worker:
    def __init__(self, plan: Plan, control: socket.socket) -> None:
        self._plan, self._control = plan, control
        self._queue: list[Job] = []
        self._jobs: list[Job] = []
        self._finishing = False
        self._marker = ""
        self._committed = False
        self._independent = "independent-layers" in plan.driver.features

    def loop(self) -> None:
        while not (self._finishing and not self._queue and not self._jobs):
            self._start_jobs()
            self._check_progress()
            poll = select.poll()
            poll.register(self._control, select.POLLIN)
            for job in self._jobs:
                poll.register(job.channel, select.POLLIN)
            for fd, _ in poll.poll():
                if fd == self._control.fileno():
                    self._command()
                else:
                    self._hear(next(job for job in self._jobs if job.channel.fileno() == fd))
        wire.send(self._control, {"end": True})

    def settle(self) -> None:
        """See that what was committed gets to the disk."""
        if self._marker and self._committed:
            unsynced.settle(self._plan.directory, self._marker)
        elif self._marker:
            unsynced.forget(self._plan.directory, self._marker)

    def abandon(self) -> None:
        for job in self._jobs:
            if job.pid > 0:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(job.pidfd, signal.SIGKILL)
        for job in self._jobs:
            self._discard(job)
        self._jobs.clear()

    def _command(self) -> None:
        data, fds, _, _ = socket.recv_fds(self._control, wire.MESSAGE, 1)
        if not data:
            raise SampanError("cannot unpack the image", "it was given up")
        message = json.loads(data)
        if "submit" in message:
            self._queue.append(Job(int(message["submit"]), fds[0], message["span"]))
            self._queue.sort(key=lambda job: job.index)
        else:
            self._finishing = True

    def _start_jobs(self) -> None:
        for job in list(self._queue):
            busy = sum(not other.waits for other in self._jobs)
            if busy >= (PARALLEL if self._independent else 1):
                return
            if self._independent or self._plan.below(job.index):
                self._queue.remove(job)
                self._start(job)

    def _check_progress(self) -> None:
        """A layer that waits for one that will never come is an error, not a wait for ever."""
        stuck = all(job.waits for job in self._jobs)
        if self._finishing and stuck and (self._jobs or self._queue):
            for job in self._jobs:
                if self._plan.below(job.index):
                    return
            raise SampanError("cannot unpack the image", "a layer below was not given")

    def _start(self, job: Job) -> None:
        plan = self._plan
        if not self._marker and plan.marked:
            keys = [key for index, key in enumerate(plan.keys) if index not in plan.there]
            self._marker = unsynced.begin(plan.directory, keys)
        job.alone = not self._jobs and not self._queue
        self._jobs.append(job)
        job.undo.callback(os.close, job.blob)
        lock = records.open_lock(plan.directory)
        job.undo.callback(os.close, lock)
        job.sidecar_fd, job.sidecar_name = sidecar.create(plan.directory)
        job.undo.callback(os.close, job.sidecar_fd)
        job.undo.callback(files.unlink, plan.directory, job.sidecar_name)
        parent = plan.keys[job.index - 1] if job.index else None
        writer = job.layer.enter_context(plan.driver.layer(plan.keys[job.index], parent))
        if writer.complete and parent is not None:
            self._open_inherited(job, parent)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        worker = os.getpid()
        job.pid = os.fork()
        if job.pid == 0:
            reader.child(plan, job, writer, lock, theirs, worker)
        job.pidfd = os.pidfd_open(job.pid)
        job.undo.callback(os.close, job.pidfd)
        theirs.close()
        job.channel = ours
        job.undo.callback(ours.close)

    def _open_inherited(self, job: Job, parent: str) -> None:
        try:
            name = f"{parent}.sidecar"
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            job.inherited_fd = os.open(name, flags, dir_fd=self._plan.directory)
        except FileNotFoundError:
            return
        job.undo.callback(os.close, job.inherited_fd)

    def _hear(self, job: Job) -> None:
        data = job.channel.recv(wire.MESSAGE)
        message: dict[str, Any] = json.loads(data) if data else {}
        if "stack" in message:
            job.waits = True
            self._give_stacks()
            return
        _, status = os.waitpid(job.pid, 0)
        job.pid = -1
        if not message:
            raise CorruptError(
                f"cannot unpack layer {self._plan.chain[job.index].digest}",
                f"its reader ended with status {os.waitstatus_to_exitcode(status)}",
            )
        if "error" in message:
            raise wire.revive(message["error"])
        self._done(job, message)

    def _done(self, job: Job, result: dict[str, Any]) -> None:
        plan, source = self._plan, self._plan.chain[job.index]
        if result.get("exists"):
            result = {"notices": {}}
            self._discard(job)
        else:
            if source.diff_id and result["diff_id"] != source.diff_id:
                raise CorruptError(
                    f"cannot unpack layer {source.digest}",
                    f"its content is {result['diff_id']}, the image says {source.diff_id}",
                    "whoever made the image must push it again",
                )
            self._commit(job, result)
        self._jobs.remove(job)
        plan.there.add(job.index)
        wire.send(self._control, {"done": job.index, "notices": result["notices"]})
        self._give_stacks()

    def _commit(self, job: Job, result: dict[str, Any]) -> None:
        """The driver's directory first, then the record, which says that it is there."""
        plan, key = self._plan, self._plan.keys[job.index]
        with job.undo:  # the lock is let go last
            self._committed = True
            job.layer.close()
            if plan.sync:
                libc.call("syncfs", plan.directory)
            aside = f"{key}.sidecar" if result["sidecar"] else ""
            if aside:
                os.rename(
                    job.sidecar_name, aside, src_dir_fd=plan.directory, dst_dir_fd=plan.directory
                )
            record = {
                "diff_id": result["diff_id"],
                "chain_id": plan.chain_ids[job.index],
                "parent": plan.keys[job.index - 1] if job.index else None,
                "size": result["size"],
                "entries": result["entries"],
                "sidecar": aside or None,
                "notices": result["notices"],
            }
            records.write(plan.directory, key, record, sync=plan.sync)

    def _discard(self, job: Job) -> None:
        if job.pid > 0:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(job.pid, 0)
        error = _Discard()
        with job.undo:
            job.layer.__exit__(_Discard, error, None)

    def _give_stacks(self) -> None:
        plan = self._plan
        for job in self._jobs:
            if job.waits and plan.below(job.index):
                job.waits = False
                fds = plan.driver.lower(plan.keys[: job.index])
                try:
                    wire.send(job.channel, {"count": len(fds)})
                    for start in range(0, len(fds), wire.FDS):
                        socket.send_fds(job.channel, [b"."], fds[start : start + wire.FDS])
                finally:
                    for fd in fds:
                        os.close(fd)
