"""What `build` shows of its steps on standard error: BuildKit's lines, or nothing.

A display is called with the events of `sampan.drivers.build.BuildHost.progress`, and is closed at the end.  Steps that
run at the same time would mix their lines: plain text stays with one step until it ends, or others have waited for
long.  build_terminal.py has the view for a terminal, build_rawjson.py what programs read.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from sampan import files
from sampan.cli.build_steps import Amount, Step, clock, coloured
from sampan.cli.format import escape
from sampan.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

KINDS = ("auto", "plain", "tty", "rawjson", "quiet")
LOADING = "loading"
PATIENCE = 5.0  # seconds that a step's words wait for another step
TAIL = 10  # lines that plain text shows again
INTERVAL = 0.5  # seconds between two lines about a download
_PROGRESS = 0.05  # of a download, between two lines that are no 5 seconds apart


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
        """The last words: what a step that failed has written."""
        self._end_loading()
        for step in self.steps.values():
            if step.state == "failed":
                self.fail(step)

    def warn(self) -> None:
        """All warnings, at the end."""
        if self.warnings:
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

    def _step_of(self, event: Mapping[str, Any], number: object = None) -> Step:
        number = event["id"] if number is None else number
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
        # What belongs to no step that was told of is what steps need: base images.
        step = self._step_of(event, None if event["id"] in self.steps else LOADING)
        if not step.state:
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
        if event.get("line"):
            text += f" ({escape(str(event['file']))}:{event['line']})"
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

    def close(self, *, failed: bool = False) -> None:
        super().close(failed=failed)
        self.warn()

    def started(self, step: Step) -> None:
        self._say(step, ["waiting"] if step.state == "waiting" else [])

    def printed(self, step: Step, rows: list[tuple[float, str]]) -> None:
        self._say(step, [f"{clock(seconds)} {coloured(text)}" for seconds, text in rows])

    def advanced(self, step: Step, amount: Amount) -> None:
        before, done = self._told.get(amount, (0.0, -1))
        now = time.monotonic()
        part = (amount.done - done) / amount.total if amount.total else 0.0
        patience = INTERVAL if part >= _PROGRESS else PATIENCE
        if done >= 0 and not amount.ended and now - before < patience:
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
