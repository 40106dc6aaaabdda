"""The log driver journald: a container's lines go to the host's journal, and are read back from there.

Written in the journal's own protocol (systemd.io, JOURNAL_NATIVE_PROTOCOL), with the fields that Docker and
podman use; read by the host's journalctl.
"""

from __future__ import annotations

import _socket
import os
import select

from sampan import jsontext
from sampan.engine.logread import last_lines
from sampan.errors import SampanError
from sampan.model.rfc3339 import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from sampan.engine.losses import Losses
    from sampan.model.container import Record

SOCKET = "/run/systemd/journal/socket"
LONGEST = 48 << 10  # bytes of a message; a longer line is told in parts
PRIORITY = {b"stdout": b"6", b"stderr": b"3"}  # info, err (syslog(3))
SETTLE_SECONDS = 0.2  # until the journal tells what it was told


def check() -> None:
    """Whether the host keeps a journal."""
    try:
        _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM).connect(SOCKET)
    except OSError as error:
        raise SampanError(
            "cannot use the log driver journald",
            f"{SOCKET}: {error.strerror}",
            "choose another with --log-driver",
        ) from None


class JournalWriter:
    """What a LogWriter is to a file."""

    def __init__(self, record: Record, losses: Losses) -> None:
        self._losses = losses
        self._rest = {b"stdout": b"", b"stderr": b""}
        tag = record["options"]["log_options"].get("tag") or record["id"][:12]
        fields = {
            "SYSLOG_IDENTIFIER": tag,
            "CONTAINER_TAG": tag,
            "CONTAINER_ID": record["id"][:12],
            "CONTAINER_ID_FULL": record["id"],
            "CONTAINER_NAME": record["name"],
            "IMAGE_NAME": record["image"]["name"],
        }
        self._head = b"".join(_field(key, text.encode()) for key, text in fields.items())
        self._sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        self._sock.connect(SOCKET)

    def write(self, stream: bytes, data: bytes) -> None:
        """Whole lines are told at once; what has no end yet waits for it, or until it is too long."""
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        for line in lines:
            while len(line) > LONGEST:
                self._tell(stream, line[:LONGEST], partial=True)
                line = line[LONGEST:]
            self._tell(stream, line, partial=False)
        while len(rest) > LONGEST:
            self._tell(stream, rest[:LONGEST], partial=True)
            rest = rest[LONGEST:]
        self._rest[stream] = rest

    def finish(self) -> None:
        """The run is over: tell the line that has no end."""
        for stream, rest in self._rest.items():
            if rest:
                self._tell(stream, rest, partial=True)
        self._rest = {b"stdout": b"", b"stderr": b""}

    def _tell(self, stream: bytes, line: bytes, *, partial: bool) -> None:
        entry = self._head + _field("PRIORITY", PRIORITY[stream]) + _field("MESSAGE", line)
        if partial:
            entry += _field("CONTAINER_PARTIAL_MESSAGE", b"true")
        try:
            self._sock.send(entry)
        except OSError as error:  # the journal is being restarted, or its queue is full
            self._losses.add(1, error.strerror or "")


def _field(key: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return key.encode() + b"=" + value + b"\n"
    return key.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


class Journal:
    """A container's records in the journal, in the form of k8s-file: what `logread.Files` is to a file."""

    def __init__(self, container_id: str) -> None:
        self._words = [
            "journalctl",
            "--quiet",
            "--all",
            "-o",
            "json",
            f"CONTAINER_ID_FULL={container_id}",
        ]
        self._cursor = ""
        self._pending = b""
        self._fd = self._pid = -1

    def lines(self, tail: int = -1) -> Iterator[bytes]:
        """All records; with `tail` the last ones that make that many lines."""
        pid, fd = _start(self._words)
        with open(fd, "rb") as file:
            found = [self._record(line) for line in file]
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == 127:
            raise SampanError("cannot read the journal", "journalctl is not installed")
        yield from found if tail < 0 else last_lines(reversed(found), tail)

    def more(self) -> Iterator[bytes]:
        """What was written since."""
        if self._fd < 0:
            after = [f"--after-cursor={self._cursor}"] if self._cursor else []
            self._pid, self._fd = _start([*self._words, "--follow", "--no-tail", *after])
        while select.select([self._fd], [], [], SETTLE_SECONDS)[0]:
            data = os.read(self._fd, 1 << 18)
            if not data:
                return
            *lines, self._pending = (self._pending + data).split(b"\n")
            for line in lines:
                yield self._record(line)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            os.kill(self._pid, 15)
            os.waitpid(self._pid, 0)
            self._fd = -1

    def _record(self, line: bytes) -> bytes:
        entry: dict[str, Any] = jsontext.loads(line)
        self._cursor = entry["__CURSOR"]
        message: Any = entry.get("MESSAGE") or ""
        text = bytes(message) if isinstance(message, list) else str(message).encode()  # pyright: ignore[reportUnknownArgumentType]
        stream = b"stderr" if entry.get("PRIORITY") == PRIORITY[b"stderr"].decode() else b"stdout"
        mark = b"P" if "CONTAINER_PARTIAL_MESSAGE" in entry else b"F"
        moment = stamp(int(entry["__REALTIME_TIMESTAMP"]) * 1000)
        return b" ".join((moment.encode(), stream, mark, text))


def _start(words: list[str]) -> tuple[int, int]:
    """journalctl in a child: (pid, where its output is read)."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(write_end, 1)
            os.execvp(words[0], words)
        finally:
            os._exit(127)
    os.close(write_end)
    return pid, read_end
