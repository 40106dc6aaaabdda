"""Unpacking onto a copy of the parent's tree: which paths are this layer's own.

A driver without union mounts gives a directory that holds the layers below
(`LayerWriter.complete`).  What a layer's own entries replace there, and what its whiteouts remove,
is only ever of the layers below: the result is the same as an overlay's.
"""

from __future__ import annotations

import os
import stat

from sampan import files


class Own:
    """The paths that entries of this layer made."""

    def __init__(self) -> None:
        self.paths: set[bytes] = set()
        self._whiteouts: set[bytes] = set()
        self._opaque: set[bytes] = set()

    def forget(self, path: bytes) -> None:
        """The path and all below it are gone."""
        below = path + b"/"
        self.paths = {p for p in self.paths if p != path and not p.startswith(below)}

    def whiteout(self, dir_fd: int, base: bytes, path: bytes) -> None:
        """Remove what is of the layers below: all of it, or what a directory of this layer has of
        them.
        """
        self._whiteouts.add(path)
        if path not in self.paths:
            files.remove_tree(dir_fd, base)
            return
        status = os.stat(base, dir_fd=dir_fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            fd = files.open_directory(base, dir_fd=dir_fd)
            try:
                self.prune(fd, path)
            finally:
                os.close(fd)

    def prune(self, fd: int, path: bytes) -> None:
        """Remove from the directory `path` what no entry of this layer made."""
        self._opaque.add(path)
        for name in map(os.fsencode, os.listdir(fd)):
            self.whiteout(fd, name, path + b"/" + name if path else name)

    def hides(self, path: bytes) -> bool:
        """Whether this layer replaced or removed what the layers below have at the path."""
        if path in self.paths or path in self._whiteouts:
            return True
        above = [path[:index] for index in range(len(path)) if path[index : index + 1] == b"/"]
        return any(parent in self._whiteouts or parent in self._opaque for parent in (b"", *above))
