"""Owners that files were given in a container of one id: the kernel could not note them, so its monitor does.

The container's calls of chown(2) wait for an answer here.  What they are about is found as the caller would find it,
and remembered by inode and time of birth, with its path at that moment; nothing on disk changes but that an overlay
copies the file up.  The answer is success.  `owners.json` of the container's directory has it all at the end, and
whoever makes a layer of the container's changes reads it.
"""

from __future__ import annotations

import errno
import os

from sampan import files, jsontext
from sampan.linux import notify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from sampan.drivers import Change

NAME = "owners.json"
KEPT = -1


class Owners:
    """Answers the calls on `listener` while a container runs."""

    def __init__(self, listener: int) -> None:
        self.listener = listener
        self._known: dict[tuple[int, int], tuple[int, int, str]] = {}

    def handle(self) -> None:
        """Answer the next call."""
        call = notify.receive(self.listener)
        if call is None:
            return
        try:
            fd = call.open()
        except OSError as error:
            call.answer(self.listener, error.errno or errno.EINVAL)
            return
        try:
            self._note(fd, call.uid, call.gid)
        finally:
            os.close(fd)
        call.answer(self.listener)

    def _note(self, fd: int, uid: int, gid: int) -> None:
        path = f"/proc/self/fd/{fd}"
        try:
            os.chown(path, 0, 0)  # an overlay copies it up: there is something to note it of
        except OSError:
            return  # of a file that cannot be changed nothing need be known
        key = notify.birth(fd)
        before = self._known.get(key, (0, 0, ""))
        owner = before[0] if uid == KEPT else uid, before[1] if gid == KEPT else gid
        self._known[key] = (*owner, os.readlink(path))

    def close(self, directory: int) -> None:
        """Write down what is known, in the container's directory."""
        os.close(self.listener)
        if self._known:
            rows = [[*key, *value] for key, value in self._known.items()]
            files.write_atomic(directory, NAME, jsontext.dumps(rows).encode(), sync=False)


def read(directory: int) -> list[list[Any]]:
    """The rows [inode, birth, uid, gid, path] of a container's directory."""
    try:
        rows: list[list[Any]] = jsontext.loads(files.read(directory, NAME, 64 << 20))
    except FileNotFoundError:
        return []
    return rows


def by_path(
    root: int, rows: Iterable[list[Any]], changes: Iterable[Change]
) -> dict[bytes, tuple[int, int]]:
    """The owners by path in the container's root: of what changed, and of what had that path when it was given away.

    The inode of a file that was copied up may be another one in a later mount: then its path must be the same.
    """
    known = {(row[0], row[1]): (row[2], row[3]) for row in rows}
    places = {(os.fsencode(row[4]).strip(b"/"), row[1]): (row[2], row[3]) for row in rows}
    paths = [change.path for change in changes if change.kind != "D"]
    paths += [path for path, _ in places]
    found: dict[bytes, tuple[int, int]] = {}
    for path in dict.fromkeys(paths):
        try:
            inode, birth = notify.birth(root, path or b".")
        except OSError:
            continue
        owner = known.get((inode, birth)) or places.get((path, birth))
        if owner is not None:
            found[path] = owner
    return found
