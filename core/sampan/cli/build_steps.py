"""A build's steps as they are shown, and the lines that their commands have written."""

from __future__ import annotations

import re
import time
from collections import deque

from sampan.cli.format import escape

KEPT = 2 << 20  # bytes of a step's output that are shown again when it fails (BuildKit's limit)
LINE = 64 << 10  # bytes; a longer line is shown in parts
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_RESET = "\x1b[0m"


def plain(text: str) -> str:
    """A line of a command's output for a terminal: what a progress bar has overwritten and all sequences are gone."""
    return escape(_SEQUENCE.sub("", _last(text)).replace("\t", " "))


def coloured(text: str) -> str:
    """A line of a command's output with its colours; every other sequence is written out."""
    parts: list[str] = []
    at = 0
    text = _last(text)
    for found in _COLOUR.finditer(text):
        parts += [_loose(text[at : found.start()]), found[0]]
        at = found.end()
    parts.append(_loose(text[at:]))
    return "".join(parts) + (_RESET if at else "")


def _loose(text: str) -> str:
    return "\t".join(escape(part) for part in text.split("\t"))


def _last(text: str) -> str:
    return text.rstrip("\r").rpartition("\r")[2]


class Step:
    """One step. began, ended: of time.monotonic(), 0 before; kept: (seconds since it began, line) of its output."""

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self.state, self.error = "", ""
        self.began = self.ended = 0.0
        self.kept: deque[tuple[float, str]] = deque()
        self.amounts: dict[str, Amount] = {}
        self._rest, self._size = b"", 0

    @property
    def over(self) -> bool:
        return self.ended > 0

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.began if self.began else 0.0

    def take(self, data: bytes) -> list[tuple[float, str]]:
        """The lines that are complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LINE:
            lines.append(self._rest[:LINE])
            self._rest = self._rest[LINE:]
        return [self._keep(line) for line in lines]

    def finish(self) -> list[tuple[float, str]]:
        """A last line without an end."""
        rest, self._rest = self._rest, b""
        return [self._keep(rest)] if rest else []

    def _keep(self, data: bytes) -> tuple[float, str]:
        row = self.seconds, data.decode(errors="replace")
        self.kept.append(row)
        self._size += len(row[1])
        while self._size > KEPT and len(self.kept) > 1:
            self._size -= len(self.kept.popleft()[1])
        return row


class Amount:
    """How many bytes of something are there; total is 0 where that is not known."""

    def __init__(self, what: str) -> None:
        self.what, self.done, self.total = what, 0, 0
        self.began = self.ended = 0.0

    def text(self) -> str:
        from sampan.model.sizes import decimal_text

        if self.total:
            return f"{decimal_text(self.done)} / {decimal_text(self.total)}"
        return decimal_text(self.done) if self.done else ""


def clock(seconds: float) -> str:
    """BuildKit's seconds before a line of output: four digits."""
    return f"{seconds:.{3 if seconds < 10 else 2 if seconds < 100 else 1}f}"
