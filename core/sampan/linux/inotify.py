"""What happens in a directory (inotify(7))."""

from __future__ import annotations

import os

from sampan.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CREATE = 0x100
CHANGED = CREATE | 0x8 | 0x80  # or IN_CLOSE_WRITE, IN_MOVED_TO
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


def watch(paths: Iterable[str], events: int) -> int:
    """A descriptor that can be read when one of the events happens in one of the directories."""
    fd = libc.inotify_init(_NONBLOCK_CLOEXEC)
    for path in paths:
        libc.inotify_add_watch(fd, path, events)
    return fd


def drain(fd: int) -> None:
    """Forget what has been told."""
    try:
        while os.read(fd, 65536):
            pass
    except BlockingIOError:
        return
