"""BuildKit's view of a build on a terminal: a line a step, and below running ones what they have written last.

It is drawn over itself, ten times a second at most: when there is something new, and by a timer of this process, so
that seconds pass.  There is no thread, for the engine forks.  A system call that the timer's signal interrupts is
begun again by the kernel; a child has no timer.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from sampan.cli.build_progress import Display
from sampan.cli.build_steps import Amount, Step, plain
from sampan.cli.format import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERVAL = 0.1  # seconds between two drawings
LINES = 6  # of a running step's output
_PAD = 10  # columns that output leaves free, as in BuildKit
_HIDE, _SHOW, _NO_WRAP, _WRAP = "\x1b[?25l", "\x1b[?25h", "\x1b[?7l", "\x1b[?7h"
_BLUE, _YELLOW, _RED, _FAINT, _RESET = "\x1b[34m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_COLOURS = {"done": _BLUE, "cached": _BLUE, "canceled": _YELLOW, "failed": _RED}
_WORDS = {"cached": "CACHED ", "canceled": "CANCELED ", "failed": "ERROR ", "waiting": "WAITING "}


class Terminal(Display):
    """Drawn with escape sequences that every terminal has."""

    def __init__(self, fd: int = 2) -> None:
        super().__init__(fd)
        self._rows, self._drawn = 0, 0.0
        self._colours = "NO_COLOR" not in os.environ
        self._busy = False
        self._before = signal.signal(signal.SIGALRM, lambda number, frame: self._draw())
        signal.siginterrupt(signal.SIGALRM, False)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)

    def close(self, *, failed: bool = False) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        self._draw(last=True, failed=failed)
        super().close(failed=failed)
        self.warn()

    def started(self, step: Step) -> None:
        self._draw()

    def printed(self, step: Step, rows: list[tuple[float, str]]) -> None:
        self._draw()

    def advanced(self, step: Step, amount: Amount) -> None:
        self._draw()

    def ended(self, step: Step) -> None:
        self._draw()

    def said(self, text: str) -> None:
        """A line that stays, above the steps."""
        self._busy = True
        self.write(f"{self._home()}\x1b[J{text}\n")
        self._rows, self._drawn = 0, 0.0
        self._busy = False
        self._draw()

    def _draw(self, *, last: bool = False, failed: bool = False) -> None:
        """Draw over what was drawn; not while that is being done (the timer comes at any moment)."""
        now = time.monotonic()
        if self._busy or (now - self._drawn < INTERVAL and not last):
            return
        self._busy = True
        try:
            width, height = _size(self.fd)
            rows = self._lines(width, height, last, failed)
            body = "".join(f"{row}\x1b[K\n" for row in rows)
            self.write(f"{_HIDE}{_NO_WRAP}{self._home()}{body}\x1b[J{_WRAP}{_SHOW}")
            self._rows, self._drawn = len(rows), now
        finally:
            self._busy = False

    def _home(self) -> str:
        return f"\x1b[{self._rows}A\r" if self._rows else "\r"

    def _lines(self, width: int, height: int, last: bool, failed: bool) -> list[str]:
        steps = [step for step in self.steps.values() if step.began]
        over = sum(step.over for step in steps)
        seconds = time.monotonic() - self.begun
        word = " FINISHED" if last and not failed else ""
        head = f"[+] Building {seconds:.1f}s ({over}/{len(self.steps)}){word}"
        blocks = [self._block(step, width) for step in steps]
        if not last:
            blocks = _fitting(steps, blocks, height - 2)
            self._add_output(steps, blocks, width, height - 2)
        return [head[:width], *(row for block in blocks for row in block)]

    def _block(self, step: Step, width: int) -> list[str]:
        """The rows of a step: itself, and what it loads."""
        name = _WORDS.get(step.state, "") + escape(step.name).replace("\t", " ")
        rows = [self._row(f" => {name}", "", step.seconds, width, _COLOURS.get(step.state, ""))]
        for amount in step.amounts.values():
            seconds = (amount.ended or step.ended or time.monotonic()) - amount.began
            colour = _BLUE if amount.ended or step.over else ""
            what = f" => => {escape(amount.what)}"
            rows.append(self._row(what, amount.text(), seconds, width, colour))
        return rows

    def _row(self, text: str, status: str, seconds: float, width: int, colour: str) -> str:
        timer = f"{seconds if seconds >= 0.05 else 0.0:5.1f}s"
        room = max(width - len(timer) - 1, 0)
        if status and room - len(status) > 20:
            text = f"{text[: room - len(status) - 1]} {status}"
        row = f"{text[:room].ljust(room)} {timer}"
        return f"{colour}{row}{_RESET}" if colour and self._colours else row

    def _add_output(
        self, steps: Sequence[Step], blocks: list[list[str]], width: int, room: int
    ) -> None:
        """The last lines of steps that run, those that began last before others, as far as there is room."""
        free = room - sum(map(len, blocks))
        for step, block in reversed(list(zip(steps, blocks, strict=True))):
            if step.over or not block or not step.kept or free < 1:
                continue
            rows = list(step.kept)[-min(LINES, free) :]
            free -= len(rows)
            for _, text in rows:
                row = f" => => # {plain(text)}"[: max(width - _PAD, 1)]
                block.append(f"{_FAINT}{row}{_RESET}" if self._colours else row)


def _fitting(steps: Sequence[Step], blocks: list[list[str]], room: int) -> list[list[str]]:
    """The blocks with as many left empty as needed: the oldest that are over first, then the oldest."""
    order = sorted(range(len(steps)), key=lambda at: (not steps[at].over, at))
    shown = list(blocks)
    for at in order:
        if sum(map(len, shown)) <= max(room, 1):
            break
        shown[at] = []
    return shown


def _size(fd: int) -> tuple[int, int]:
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return 80, 24
    return size.columns or 80, size.lines or 24
