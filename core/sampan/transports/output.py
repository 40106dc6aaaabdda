"""Where an image's files are written: a new archive, or a directory that may hold others already."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from typing import Protocol

from sampan import files
from sampan.errors import SampanError
from sampan.store import tarheader

_BLOCK = 512
_END = 20 * _BLOCK  # an archive's length is a multiple of this
_PART = 1 << 24

Progress = Callable[[int], None]


class Output(Protocol):
    """Files by name. What has been written is complete when `finish` returns."""

    def has(self, name: str) -> bool:
        """Whether the file is there, so that it need not be written again."""
        ...

    def put(self, name: str, data: bytes) -> None: ...

    def copy(self, name: str, fd: int, size: int, progress: Progress) -> None:
        """`size` bytes of a descriptor, from its beginning."""
        ...

    def stream(self, name: str, size: int, read: Callable[[], bytes]) -> None:
        """Chunks until b"", `size` bytes in all."""
        ...

    def read(self, name: str) -> bytes | None:
        """What a small file had before; None if it is new."""
        ...

    def finish(self) -> None: ...


class Tar:
    """An archive on a descriptor; the same content makes the same bytes.

    Its files belong to whoever writes it: skopeo unpacks such archives and gives every file its owner,
    which a user may do for his own only.
    """

    def __init__(self, fd: int) -> None:
        self._fd, self._written = fd, 0
        self._names: set[str] = set()
        self._owner = os.getuid(), os.getgid()

    def has(self, name: str) -> bool:
        return name in self._names

    def put(self, name: str, data: bytes) -> None:
        self._header(name, len(data))
        self._write(data)
        self._pad(len(data))

    def copy(self, name: str, fd: int, size: int, progress: Progress) -> None:
        self._header(name, size)
        at = 0
        while at < size:
            count = os.sendfile(self._fd, fd, at, min(_PART, size - at))
            if not count:
                raise SampanError(f"cannot write {name}", f"its file has but {at} of {size} bytes")
            at += count
            self._written += count
            progress(at)
        self._pad(size)

    def stream(self, name: str, size: int, read: Callable[[], bytes]) -> None:
        self._header(name, size)
        written = 0
        while chunk := read():
            self._write(chunk)
            written += len(chunk)
        if written != size:
            raise SampanError(f"cannot write {name}", f"it has {written} bytes instead of {size}")
        self._pad(written)

    def read(self, name: str) -> bytes | None:
        return None

    def finish(self) -> None:
        self._write(bytes(2 * _BLOCK))
        self._write(bytes(-self._written % _END))

    def _header(self, name: str, size: int) -> None:
        self._directories(posixpath.dirname(name))
        self._names.add(name)
        self._write(tarheader.entry(os.fsencode(name), b"0", (0o644, *self._owner), size=size))

    def _directories(self, path: str) -> None:
        if path and path not in self._names:
            self._directories(posixpath.dirname(path))
            self._names.add(path)
            name = os.fsencode(path) + b"/"
            self._write(tarheader.entry(name, b"5", (0o755, *self._owner)))

    def _pad(self, size: int) -> None:
        self._write(bytes(-size % _BLOCK))

    def _write(self, data: bytes) -> None:
        files.write_all(self._fd, data)
        self._written += len(data)


class Directory:
    """A directory, made if it is not there. Each file appears whole."""

    def __init__(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)
        self._fd = files.open_directory(path)

    def has(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def put(self, name: str, data: bytes) -> None:
        self._whole(name, lambda fd: files.write_all(fd, data))

    def copy(self, name: str, fd: int, size: int, progress: Progress) -> None:
        def write(target: int) -> None:
            at = 0
            while at < size and (
                count := os.copy_file_range(fd, target, min(_PART, size - at), at)
            ):
                at += count
                progress(at)

        self._whole(name, write)

    def stream(self, name: str, size: int, read: Callable[[], bytes]) -> None:
        def write(target: int) -> None:
            while chunk := read():
                files.write_all(target, chunk)

        self._whole(name, write)

    def read(self, name: str) -> bytes | None:
        try:
            return files.read(self._fd, name)
        except FileNotFoundError:
            return None

    def finish(self) -> None:
        os.close(self._fd)

    def _whole(self, name: str, write: Callable[[int], object]) -> None:
        parent, _, base = name.rpartition("/")
        if parent:
            os.makedirs(f"{files.path_of(self._fd)}/{parent}", exist_ok=True)
        directory = files.open_directory(parent or ".", dir_fd=self._fd)
        temporary = files.temporary_name()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(temporary, flags, 0o644, dir_fd=directory)
            try:
                write(fd)
            finally:
                os.close(fd)
            os.rename(temporary, base, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            files.unlink(directory, temporary)
            raise
        finally:
            os.close(directory)
