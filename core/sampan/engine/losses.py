"""Output that no log could take, on a full disk or while the journal is away: how much, for `logs` and `inspect`.

It is noted in the container's run directory, which is seldom on the disk that is full, and counted until the
container is removed or the machine is started anew.
"""

from __future__ import annotations

import os

from sampan import files

NOTE = "lost"
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Losses:
    """The monitor's count."""

    def __init__(self, run_fd: int) -> None:
        """run_fd: the container's run directory."""
        self._run_fd, self._fd = run_fd, -1
        self._count = read(run_fd)[0]

    def add(self, records: int, why: str) -> None:
        """So many records more are lost.  The note is one short line, written over itself: this may go on for long."""
        self._count += records
        try:
            if self._fd < 0:
                self._fd = os.open(NOTE, FLAGS, 0o600, dir_fd=self._run_fd)
            os.pwrite(self._fd, f"{self._count} {why:40}\n".encode(), 0)
        except OSError:  # this disk is full, too: the next loss tells of all
            return


def read(run_fd: int, container_id: str = ".") -> tuple[int, str]:
    """(records, why) that are lost."""
    try:
        text = files.read(run_fd, f"{container_id}/{NOTE}", 256).decode()
        count, _, why = text.strip().partition(" ")
        return int(count), why
    except (FileNotFoundError, ValueError):
        return 0, ""
