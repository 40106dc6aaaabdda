"""Reading a container's log: the current file, those that were rotated away, and what is being added."""

from __future__ import annotations

import os
import stat

from sampan.engine.logfile import name, parse_record
from sampan.errors import CorruptError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 64 << 10
LOOKBACK = 4 << 20  # bytes of other lines that are searched for the beginning of a line
MISSING = 2  # so many names in a row that are not there are the end; a killed monitor may leave one


class Files:
    """The log's files, opened at one moment; `lines` first, then `more` as often as wanted."""

    def __init__(self, directory: int, container: str) -> None:
        self._directory, self._container = directory, container
        self._fds = self._open_all()  # the newest first
        self._pending = b""

    def _open_all(self) -> list[int]:
        fds: list[int] = []
        seen: set[int] = set()
        number = missing = 0
        while missing < MISSING:
            fd = self._open(number)
            number += 1
            if fd is None:
                missing += 1
                continue
            missing = 0
            inode = os.fstat(fd).st_ino
            if inode in seen:  # it was rotated between two looks
                os.close(fd)
                continue
            seen.add(inode)
            fds.append(fd)
        return fds

    def _open(self, number: int) -> int | None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name(number), flags, dir_fd=self._directory)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise CorruptError(
                f"cannot read the log of {self._container}", "it is not a regular file"
            )
        return fd

    def lines(self, tail: int = -1) -> Iterator[bytes]:
        """The complete records; with `tail` the last ones that make that many lines."""
        if not self._fds:
            return
        if tail >= 0:
            yield from self._tail(tail)
        else:
            for fd in reversed(self._fds):
                yield from self._rest(fd)
        while len(self._fds) > 1:
            os.close(self._fds.pop())

    def more(self) -> Iterator[bytes]:
        """What was written since, through every rotation."""
        if not self._fds and (fd := self._open(0)) is not None:
            self._fds = [fd]
        while self._fds:
            fd = self._fds[0]
            renewed = self._number(fd) != 0  # asked first: what comes until then is read below
            if os.lseek(fd, 0, os.SEEK_CUR) > os.fstat(fd).st_size:  # emptied: see LogWriter
                os.lseek(fd, 0, os.SEEK_SET)
                self._pending = b""
            yield from self._rest(fd)
            newer = self._next(fd) if renewed else None
            if newer is None:
                return
            self._fds = [newer]
            os.close(fd)

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())

    def _rest(self, fd: int) -> Iterator[bytes]:
        """The records from where the descriptor stands; an unfinished one is kept for the next time."""
        while chunk := os.read(fd, 1 << 20):
            *lines, self._pending = (self._pending + chunk).split(b"\n")
            yield from lines

    def _number(self, fd: int) -> int | None:
        """How many files are newer; None: it is not kept any more, or is being renamed."""
        inode = os.fstat(fd).st_ino
        number = missing = 0
        while missing < MISSING:
            try:
                if os.stat(name(number), dir_fd=self._directory).st_ino == inode:
                    return number
                missing = 0
            except FileNotFoundError:
                missing += 1
            number += 1
        return None

    def _next(self, fd: int) -> int | None:
        """The file after this one, or the oldest that is kept; None if there is none yet."""
        while True:
            number = self._number(fd)
            fds = self._open_all() if number is None else self._newer(number)
            for other in fds[:-1]:
                os.close(other)
            if self._number(fd) == number:
                return fds[-1] if fds else None
            for other in fds[-1:]:  # rotated between two looks
                os.close(other)

    def _newer(self, number: int) -> list[int]:
        """The file before this number; a writer that was killed may have left a gap."""
        for lower in range(number - 1, -1, -1):
            if (found := self._open(lower)) is not None:
                return [found]
        return []

    def _tail(self, count: int) -> Iterator[bytes]:
        newest = self._fds[0]
        size = os.lseek(newest, 0, os.SEEK_END)
        records = self._backwards(size)
        os.lseek(
            newest, size - len(next(records, b"")), os.SEEK_SET
        )  # behind the last complete one
        yield from last_lines(records, count)

    def _backwards(self, size: int) -> Iterator[bytes]:
        """What newlines separate, the last first; at first what follows the last newline, perhaps nothing."""
        yield from _backwards(self._fds[0], size)
        for fd in self._fds[1:]:
            yield from _backwards(fd, os.fstat(fd).st_size)


def _backwards(fd: int, end: int) -> Iterator[bytes]:
    rest = b""
    while end > 0:
        step = min(end, BLOCK)
        end -= step
        rest, *lines = (os.pread(fd, step, end) + rest).split(b"\n")
        yield from reversed(lines)
    if rest:
        yield rest


def last_lines(records: Iterator[bytes], count: int) -> list[bytes]:
    """The records of the last lines, of all the records the last one first.

    A line is all parts of one stream up to its newline.
    """
    chosen: list[bytes] = []
    inside: dict[bytes, bool] = {}  # by stream: whether the line that we are in is wanted
    kept = passed = 0
    for record in records if count else ():
        parsed = parse_record(record)
        if parsed is None:
            continue
        _, stream, text = parsed
        if text.endswith(b"\n") or stream not in inside:
            inside[stream] = kept < count
            kept += inside[stream]
        if inside[stream]:
            chosen.append(record)
            passed = 0
        else:
            passed += len(record)
        if kept == count and (passed > LOOKBACK or not any(inside.values())):
            break
    return chosen[::-1]
