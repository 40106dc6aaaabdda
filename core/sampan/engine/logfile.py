"""The container's output on disk: one record a line, in order, byte-exact.

`k8s-file` (CRI): `TIME STREAM F|P TEXT`, where P marks a part of a line whose rest follows.  `json-file`: Docker's
objects.  A full disk never stops the container: records are dropped and counted (sampan.engine.losses).
"""

from __future__ import annotations

import errno
import os
import time

from sampan import jsontext
from sampan.engine.losses import Losses
from sampan.model.rfc3339 import stamp

LOG = "log"
NEW = "log.new"
FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


def name(number: int) -> str:
    """The name of the current log, or of the `number`th before it."""
    return f"{LOG}.{number}" if number else LOG


class LogWriter:
    """Appends to the log of a container; `driver` is k8s-file, json-file or none.

    With a `limit` (bytes) the log is begun anew before a record that would make it larger.  Of `files` files the
    older ones are log.1, log.2, ...; with one alone the log is emptied, as conmon does.  losses: where what does not
    fit is counted; by default beside the log.
    """

    def __init__(
        self,
        dir_fd: int,
        driver: str,
        limit: int = 0,
        files: int = 1,
        losses: Losses | None = None,
    ) -> None:
        self._json, self._limit, self._files = driver == "json-file", limit, files
        self._dir_fd = dir_fd
        self._losses = losses or Losses(dir_fd)
        self._fd = -1
        if driver != "none":
            self._fd = os.open(LOG, FLAGS, 0o600, dir_fd=dir_fd)
            self._end_torn_record()

    def _end_torn_record(self) -> None:
        """The last run's monitor may have been killed while it wrote."""
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            self._append(b"\n")

    def write(self, stream: bytes, data: bytes) -> None:
        """One piece of output as it was read; it may hold many lines and end within one."""
        if self._fd < 0:
            return
        moment = stamp(time.time_ns())
        record = self._objects(stream, data, moment) if self._json else _lines(stream, data, moment)
        self._append(record)

    def finish(self) -> None:
        """The run is over; a file has everything already."""

    def _append(self, record: bytes) -> None:
        """All of the record or nothing: what comes later must begin on a line of its own."""
        view = memoryview(record)
        try:
            if self._limit and os.fstat(self._fd).st_size + len(record) > self._limit:
                self._begin_anew()
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise
            if written := len(record) - len(view):
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            self._losses.add(record.count(b"\n"), error.strerror or "")

    def _begin_anew(self) -> None:
        """Whenever this is interrupted, every record is in one of the files, and none is in two."""
        if self._files < 2:
            os.ftruncate(self._fd, 0)
            return
        fd = os.open(
            NEW, FLAGS | os.O_TRUNC, 0o600, dir_fd=self._dir_fd
        )  # first: a disk may be full
        for number in range(self._files - 1, 0, -1):
            try:
                os.rename(
                    name(number - 1), name(number), src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd
                )
            except FileNotFoundError:
                continue
        os.rename(NEW, LOG, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
        os.close(self._fd)
        self._fd = fd

    @staticmethod
    def _objects(stream: bytes, data: bytes, moment: str) -> bytes:
        *whole, rest = data.split(b"\n")
        rows = [
            jsontext.dumps(
                {
                    "log": line.decode(errors="surrogateescape"),
                    "stream": stream.decode(),
                    "time": moment,
                }
            )
            for line in [*(line + b"\n" for line in whole), *([rest] if rest else [])]
        ]
        return "".join(row + "\n" for row in rows).encode()


def _lines(stream: bytes, data: bytes, moment: str) -> bytes:
    start = moment.encode() + b" " + stream
    full, partial = start + b" F ", start + b" P "
    body, newline, rest = data.rpartition(b"\n")
    record = full + body.replace(b"\n", b"\n" + full) + b"\n" if newline else b""
    return record + partial + rest + b"\n" if rest else record


def parse_record(line: bytes) -> tuple[str, bytes, bytes] | None:
    """(time, stream, bytes with their newline if there was one); None for what is no record."""
    try:
        if line.startswith(b"{"):
            row: dict[str, str] = jsontext.loads(line)
            text = row["log"].encode(errors="surrogateescape")
            moment, stream = row["time"], row["stream"].encode()
        else:
            when, stream, mark, text = line.split(b" ", 3)
            moment = when.decode()
            text = text + b"\n" if mark == b"F" else text
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return (moment, stream, text) if stream in (b"stdout", b"stderr") else None
