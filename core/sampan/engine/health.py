"""A container's health check, run by its monitor: no timer and no service of the host is needed.

A check is a further process in the container.  What is known of the container's health is in `health.json`
beside its record: {"Status", "FailingStreak", "Log": [{"Start", "End", "ExitCode", "Output"}]}, as Docker shows it.
"""

from __future__ import annotations

import os
import select
import time

from sampan import files, jsontext
from sampan.errors import to_report
from sampan.linux import libc, messages, processes, sockets
from sampan.model.contract import Io
from sampan.model.rfc3339 import stamp
from sampan.store.containers import HEALTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.drivers import Runtime
    from sampan.model.contract import Process

KEPT = 5  # results in the log
OUTPUT = 4096  # bytes of a check's output that are kept


class Check:
    """One check that is under way: the child that stands for it, and what it has written."""

    __slots__ = ("deadline", "fd", "output", "pid", "pidfd", "started")

    def __init__(self, pid: int, fd: int, seconds: float) -> None:
        self.pid, self.fd = pid, fd
        self.pidfd = os.pidfd_open(pid)
        self.started = stamp(time.time_ns())
        self.deadline = time.monotonic() + seconds
        self.output = b""

    def read(self) -> bool:
        """Take what was written; False at its end. The first and the last kilobytes are not all kept."""
        data = os.read(self.fd, 1 << 16)
        self.output = (self.output + data)[:OUTPUT]
        return bool(data)

    def kill(self) -> None:
        """End it: the program that was executed leads a session, and what it started is in it."""
        leaders = {
            program
            for helper in processes.children(self.pid)
            for program in processes.children(helper)
        }
        doomed = [pid for pid in processes.every() if processes.session(pid) in leaders]
        processes.send_signal(self.pidfd, 9)
        os.waitpid(self.pid, 0)
        for pid in doomed:
            try:
                fd = os.pidfd_open(pid)
            except OSError:
                continue
            if processes.session(pid) in leaders:  # the number may have gone to another one
                processes.send_signal(fd, 9)
            os.close(fd)


