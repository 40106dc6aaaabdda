"""What `build` shows of its steps on standard error: BuildKit's lines, or nothing.

A display is called with the events of `sampan.drivers.build.BuildHost.progress`, and is closed at the end.  Steps that
run at the same time would mix their lines: plain text stays with one step until it ends, or others have waited for
long.  build_terminal.py has the view for a terminal, build_rawjson.py what programs read.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from typing import TYPE_CHECKING

from sampan import files
from sampan.cli.format import escape
from sampan.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

KINDS = ("auto", "plain", "tty", "rawjson", "quiet")
KEPT = 2 << 20  # bytes of a step's output that are shown again when it fails (BuildKit's limit)
LOADING = "loading"
LINE = 64 << 10  # bytes; a longer line is shown in parts
PATIENCE = 5.0  # seconds that a step's words wait for another step
TAIL = 10  # lines that plain text shows again
_PROGRESS = 0.05  # of a download, between two lines
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


class Display:
    """Keeps the steps; a subclass shows them. This one says nothing until a step fails."""

    def __init__(self, fd: int = 2) -> None:
        self.fd = fd
        self.steps: dict[Any, Step] = {}
        self.warnings: list[str] = []
        self.begun = time.monotonic()

    def __call__(self, event: Mapping[str, Any]) -> None:
        """One event; a kind that is not known means nothing to this display."""
        handler: Callable[[Mapping[str, Any]], None] | None = {
            "step": self._on_step,
            "output": self._on_output,
            "bytes": self._on_bytes,
            "warning": self._on_warning,
            "say": self._on_say,
        }.get(event["kind"])
        if handler is not None:
            handler(event)

    def close(self, *, failed: bool = False) -> None:
        """The last words: what a step that failed has written, and warnings."""
        self._end_loading()
        for step in self.steps.values():
            if step.state == "failed":
                self.fail(step)
        if self.warnings and not failed:
            count = len(self.warnings)
            self.write(f"\n {count} warning{'s' if count > 1 else ''} found:\n")
            self.write("".join(f" - {text}\n" for text in self.warnings))

    def fail(self, step: Step) -> None:
        self._again(step, list(step.kept))

    def _again(self, step: Step, rows: list[tuple[float, str]]) -> None:
        self.write(f"------\n > {escape(step.name)}:\n")
        self.write("".join(f"{clock(seconds)} {coloured(text)}\n" for seconds, text in rows))
        self.write("------\n")

    def write(self, text: str) -> None:
        files.write_all(self.fd, text.encode(errors="backslashreplace"))

    def started(self, step: Step) -> None: ...

    def printed(self, step: Step, rows: list[tuple[float, str]]) -> None: ...

    def advanced(self, step: Step, amount: Amount) -> None: ...

    def ended(self, step: Step) -> None: ...

    def said(self, text: str) -> None: ...

    def _step_of(self, event: Mapping[str, Any]) -> Step:
        number = event["id"]
        if number not in self.steps:
            self.steps[number] = Step(len(self.steps) + 1, str(event.get("name") or number))
        return self.steps[number]

    def _end_loading(self) -> None:
        """What was loaded before the first step is there now."""
        for step in list(self.steps.values()):
            if step.state == LOADING:
                step.state, step.ended = "done", time.monotonic()
                self.ended(step)

    def _on_step(self, event: Mapping[str, Any]) -> None:
        self._end_loading()
        step = self._step_of(event)
        if event.get("name"):
            step.name = str(event["name"])
        step.state = str(event["state"])
        step.error = str(event.get("error") or "")
        if not step.began:
            step.began = time.monotonic()
        if step.state in ("started", "waiting"):
            step.ended = 0.0
            self.started(step)
            return
        rows = step.finish()
        step.ended = time.monotonic()
        if rows:
            self.printed(step, rows)
        self.ended(step)
        if step.state != "failed":
            step.kept.clear()

    def _on_output(self, event: Mapping[str, Any]) -> None:
        step = self._step_of(event)
        if rows := step.take(event["data"]):
            self.printed(step, rows)

    def _on_bytes(self, event: Mapping[str, Any]) -> None:
        step = self._step_of(event)
        if not step.state:  # of no step that was told of: base images, say
            step.name, step.state, step.began = "[internal] load images", LOADING, time.monotonic()
        what = str(event["what"])
        amount = step.amounts.setdefault(what, Amount(what))
        amount.began = amount.began or time.monotonic()
        amount.done, amount.total = int(event["done"]), int(event.get("total") or 0)
        if amount.total and amount.done >= amount.total and not amount.ended:
            amount.ended = time.monotonic()
        self.advanced(step, amount)

    def _on_warning(self, event: Mapping[str, Any]) -> None:
        text = escape(str(event["text"]))
        if event.get("file"):
            text += f" ({escape(str(event['file']))}:{event.get('line', 0)})"
        self.warnings.append(text)

    def _on_say(self, event: Mapping[str, Any]) -> None:
        self.said(escape(str(event["text"])))


class Plain(Display):
    """BuildKit's plain lines: `#5 [2/3] RUN make`, `#5 0.123 output`, `#5 DONE 1.2s`."""

    def __init__(self, fd: int = 2) -> None:
        super().__init__(fd)
        self._current: Step | None = None
        self._numbers: dict[Step, int] = {}
        self._waiting: dict[Step, list[str]] = {}  # lines that are not shown yet
        self._since: dict[Step, float] = {}
        self._told: dict[Amount, tuple[float, int]] = {}

    def started(self, step: Step) -> None:
        self._say(step, ["waiting"] if step.state == "waiting" else [])

    def printed(self, step: Step, rows: list[tuple[float, str]]) -> None:
        self._say(step, [f"{clock(seconds)} {coloured(text)}" for seconds, text in rows])

    def advanced(self, step: Step, amount: Amount) -> None:
        before, done = self._told.get(amount, (0.0, -1))
        now = time.monotonic()
        part = (amount.done - done) / amount.total if amount.total else 0.0
        if done >= 0 and not amount.ended and part < _PROGRESS and now - before < PATIENCE:
            return
        if done == amount.done:
            return
        self._told[amount] = now, amount.done
        words = [escape(amount.what), amount.text()]
        if now - amount.began > 0.01:
            words.append(f"{now - amount.began:.1f}s")
        self._say(step, [" ".join(filter(None, [*words, "done" if amount.ended else ""]))])

    def ended(self, step: Step) -> None:
        last = {
            "cached": "CACHED",
            "canceled": "CANCELED",
            "failed": f"ERROR: {escape(step.error)}" if step.error else "ERROR",
        }.get(step.state, f"DONE {step.seconds:.1f}s")
        self._waiting.setdefault(step, []).append(last)
        self._show(step)
        self._current = None
        self._since.pop(step, None)
        for other in list(self._waiting):
            if not other.over:
                self._show(other)
                return

    def said(self, text: str) -> None:
        self.write(f"{text}\n")

    def fail(self, step: Step) -> None:
        self._again(step, list(step.kept)[-TAIL:])

    def _say(self, step: Step, lines: list[str]) -> None:
        self._waiting.setdefault(step, []).extend(lines)
        since = self._since.setdefault(step, time.monotonic())
        if self._current in (None, step) or time.monotonic() - since > PATIENCE:
            self._show(step)

    def _show(self, step: Step) -> None:
        lines: list[str] = []
        if self._current is not step:
            if self._current is not None:
                lines.append(f"#{self._numbers[self._current]} ...")
            if self._numbers:
                lines.append("")
            number = self._numbers.setdefault(step, len(self._numbers) + 1)
            lines.append(f"#{number} {escape(step.name)}")
            self._current = step
        number = self._numbers[step]
        lines += [f"#{number} {line}" for line in self._waiting.pop(step, [])]
        self._since.pop(step, None)
        if lines:
            self.write("\n".join(lines) + "\n")


def display(kind: str, fd: int = 2) -> Display:
    """The display of --progress; it is closed by the caller."""
    if kind not in KINDS:
        raise UsageError(f"invalid --progress {kind!r}", "", f"one of {', '.join(KINDS)}")
    if kind in ("auto", "tty") and os.isatty(fd):
        from sampan.cli.build_terminal import Terminal

        return Terminal(fd)
    if kind == "tty":
        raise UsageError(
            "cannot show --progress tty", "the output is no terminal", "--progress plain"
        )
    if kind == "rawjson":
        from sampan.cli.build_rawjson import RawJson

        return RawJson(fd)
    return Display(fd) if kind == "quiet" else Plain(fd)
