"""The container's output on disk: one record a line, in order, byte-exact.

`k8s-file` (CRI): `TIME STREAM F|P TEXT`, where P marks a part of a line whose rest follows.  `json-file`: Docker's
objects.  A full disk never stops the container: records are dropped and counted.
"""

from __future__ import annotations

import errno
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = "log"


def stamp(moment: int) -> str:
    """RFC 3339 with nanoseconds, UTC, of nanoseconds since the epoch."""
    seconds, rest = divmod(moment, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}+00:00"


class LogWriter:
    """Appends to the log of a container; `driver` is k8s-file, json-file or none."""

    def __init__(self, dir_fd: int, driver: str) -> None:
        self._json = driver == "json-file"
        self.dropped = 0
        self._fd = -1
        if driver != "none":
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(LOG, flags, 0o600, dir_fd=dir_fd)

    def write(self, stream: bytes, data: bytes) -> None:
        """One piece of output as it was read; it may hold many lines and end within one."""
        if self._fd < 0:
            return
        moment = stamp(time.time_ns())
        record = self._objects(stream, data, moment) if self._json else _lines(stream, data, moment)
        try:
            view = memoryview(record)
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise
            self.dropped += 1

    @staticmethod
    def _objects(stream: bytes, data: bytes, moment: str) -> bytes:
        name = stream.decode()
        rows = [
            json.dumps(
                {"log": line.decode(errors="surrogateescape"), "stream": name, "time": moment}
            )
            for line in data.splitlines(keepends=True)
        ]
        return "".join(row + "\n" for row in rows).encode()


def _lines(stream: bytes, data: bytes, moment: str) -> bytes:
    start = moment.encode() + b" " + stream
    full, partial = start + b" F ", start + b" P "
    body, newline, rest = data.rpartition(b"\n")
    record = full + body.replace(b"\n", b"\n" + full) + b"\n" if newline else b""
    return record + partial + rest + b"\n" if rest else record


def read_records(fd: int) -> Iterator[tuple[str, str, bytes]]:
    """(time, stream, bytes with their newline if there was one) of a log, from the descriptor's offset."""
    pending = b""
    while chunk := os.read(fd, 1 << 20):
        lines = (pending + chunk).split(b"\n")
        pending = lines.pop()
        for line in lines:
            yield parse_record(line)


def parse_record(line: bytes) -> tuple[str, str, bytes]:
    if line.startswith(b"{"):
        row = json.loads(line)
        return row["time"], row["stream"], row["log"].encode(errors="surrogateescape")
    moment, stream, mark, text = line.split(b" ", 3)
    return moment.decode(), stream.decode(), text + b"\n" if mark == b"F" else text
