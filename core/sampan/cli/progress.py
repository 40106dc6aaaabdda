"""What a pull shows on standard error: bars on a terminal, lines elsewhere, nothing with --quiet.

The engine sees `sampan.engine.fetching.Progress`.  rich is imported for a terminal only, and its
refreshing thread is left out: the unpacker forks, which wants a process of one thread, so the
bars are drawn from the updates.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from sampan.cli.format import escape
from sampan.engine.fetching import Silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress as RichProgress
    from rich.progress import ProgressColumn, TaskID

_INTERVAL = 0.1  # seconds between two drawings


class Quiet(Silent):
    """No word."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class Lines(Quiet):
    """podman's lines, one a blob."""

    def note(self, text: str) -> None:
        os.write(2, f"{escape(text)}\n".encode(errors="backslashreplace"))

    def begin(self, digest: str, size: int, kind: str) -> None:
        self.note(f"Copying {kind} {digest}")


def _bars(*more: ProgressColumn) -> RichProgress:
    """Bars on standard error that are drawn when they are told to."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        *more,
        console=Console(file=sys.stderr),
        auto_refresh=False,
    )


class Bars(Quiet):
    """A bar for each blob that is being received."""

    def __init__(self) -> None:
        from rich.progress import TextColumn

        self._lock = threading.Lock()
        self._drawn = 0.0
        self._tasks: dict[str, TaskID] = {}
        self._bars = _bars(TextColumn("{task.fields[outcome]}"))

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._bars.refresh()
            self._bars.stop()

    def note(self, text: str) -> None:
        with self._lock:
            self._bars.console.print(escape(text), markup=False, highlight=False)

    def begin(self, digest: str, size: int, kind: str) -> None:
        with self._lock:
            self._tasks[digest] = self._bars.add_task(
                f"Copying {kind} {digest[7:19]}", total=size, outcome=""
            )
            self._draw(force=True)

    def update(self, digest: str, received: int) -> None:
        with self._lock:
            self._bars.update(self._tasks[digest], completed=received)
            self._draw()

    def end(self, digest: str, outcome: str) -> None:
        with self._lock:
            task = self._tasks.get(digest)
            if task is not None and self._bars.tasks[task].fields["outcome"] != "unpacked":
                total = self._bars.tasks[task].total or 0
                self._bars.update(task, completed=total, outcome=outcome)
                self._draw(force=True)

    def _draw(self, force: bool = False) -> None:
        now = time.monotonic()
        if force or now - self._drawn >= _INTERVAL:
            self._drawn = now
            self._bars.refresh()


def show(quiet: bool = False) -> Quiet:
    """`with show(quiet) as progress: pull(..., progress=progress)`."""
    if quiet:
        return Quiet()
    return Bars() if sys.stderr.isatty() else Lines()


class Meter(Quiet):
    """How many bytes of one long task are done; on a terminal alone."""

    def __init__(self, text: str, total: int | None) -> None:
        self._drawn = 0.0
        self._bars = _bars()
        self._task = self._bars.add_task(text, total=total)

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        self._bars.update(self._task, completed=done)
        if now - self._drawn >= _INTERVAL:
            self._drawn = now
            self._bars.refresh()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()


class NoMeter(Quiet):
    """Nobody watches."""

    def __call__(self, done: int) -> None:
        pass


def meter(text: str, total: int | None = None, *, quiet: bool = False) -> Meter | NoMeter:
    """`with meter("Writing") as progress: ...; progress(done)`."""
    return NoMeter() if quiet or not sys.stderr.isatty() else Meter(text, total)


def notices(quiet: bool) -> Callable[[str], None]:
    """What tells the user a line on standard error."""
    from sampan.engine import warn

    return Quiet().note if quiet else warn
