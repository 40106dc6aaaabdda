"""logs: a container's output as it was written, from the log file."""

from __future__ import annotations

import os
import select

from sampan import files
from sampan.engine.logfile import LOG, parse_record, stamp
from sampan.errors import SampanError
from sampan.linux import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan.engine import Engine

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


def show(engine: Engine, word: str, selection: Selection, *, follow: bool, names: bool) -> None:
    """Write stdout's records to stdout and stderr's to stderr."""
    container = engine.containers.get(word)
    if container.record["options"]["log_driver"] == "none":
        raise SampanError(
            f"cannot show the log of {container.name}",
            "this container is using the 'none' log driver, cannot read logs",
            "run it with another",
        )
    directory = engine.containers.open(container.id)
    try:
        try:
            fd = os.open(LOG, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        except FileNotFoundError:
            return
        prefix = f"{container.name} ".encode() if names else b""
        writer = _Writer(selection, prefix)
        for line in _lines(fd, selection):
            writer.add(line)
        writer.flush()
        if follow and container.run:
            _follow(fd, writer, container.run["pid"], container.run["start_time"])
    finally:
        os.close(directory)


class _Writer:
    """Collects records into large writes, keeping the order of the two streams."""

    def __init__(self, selection: Selection, prefix: bytes) -> None:
        self._selection, self._prefix = selection, prefix
        self._pending: list[bytes] = []
        self._size, self._fd = 0, 1
        self._inside = {1: False, 2: False}

    def add(self, line: bytes) -> None:
        moment, stream, text = parse_record(line)
        fd = 2 if stream == "stderr" else 1
        selection = self._selection
        if (selection.since and moment < selection.since) or (
            selection.until and moment > selection.until
        ):
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


def _lines(fd: int, selection: Selection) -> Iterator[bytes]:
    """The log's complete records; with `tail` the last ones that make that many lines."""
    if selection.tail >= 0:
        yield from _tail(fd, selection.tail)
        return
    pending = b""
    while chunk := os.read(fd, 1 << 20):
        lines = (pending + chunk).split(b"\n")
        pending = lines.pop()
        yield from lines
    if pending:
        os.lseek(fd, -len(pending), os.SEEK_CUR)


def _tail(fd: int, count: int) -> Iterator[bytes]:
    end = position = os.lseek(fd, 0, os.SEEK_END)
    data = b""
    while position > 0 and data.count(b"\n") < 4 * count + 64:
        step = min(position, 1 << 16)
        position -= step
        data = os.pread(fd, step, position) + data
        if _count_full(data) > count:
            break
    lines = data.split(b"\n")[:-1]
    if position > 0:
        lines = lines[1:]
    kept = 0
    start = len(lines)
    for index in range(len(lines) - 1, -1, -1):
        if _is_full(lines[index]) or index == len(lines) - 1:
            kept += 1
            if kept > count:
                break
        start = index
    os.lseek(fd, end, os.SEEK_SET)
    yield from lines[start:]


def _count_full(data: bytes) -> int:
    return data.count(b" F ") if not data.startswith(b"{") else data.count(b"\n")


def _is_full(line: bytes) -> bool:
    if line.startswith(b"{"):
        return True
    return line.split(b" ", 3)[2:3] == [b"F"]


def _follow(fd: int, writer: _Writer, pid: int, started: int) -> None:
    """Go on until the first process is gone and its monitor has written the last byte."""
    pending = b""
    pidfd = processes.open_if_same(pid, started)
    poll = select.poll()
    if pidfd is not None:
        poll.register(pidfd, select.POLLIN)
    quiet = 0
    while quiet < 3:
        alive = pidfd is not None and not poll.poll(int(POLL_SECONDS * 1000))
        read = False
        while chunk := os.read(fd, 1 << 20):
            read = True
            lines = (pending + chunk).split(b"\n")
            pending = lines.pop()
            for line in lines:
                writer.add(line)
        writer.flush()
        if not alive:
            quiet = 0 if read else quiet + 1
            if quiet < 3:
                select.poll().poll(30)
    if pidfd is not None:
        os.close(pidfd)
