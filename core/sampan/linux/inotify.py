"""What happens in a directory (inotify(7))."""

from __future__ import annotations

import os

from sampan.linux import libc

CREATE = 0x100
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC


def watch(path: str, events: int) -> int:
    """A descriptor that can be read when one of the events happens."""
    fd = libc.inotify_init(_NONBLOCK_CLOEXEC)
    libc.inotify_add_watch(fd, path, events)
    return fd


def drain(fd: int) -> None:
    """Forget what has been told."""
    try:
        while os.read(fd, 65536):
            pass
    except BlockingIOError:
        return
