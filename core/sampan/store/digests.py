"""Digests of files that were read before: a context of 50,000 files is checked again by looking at it alone.

A file is known by device, inode, size, and both its times: whoever changes its bytes changes the time
of its inode, which no user can set.  What was changed in the last moments is read each time, since a
further change might leave the same times.  The cache is one file, replaced whole; losing it costs time
and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time

from sampan import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

NAME = "digests"
_DIRECTORY = "cache"
_KEY = struct.Struct("<QQQqq").pack  # device, inode, size, mtime, ctime in nanoseconds
_KEY_SIZE, _ROW = 40, 72
_ROWS = 500_000  # 36 MB; beyond, those that were used last are kept
_SETTLED = 2 * 10**9  # ns after which a change would show
_CHUNK = 1 << 20
_FEW = 32
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class FileDigests:
    """`with FileDigests(root_fd) as digests: digests.of(dir_fd, name, status)`; what is new is kept at the end."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._rows: bytes | None = None  # of the file, read when the first is asked for
        self._known: dict[bytes, bytes] | None = None  # the same, once many are asked for
        self._new = False
        self._used: dict[bytes, bytes] = {}
        self.read = 0  # bytes that had to be read

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._new:
            rows = dict(_table(self._load()))
            for key, digest in self._used.items():  # the order is that of the last use
                rows.pop(key, None)
                rows[key] = digest
            kept = list(rows.items())[-_ROWS:]
            self._write(b"".join(key + digest for key, digest in kept))

    def of(self, dir_fd: int, name: str | bytes, status: os.stat_result) -> bytes:
        """The SHA-256 (32 bytes) of a regular file whose status was just looked up."""
        key = _key(status)
        found = self._used.get(key) or self._find(key)
        if found is None:
            fd = os.open(name, _FILE, dir_fd=dir_fd)
            try:
                found, after = self._hash(fd), os.fstat(fd)
            finally:
                os.close(fd)
            if _key(after) != key or time.time_ns() - after.st_ctime_ns < _SETTLED:
                return found
            self._new = True
        self._used[key] = found
        return found

    def _load(self) -> bytes:
        if self._rows is None:
            try:
                data = files.read(self._root_fd, f"{_DIRECTORY}/{NAME}", _ROWS * _ROW)
            except FileNotFoundError:
                data = b""
            self._rows = data[: len(data) - len(data) % _ROW]
        return self._rows

    def _find(self, key: bytes) -> bytes | None:
        """A few are looked for in the bytes: a table of all takes longer to make."""
        if self._known is None and len(self._used) < _FEW:
            rows = self._load()
            at = rows.find(key)
            while at >= 0 and at % _ROW:
                at = rows.find(key, at + 1)
            return rows[at + _KEY_SIZE : at + _ROW] if at >= 0 else None
        if self._known is None:
            self._known = _table(self._load())
        return self._known.get(key)

    def _hash(self, fd: int) -> bytes:
        digest = hashlib.sha256()
        while chunk := os.read(fd, _CHUNK):
            digest.update(chunk)
            self.read += len(chunk)
        return digest.digest()

    def _write(self, data: bytes) -> None:
        try:
            directory = files.open_directory(_DIRECTORY, dir_fd=self._root_fd, create=True)
            try:
                files.write_atomic(directory, NAME, data, sync=False)
            finally:
                os.close(directory)
        except OSError:
            pass  # a full disk: it is read again next time


def _table(rows: bytes) -> dict[bytes, bytes]:
    return {
        rows[at : at + _KEY_SIZE]: rows[at + _KEY_SIZE : at + _ROW]
        for at in range(0, len(rows), _ROW)
    }


def _key(status: os.stat_result) -> bytes:
    return _KEY(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )
