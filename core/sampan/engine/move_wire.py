"""What is spoken between `container move` and `container receive`: JSON messages, each after its length, and blobs.

A message is four bytes (its length, the highest first) and that many bytes of a JSON object with a `kind`.  A
message of the kind `blob` or `volume` tells a `size`, and that many raw bytes follow it.  Both sides begin with
`hello`, which has the number of the protocol.  Neither side trusts the other.
"""

from __future__ import annotations

import json
import os
import select

from sampan import __version__, files
from sampan.errors import CorruptError, LimitError, SampanError, UnsupportedError, from_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Message = dict[str, Any]

PROTOCOL = 1
LIMIT = 4 << 20  # bytes of a message
CHUNK = 256 << 10
ENTRIES = 4096  # of a list in a message
BEGINNING = 64  # bytes of something else that a user is shown


class Wire:
    """A pair of descriptors, and what the messages of an error call the other side."""

    def __init__(self, incoming: int, outgoing: int, peer: str) -> None:
        self._in, self._out, self.peer = incoming, outgoing, peer
        self.sent = 0  # bytes of blobs

    def send(self, kind: str, **fields: object) -> None:
        data = json.dumps({"kind": kind, **fields}).encode()
        if len(data) > LIMIT:
            raise LimitError(
                "cannot move the container",
                f"its options are a message of {len(data)} bytes, and at most {LIMIT} are taken",
            )
        self._write(len(data).to_bytes(4, "big") + data)

    def _write(self, data: bytes) -> None:
        try:
            files.write_all(self._out, data)
        except BrokenPipeError:
            raise self.gone() from None

    def gone(self) -> SampanError:
        """The other side has closed the connection: its last words, if it has said any."""
        while True:
            try:
                self.receive("error")
            except CorruptError:
                continue  # what it said before
            except SampanError as error:
                return error

    def receive(self, *kinds: str) -> Message:
        """The next message, of one of the kinds; an error that the other side tells is raised."""
        head = self._read(4)
        length = int.from_bytes(head, "big")
        if not 0 < length <= LIMIT:
            more = os.read(self._in, BEGINNING) if select.select([self._in], [], [], 0)[0] else b""
            shown = (head + more).decode(errors="backslashreplace")
            raise LimitError(
                f"{self.peer} does not speak the protocol of moving",
                f"a message would have {length} bytes, and at most {LIMIT} are taken (it begins with {shown!r})",
                "a start-up file of the shell there must print nothing",
            )
        try:
            message: Any = json.loads(self._read(length))
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict) or not isinstance(message.get("kind"), str):  # pyright: ignore[reportUnknownMemberType]
            raise CorruptError(
                f"a message of {self.peer} is refused", "it is no JSON object with a kind"
            )
        found: Message = message  # pyright: ignore[reportUnknownVariableType]
        if found["kind"] == "error":
            raise self._told(found)
        if found["kind"] not in kinds:
            raise CorruptError(
                f"a message of {self.peer} is refused",
                f"it is of the kind {found['kind'][:40]!r}, and {' or '.join(kinds)} is due",
            )
        return found

    def _told(self, message: Message) -> SampanError:
        report: Any = message.get("report")
        if not isinstance(report, list) or [type(part) for part in report] != [str, str, str, int]:  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            return CorruptError(f"{self.peer} tells of an error", "its report is damaged")
        error = from_report(report)  # pyright: ignore[reportUnknownArgumentType]
        return SampanError(f"{self.peer}: {error.what}", error.why, error.hint)

    def _read(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            part = os.read(self._in, min(count, CHUNK))
            if not part:
                raise Gone(
                    f"{self.peer} has ended the connection", "", "what it or ssh said is above"
                )
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def send_file(self, fd: int, size: int, advance: Callable[[int], object]) -> None:
        """That many bytes of a file, from its beginning."""
        at = 0
        while at < size:
            chunk = os.pread(fd, min(CHUNK, size - at), at)
            if not chunk:
                raise CorruptError("cannot send a file", f"it has {at} of its {size} bytes")
            self._write(chunk)
            at += len(chunk)
            self.sent += len(chunk)
            advance(at)

    def receive_bytes(self, size: int, take: Callable[[bytes], object]) -> None:
        """That many raw bytes, chunk by chunk."""
        while size:
            chunk = self._read(min(size, CHUNK))
            size -= len(chunk)
            take(chunk)


class Gone(SampanError):
    """The other side has closed the connection."""


def greet(wire: Wire) -> None:
    """Both sides say which protocol they speak."""
    wire.send("hello", protocol=PROTOCOL, sampan=__version__)
    theirs = wire.receive("hello")
    number = whole(theirs, "protocol")
    if number != PROTOCOL:
        raise UnsupportedError(
            f"cannot move a container between this sampan and that of {wire.peer}",
            f"it speaks version {number} of the protocol of moving, this one speaks {PROTOCOL} "
            f"(sampan {text(theirs, 'sampan')[:40]} and {__version__})",
            f"{'this one' if number > PROTOCOL else 'the other one'} is too old: update it",
        )


def _field(message: Message, key: str, kind: type) -> Any:
    value: Any = message.get(key)
    if type(value) is not kind:
        raise CorruptError(
            f"a message {str(message.get('kind', ''))[:40]!r} is refused",
            f"{key} is missing or of a wrong type",
        )
    return value


def text(message: Message, key: str) -> str:
    return str(_field(message, key, str))


def flag(message: Message, key: str) -> bool:
    return bool(_field(message, key, bool))


def whole(message: Message, key: str) -> int:
    """A number that is not negative."""
    number = int(_field(message, key, int))
    if number < 0:
        raise CorruptError(f"{key} of a message is refused", "it is negative")
    return number


def texts(message: Message, key: str) -> list[str]:
    found = _entries(message, key)
    if not all(isinstance(one, str) for one in found):
        raise CorruptError(f"{key} of a message is refused", "it is no list of texts")
    return found


def objects(message: Message, key: str) -> list[Message]:
    found = _entries(message, key)
    if not all(isinstance(one, dict) for one in found):
        raise CorruptError(f"{key} of a message is refused", "it is no list of objects")
    return found


def _entries(message: Message, key: str) -> list[Any]:
    found: list[Any] = _field(message, key, list)
    if len(found) > ENTRIES:
        raise LimitError(f"{key} of a message is refused", f"more than {ENTRIES} entries")
    return found
