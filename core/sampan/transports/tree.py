"""The files of an archive or of a directory, by name, wherever they are: confined, never unpacked.

A tar is indexed once, seeking from header to header.  Links inside it lead to other files of it and
nowhere else; a directory is opened beneath itself by openat2.
"""

from __future__ import annotations

import os
import posixpath
import stat
from typing import Protocol, Self

from sampan import files
from sampan.errors import CorruptError, LimitError, NotFoundError
from sampan.linux import paths
from sampan.store.entry import FILE, LINK, SYMLINK
from sampan.store.tar import TarReader

_MEMBERS = 100_000
_HOPS = 40
_READ = 1 << 16


class Piece:
    """`size` bytes at `offset` of the file `fd`; `with` closes it."""

    __slots__ = ("fd", "offset", "size")

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self.fd, self.offset, self.size = fd, offset, size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.fd)

    def read(self, limit: int, what: str) -> bytes:
        """All bytes, and the file is closed. LimitError."""
        with self:
            if self.size > limit:
                raise LimitError(
                    f"{what} is refused", f"{self.size} bytes, at most {limit} are read"
                )
            return self.pread(self.size, 0)

    def pread(self, size: int, at: int) -> bytes:
        return os.pread(self.fd, max(0, min(size, self.size - at)), self.offset + at)


class Tree(Protocol):
    """`label` is how messages call it."""

    label: str

    def open(self, name: str) -> Piece:
        """A regular file. NotFoundError, CorruptError."""
        ...

    def close(self) -> None: ...


class Directory:
    def __init__(self, path: str) -> None:
        self.label = path
        self._fd = files.open_directory(path)

    def open(self, name: str) -> Piece:
        try:
            fd = paths.openat2(
                self._fd,
                name,
                os.O_RDONLY | os.O_NONBLOCK,
                paths.RESOLVE_BENEATH | paths.RESOLVE_NO_MAGICLINKS,
            )
        except OSError as error:
            raise NotFoundError(f"{self.label} has no {name}", error.strerror or "") from None
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise CorruptError(f"{self.label} is refused", f"{name} is not a regular file")
        return Piece(fd, 0, status.st_size)

    def close(self) -> None:
        os.close(self._fd)


class Archive:
    """An uncompressed tar in a file that can seek; `fd` becomes its own."""

    def __init__(self, fd: int, label: str) -> None:
        self.label, self._fd = label, fd
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, tuple[str, ...]] = {}  # where each may lead
        reader = _SeekingReader(fd)
        while (entry := reader.next()) is not None:
            if len(self._files) + len(self._links) > _MEMBERS:
                raise LimitError(f"{label} is refused", f"it has more than {_MEMBERS} members")
            name = _normal(os.fsdecode(entry.name))
            self._files.pop(name, None)
            self._links.pop(name, None)
            if entry.type == FILE and entry.segments is None:
                self._files[name] = (reader.offset, entry.size)
            elif entry.type == SYMLINK:
                target = os.fsdecode(entry.link)
                # Some writers mean it from the root of the archive.
                self._links[name] = (
                    _normal(posixpath.join(posixpath.dirname(name), target)),
                    _normal(target),
                )
            elif entry.type == LINK:
                self._links[name] = (_normal(os.fsdecode(entry.link)),)

    def open(self, name: str) -> Piece:
        found = self._at(name)
        if found is None:
            raise NotFoundError(f"{self.label} has no {name}", "it is no member of the archive")
        return Piece(os.dup(self._fd), *found)

    def close(self) -> None:
        os.close(self._fd)

    def _at(self, name: str) -> tuple[int, int] | None:
        at = _normal(name)
        for _ in range(_HOPS):
            if at in self._files:
                return self._files[at]
            known = [to for to in self._links.get(at, ()) if to in self._files or to in self._links]
            if not known:
                return None
            at = known[0]
        raise CorruptError(f"{self.label} is refused", f"the links of {name} go in a circle")


class _SeekingReader(TarReader):
    """Goes over data without reading it."""

    def __init__(self, fd: int) -> None:
        self._fd, self._at = fd, 0
        self._length = os.fstat(fd).st_size
        super().__init__(self._more)

    @property
    def offset(self) -> int:
        """Where in the file the data of the last entry begins."""
        return self._at - (self._end - self._position)

    def _more(self) -> bytes:
        chunk = os.pread(self._fd, _READ, self._at)
        self._at += len(chunk)
        return chunk

    def _skip(self) -> None:
        beyond = self._data - (self._end - self._position)
        if self._data > self._length - self.offset:
            raise CorruptError(
                "the archive is refused", f"it ends within {os.fsdecode(self._name)!r}"
            )
        if beyond > 0:
            self._at += beyond
            self._use(b"")
            self._data = 0
        super()._skip()


def _normal(name: str) -> str:
    """The name without dots; one that leaves the archive stays at its root, as in a chroot."""
    return posixpath.normpath(f"/{name}").lstrip("/")
