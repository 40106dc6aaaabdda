"""A pump between the caller's terminal and a pty's master."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
import tty

from sampan.linux import signals


def set_size(fd: int, rows: int, columns: int) -> None:
    """The window size of a terminal, in characters."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def size() -> tuple[int, int] | None:
    """(rows, columns) of the caller's terminal."""
    for fd in (0, 1, 2):
        try:
            columns, rows = os.get_terminal_size(fd)
            return rows, columns
        except OSError:
            continue
    return None


def _follow_size(master: int) -> None:
    if current := size():
        set_size(master, *current)


def relay(master: int, *, stdin: bool) -> None:
    """Copy both ways until the pty's other end is closed; the caller's terminal is raw meanwhile."""
    source = 0 if stdin else -1
    saved = termios.tcgetattr(0) if stdin and os.isatty(0) else None
    signals.handle(signals.SIGWINCH, lambda _number, _frame: _follow_size(master))
    try:
        if saved is not None:
            tty.setraw(0)
        _pump(master, source)
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        os.close(master)


def _pump(master: int, source: int) -> None:
    poll = select.poll()
    poll.register(master, select.POLLIN)
    if source >= 0:
        poll.register(source, select.POLLIN)
    while True:
        for fd, _ in poll.poll():
            try:
                data = os.read(fd, 65536)
            except OSError:  # EIO: the other end is closed
                data = b""
            if not data and fd == master:
                return
            if not data:
                poll.unregister(source)
                continue
            view = memoryview(data)
            while view:
                view = view[os.write(1 if fd == master else master, view) :]
