"""The entries of a layer as a builder names them, one by one: `sampan.drivers.build.LayerTar`.

A builder says where an entry goes, what it is taken from, and which of its owner and mode are others.
The rest is that of `TarWriter`: the same bytes for the same entries, hard links as links, what is too
much refused.
"""

from __future__ import annotations

import os
import stat

from sampan.errors import SampanError, UnsupportedError
from sampan.linux import overlay
from sampan.store.layerarchive import LayerArchive
from sampan.store.pax import show
from sampan.store.tarheader import BLOCK
from sampan.store.tarwriter import TYPES, WHITEOUT, TarWriter, xattrs_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sampan.store.truth import Truth

    Owner = tuple[int, int]

_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LayerTar(TarWriter):
    """below, source: what the disk could not hold of the layers so far, and of the tree that is copied from."""

    def __init__(
        self,
        write: Callable[[bytes], object],
        now_ns: int,
        latest: int | None = None,
        *,
        below: Truth | None = None,
        source: Truth | None = None,
    ) -> None:
        super().__init__(write, latest)
        self._now_ns, self._below, self._source = now_ns, below, source

    def directory(
        self,
        path: bytes,
        fd: int = -1,
        *,
        owner: Owner | None = None,
        mode: int | None = None,
        mtime_ns: int | None = None,
    ) -> None:
        """A directory with the metadata of the open one of the layers so far; without one a new one."""
        xattrs: dict[bytes, bytes] = {}
        if fd >= 0:
            status = os.fstat(fd)
            owned, xattrs = self._known(self._below, path, status, xattrs_of(fd))
            when = status.st_mtime_ns
        else:
            owned, when = (0o755, 0, 0), self._now_ns
        when = when if mtime_ns is None else mtime_ns
        self._put(path + b"/", b"5", owned, owner, mode, when, xattrs=xattrs)

    def copy(
        self,
        path: bytes,
        dir_fd: int,
        name: bytes,
        *,
        owner: Owner | None = None,
        mode: int | None = None,
        origin: bytes | None = None,
        status: os.stat_result | None = None,
    ) -> None:
        """What `name` is in the directory; see the contract."""
        if self._reserved(path):
            return
        if status is None:
            try:
                status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
            except FileNotFoundError:
                if self._absent(path, owner, mode, origin):
                    return
                raise
        kind = TYPES.get(stat.S_IFMT(status.st_mode))
        if kind is None:
            self.sockets += 1
        elif overlay.is_whiteout(status):
            raise UnsupportedError(f"cannot copy {show(path)}", "it is a whiteout of an overlay")
        elif kind == b"0":
            self._copy_file(path, dir_fd, name, owner, mode, origin, status)
        else:
            self._copy_other(path, dir_fd, name, owner, mode, origin, status)

    def file(self, path: bytes, data: bytes, *, owner: Owner = (0, 0), mode: int = 0o644) -> None:
        """A file of these bytes, at the time of the build."""
        if not self._reserved(path):
            self._entry(path, b"0", (mode, *owner), self._now_ns, len(data))
            self._write(data + bytes(-len(data) % BLOCK))

    def link(self, path: bytes, target: bytes, *, owner: Owner = (0, 0)) -> None:
        """A symbolic link."""
        if not self._reserved(path):
            self._entry(path, b"2", (0o777, *owner), self._now_ns, link=target)

    def archive(self, fd: int) -> LayerArchive | None:
        """The archive in the file, compressed or not; None where it is none."""
        found = LayerArchive(fd, self._foreign, self._write)
        return found if found.readable else None

    def _foreign(
        self,
        path: bytes,
        kind: bytes,
        owned: tuple[int, int, int],
        mtime_ns: int,
        size: int,
        link: bytes,
        xattrs: dict[bytes, bytes],
        device: tuple[int, int],
    ) -> bool:
        """The header of an archive's entry; False: it has no place in a layer."""
        if self._reserved(path):
            return False
        path += b"/" if kind == b"5" else b""
        self._entry(path, kind, owned, mtime_ns, size, link, xattrs, device)
        return True

    def absent(self, directory: bytes) -> Collection[bytes]:
        """Names of devices in a directory of the tree that is copied from, which its disk does not hold."""
        return self._source.devices(directory) if self._source is not None else ()

    def _copy_file(
        self,
        path: bytes,
        dir_fd: int,
        name: bytes,
        owner: Owner | None,
        mode: int | None,
        origin: bytes | None,
        seen: os.stat_result,
    ) -> None:
        identity = (seen.st_dev, seen.st_ino)
        if seen.st_nlink > 1 and identity in self._links:
            owned, _ = self._known(self._source, origin, seen, {})
            self._put(path, b"1", owned, owner, mode, seen.st_mtime_ns, link=self._links[identity])
            return
        try:
            fd = os.open(name, _FILE, dir_fd=dir_fd)
        except (FileNotFoundError, NotADirectoryError):
            raise _changed(path) from None
        try:
            status = os.fstat(fd)
            if _state(status) != _state(seen):
                raise _changed(path)
            self._check_holes(path, status)
            owned, xattrs = self._known(self._source, origin, status, xattrs_of(fd))
            size, when = status.st_size, status.st_mtime_ns
            self._put(path, b"0", owned, owner, mode, when, size=size, xattrs=xattrs)
            self._data(path, fd, status)
            if self.unsteady:
                raise _changed(path)
        finally:
            os.close(fd)
        if seen.st_nlink > 1:
            self._links[identity] = path

    def _copy_other(
        self,
        path: bytes,
        dir_fd: int,
        name: bytes,
        owner: Owner | None,
        mode: int | None,
        origin: bytes | None,
        status: os.stat_result,
    ) -> None:
        kind = TYPES[stat.S_IFMT(status.st_mode)]
        xattrs: dict[bytes, bytes] = {}
        link, device = b"", (0, 0)
        if kind == b"5":
            fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
            try:
                status, xattrs = os.fstat(fd), xattrs_of(fd)
            finally:
                os.close(fd)
            path += b"/"
        elif kind == b"2":
            link, mode = os.readlink(name, dir_fd=dir_fd), None
        elif kind in (b"3", b"4"):
            device = os.major(status.st_rdev), os.minor(status.st_rdev)
        owned, xattrs = self._known(self._source, origin, status, xattrs)
        when = status.st_mtime_ns
        self._put(path, kind, owned, owner, mode, when, link=link, xattrs=xattrs, device=device)

    def _absent(
        self, path: bytes, owner: Owner | None, mode: int | None, origin: bytes | None
    ) -> bool:
        """A device that could not be made stands in the notes of the source alone."""
        truth = self._source
        extra = truth.device(origin) if truth is not None and origin is not None else None
        if extra is None:
            return False
        owned, numbers = (extra.mode, extra.uid, extra.gid), (extra.major, extra.minor)
        self._put(path, b"3" if extra.type == "c" else b"4", owned, owner, mode, 0, device=numbers)
        return True

    def _known(
        self,
        truth: Truth | None,
        path: bytes | None,
        status: os.stat_result,
        xattrs: dict[bytes, bytes],
    ) -> tuple[tuple[int, int, int], dict[bytes, bytes]]:
        """((mode, uid, gid), attributes) of what is on disk, in truth."""
        owned = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        if truth is None or path is None:
            return owned, xattrs
        return truth.owned(path, status, owned), truth.attributes(path, status, xattrs)

    def _put(
        self,
        path: bytes,
        kind: bytes,
        owned: tuple[int, int, int],
        owner: Owner | None,
        mode: int | None,
        when: int,
        *,
        size: int = 0,
        link: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
        device: tuple[int, int] = (0, 0),
    ) -> None:
        if owner is not None or mode is not None:
            owned = (owned[0] if mode is None else mode, *(owned[1:] if owner is None else owner))
        self._entry(path, kind, owned, when, size, link, xattrs, device)

    def _reserved(self, path: bytes) -> bool:
        """A name that no layer can hold, for it says there that another one is gone."""
        if WHITEOUT not in path or not path.rpartition(b"/")[2].startswith(WHITEOUT):
            return False
        self.refused += 1
        return True


def _state(status: os.stat_result) -> tuple[int, int, int]:
    """What a change shows in; numbers of inodes are not the same for long everywhere."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _changed(path: bytes) -> SampanError:
    return SampanError(
        f"cannot copy {show(path)}", "it changed while the build read it", "build again"
    )