class Health:
    """The checks of one run.

    config: {"test": [...], "interval", "timeout", "start_period", "start_interval": seconds, "retries": n}.
    changed: called with the new status when it changes.
    """

    def __init__(
        self,
        dir_fd: int,
        config: dict[str, Any],
        begin: Callable[[list[str], int], int],
        changed: Callable[[str], None],
    ) -> None:
        """begin: starts a command with its output at a descriptor, and returns the pid of the child."""
        self._dir_fd, self._config, self._begin, self._changed = dir_fd, config, begin, changed
        self._status, self._streak = "starting", 0
        self._log: list[dict[str, Any]] = []
        self._check: Check | None = None
        self._waiting: list[sockets.Socket] = []
        self._born = time.monotonic()
        self._due = self._born + self._interval()
        self._note()

    def _interval(self) -> float:
        if (
            self._status == "starting"
            and time.monotonic() - self._born < self._config["start_period"]
        ):
            return float(self._config["start_interval"] or self._config["interval"])
        return float(self._config["interval"])

    def interest(self) -> list[int]:
        """Descriptors to wait for."""
        if self._check is None:
            return []
        return [fd for fd in (self._check.fd, self._check.pidfd) if fd >= 0]

    def next_moment(self) -> float:
        """When `tick` has something to do (CLOCK_MONOTONIC)."""
        return self._check.deadline if self._check else self._due

    def handle(self, fd: int) -> bool:
        """Go on with a descriptor that is ready; False if it is none of ours."""
        check = self._check
        if check is None or fd not in (check.fd, check.pidfd):
            return False
        if fd == check.fd:
            if not check.read():
                os.close(check.fd)
                check.fd = -1
        else:
            self._finish(processes.exit_code(check.pid))
        return True

    def tick(self) -> None:
        """Begin a check that is due, end one that has taken too long."""
        now = time.monotonic()
        if self._check is not None:
            if now >= self._check.deadline:
                self._check.kill()
                seconds = self._config["timeout"]
                self._check.output = f"Health check exceeded timeout ({seconds:g}s)".encode()
                self._finish(-1)
        elif now >= self._due:
            self._start()

    def ask(self, sock: sockets.Socket) -> None:
        """`healthcheck run`: check now, and tell the result."""
        self._waiting.append(sock)
        if self._check is None:
            self._start()

    def _start(self) -> None:
        out, theirs = os.pipe()
        try:
            pid = self._begin(command(self._config["test"]), theirs)
        except OSError:  # no more processes may be made: try again later
            self._due = time.monotonic() + self._interval()
            os.close(out)
            return
        finally:
            os.close(theirs)
        self._check = Check(pid, out, self._config["timeout"])

    def _finish(self, code: int) -> None:
        check, self._check = self._check, None
        assert check is not None
        while check.fd >= 0 and select.select([check.fd], [], [], 0)[0] and check.read():
            pass  # a process that it left behind may keep the pipe open
        for fd in (check.fd, check.pidfd):
            if fd >= 0:
                os.close(fd)
        entry = {
            "Start": check.started,
            "End": stamp(time.time_ns()),
            "ExitCode": code,
            "Output": check.output.decode(errors="replace"),
        }
        self._log = [*self._log, entry][-KEPT:]
        self._judge(code)
        self._due = time.monotonic() + self._interval()
        for sock in self._waiting:
            messages.send(sock, {"kind": "health", "code": code, "status": self._status})
        self._waiting = []

    def _judge(self, code: int) -> None:
        before = self._status
        if code == 0:
            self._status, self._streak = "healthy", 0
        elif before != "starting" or time.monotonic() - self._born >= self._config["start_period"]:
            self._streak += 1
            if self._streak >= self._config["retries"]:
                self._status = "unhealthy"
        self._note()
        if self._status != before:
            self._changed(self._status)

    def _note(self) -> None:
        document = {"Status": self._status, "FailingStreak": self._streak, "Log": self._log}
        try:
            files.write_atomic(self._dir_fd, HEALTH, jsontext.dumps(document).encode(), sync=False)
        except OSError:
            return  # a full disk

    def close(self) -> None:
        """The run is over: so is a check that is under way."""
        check, self._check = self._check, None
        if check is not None:
            check.kill()
            for fd in (check.fd, check.pidfd):
                if fd >= 0:
                    os.close(fd)
        for sock in self._waiting:
            messages.send(sock, {"kind": "health", "code": -1, "status": "stopped"})


def command(test: list[str]) -> list[str]:
    """What is executed for an OCI image's Healthcheck.Test."""
    if test[0] == "CMD-SHELL":
        return ["/bin/sh", "-c", *test[1:]]
    return test[1:]


def begin(
    runtime: Runtime, process: Process, started: int, spec: dict[str, Any], words: list[str],
    out: int, place: Callable[[], None], enter: Callable[[int], None] | None,
) -> int:  # fmt: skip
    """Start a command in the container, as its user and with its environment; the pid of a child to wait for.

    place: called first, to move the child to the container's cgroup.  enter: called with a pidfd of the container's
    first process, where it is in a user namespace of its own.
    """
    pid = os.fork()
    if pid:
        return pid
    status: Any = 125
    try:
        processes.die_with_parent()
        place()
        if enter is not None:
            pidfd = os.pidfd_open(process.pid)
            libc.setns(pidfd, libc.CLONE_NEWUSER)
            enter(pidfd)
            processes.die_with_parent()
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        document = {**spec["process"], "args": words, "terminal": False}
        joined = runtime.exec(process.pid, started, spec, document, Io(null, out, out))
        status = processes.exit_code(joined.pid)
    except BaseException as error:
        what, why, _, status = to_report(error, "the health check failed")
        os.write(out, f"{what}: {why}".encode())
    finally:
        os._exit(status)
