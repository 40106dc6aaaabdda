"""logs: a container's output as it was written, from the log file."""

from __future__ import annotations

import os
import time

from sampan import files
from sampan.engine import losses, warn
from sampan.engine.logfile import parse_record
from sampan.engine.logread import Files
from sampan.errors import SampanError
from sampan.linux import processes
from sampan.model.rfc3339 import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.engine import Engine
    from sampan.engine.journal import Journal
    from sampan.model.container import Run

POLL_SECONDS = 0.1  # how soon a follower sees new output


class Selection:
    """Which records, and how they are shown. Times are seconds since the epoch."""

    __slots__ = ("since", "tail", "timestamps", "until")

    def __init__(
        self, *, since: float | None, until: float | None, tail: int, timestamps: bool
    ) -> None:
        self.since = stamp(int(since * 1e9)) if since is not None else ""
        self.until = stamp(int(until * 1e9)) if until is not None else ""
        self.tail, self.timestamps = tail, timestamps

    @property
    def plain(self) -> bool:
        return not (self.since or self.until or self.timestamps) and self.tail < 0


def show(
    engine: Engine,
    word: str,
    selection: Selection,
    *,
    follow: bool,
    names: bool,
    ids: bool = False,
) -> None:
    """Write stdout's records to stdout and stderr's to stderr, each line after a name or an id if wanted."""
    container = engine.containers.get(word)
    if container.record["options"]["log_driver"] == "none":
        raise SampanError(
            f"cannot show the log of {container.name}",
            "this container is using the 'none' log driver, cannot read logs",
            "run it with another",
        )
    directory = engine.containers.open(container.id)
    try:
        log: Files | Journal = Files(directory, container.name)
        if container.record["options"]["log_driver"] == "journald":
            from sampan.engine.journal import Journal

            log = Journal(container.id)
        label = container.name if names else container.id[:12] if ids else ""
        prefix = f"{label} ".encode() if label else b""
        writer = _Writer(selection, prefix)
        for line in log.lines(selection.tail):
            writer.add(line)
        writer.flush()
        if follow and container.run:
            writer.begun = writer.begun or selection.since <= stamp(time.time_ns())
            _follow(log, writer, _end_of(engine, container.id, container.run))
        log.close()
    finally:
        os.close(directory)
    lost, why = losses.read(engine.containers.run_fd, container.id)
    if lost:
        warn(f"{lost} records of the log of {container.name} were lost: {why}")
    if writer.damaged:
        warn(f"{writer.damaged} damaged records of the log of {container.name} are left out")


class _Writer:
    """Collects records into large writes, keeping the order of the two streams."""

    def __init__(self, selection: Selection, prefix: bytes) -> None:
        self._selection, self._prefix = selection, prefix
        self._pending: list[bytes] = []
        self._size, self._fd = 0, 1
        self._inside = {1: False, 2: False}
        self.begun = not selection.since  # what follows is later, whatever the clock says of it
        self.damaged = 0

    def add(self, line: bytes) -> None:
        parsed = parse_record(line)
        if parsed is None:
            self.damaged += 1
            return
        moment, stream, text = parsed
        fd = 2 if stream == b"stderr" else 1
        selection = self._selection
        self.begun = self.begun or moment >= selection.since
        if not self.begun or (selection.until and moment > selection.until):
            return
        if not self._inside[fd]:
            if selection.timestamps:
                text = moment.encode() + b" " + text
            text = self._prefix + text
        self._inside[fd] = not text.endswith(b"\n")
        if fd != self._fd or self._size > 1 << 18:
            self.flush()
            self._fd = fd
        self._pending.append(text)
        self._size += len(text)

    def flush(self) -> None:
        if self._pending:
            files.write_all(self._fd, b"".join(self._pending))
        self._pending, self._size = [], 0


def _follow(log: Files | Journal, writer: _Writer, ended: Callable[[], bool]) -> None:
    """Go on until the last byte has been written."""
    last = False
    while True:
        for line in log.more():
            writer.add(line)
        writer.flush()
        if last:
            return
        last = ended()


def _end_of(engine: Engine, container_id: str, run: Run) -> Callable[[], bool]:
    """A wait of POLL_SECONDS at most that says whether the run's monitor has written all that it will."""
    first = processes.open_if_same(run["pid"], run["start_time"])
    monitor = processes.open_if_same(run["monitor"], run["monitor_start_time"])

    def ended() -> bool:
        if _gone(first, POLL_SECONDS) and _gone(monitor, 0.01):
            return True
        return _gone(first, 0) and _recorded(engine, container_id, run["started"])

    return ended


def _gone(pidfd: int | None, seconds: float) -> bool:
    return pidfd is None or processes.ended(pidfd, seconds)


def _recorded(engine: Engine, container_id: str, started: str) -> bool:
    """Whether the last run has ended, and no other one follows."""
    found = engine.containers.exit_record(container_id)
    if found is None or found["started"] < started or found["restarting"]:
        return False
    run = engine.containers.run_record(container_id)
    return run is None or run["started"] == found["started"]
