"""A directory as a layer: tar that is the same for the same tree, wherever and whenever it is made.

Entries are sorted, names that fit are plain ustar, and what does not fit is a pax record: long
names, big numbers, times to the nanosecond, attributes.  Hard links come after the name that holds
the data.  No sparse entries are written (image-spec, layer.md), so a file that is mostly holes is
refused before its zeros fill the disk.  A file that changes while it is read is never a broken
archive: it has the size that its header says, and its name is kept in `unsteady`.
"""

from __future__ import annotations

import errno
import os
import stat

from sampan.errors import LimitError
from sampan.linux import compare, overlay
from sampan.linux.paths import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from sampan.store import tarheader
from sampan.store.pax import show
from sampan.store.tarheader import BLOCK, SECOND

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.store.truth import Owners, Truth

CHUNK = 1 << 20
WHITEOUT = b".wh."
HOLES_FROM = 1 << 30  # a file so big of which little is data is refused
CAPABILITY = "security.capability"
KEPT = "user.", CAPABILITY  # attributes that belong to a layer
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}


class TarWriter:
    """Writes entries by `write`; `close` ends the archive.

    latest: no time of an entry is later (seconds); None keeps them all.  truth: what the disk could
    not hold.  owners: turns the owners that are seen into those of the archive.  layer: it is to be
    one, in which a name that begins with .wh. would be a whiteout.  holes: a file that is mostly
    holes is written as zeros instead of refused.

    sockets, refused: how many such were left out; unsteady: files that changed or went meanwhile.
    """

    def __init__(
        self,
        write: Callable[[bytes], object],
        latest: int | None = None,
        *,
        truth: Truth | None = None,
        owners: Owners | None = None,
        layer: bool = True,
        holes: bool = False,
    ) -> None:
        self._layer, self._holes = layer, holes
        self._write, self._truth, self._owners = write, truth, owners
        self._latest = None if latest is None else latest * SECOND
        self._links: dict[tuple[int, int], bytes] = {}
        self.sockets = self.refused = 0
        self.unsteady: list[bytes] = []

    def directory(self, path: bytes, fd: int) -> None:
        """The entry of a directory that is open."""
        self._header(path, b"5", os.fstat(fd), xattrs=xattrs_of(fd))

    def tree(self, root: int, prefix: bytes = b"", skip: frozenset[int] = frozenset()) -> None:
        """Everything below the directory, whose own entry is not written.

        prefix: what comes before every name.  skip: devices (st_dev) that are not entered.
        """
        todo: list[bytes] = [b""]
        while todo:
            path = todo.pop()
            try:
                fd = _open_directory(root, path)
            except OSError as error:
                self._gone(path, error)
                continue
            below: list[bytes] = []
            try:
                if path and self._layer and overlay.is_opaque(fd):
                    self._header(path + b"/.wh..wh..opq", b"0", None)
                names = set(map(os.fsencode, os.listdir(fd)))
                if self._truth is not None:
                    names |= self._truth.devices(path)
                for name in sorted(names):
                    entry = path + b"/" + name if path else name
                    if self.add(prefix + entry, fd, name) and not _is_on(fd, name, skip):
                        below.append(entry)
            finally:
                os.close(fd)
            todo += reversed(below)

    def root(self, fd: int) -> None:
        """The entry of the root itself."""
        self._header(b"./", b"5", os.fstat(fd), xattrs=xattrs_of(fd))

    def whiteout(self, path: bytes) -> None:
        """An entry that says that the path of the layers below is gone."""
        head, slash, base = path.rpartition(b"/")
        self._header(head + slash + b".wh." + base, b"0", None)

    def add(self, path: bytes, dir_fd: int, name: bytes) -> bool:
        """The entry `path`, which is `name` in the directory. True: a directory."""
        if self._layer and name.startswith(WHITEOUT):
            self.refused += 1
            return False
        try:
            status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        except FileNotFoundError as error:
            if self._truth is None or not self._device(path):
                self._gone(path, error)
            return False
        kind = TYPES.get(stat.S_IFMT(status.st_mode))
        if kind is None:  # a socket has no place in a layer
            self.sockets += 1
            return False
        if self._layer and overlay.is_whiteout(status):
            self.whiteout(path)
            return False
        identity = (status.st_dev, status.st_ino)
        if kind != b"5" and status.st_nlink > 1 and identity in self._links:
            self._header(path, b"1", status, link=self._links[identity])
            return False
        try:
            self._content(path, dir_fd, name, kind, status)
        except OSError as error:
            self._gone(path, error)
            return False
        if kind != b"5" and status.st_nlink > 1:
            self._links[identity] = path
        return kind == b"5"

    def close(self) -> None:
        self._write(bytes(2 * BLOCK))

    def _content(
        self, path: bytes, dir_fd: int, name: bytes, kind: bytes, status: os.stat_result
    ) -> None:
        if kind == b"2":
            link = os.readlink(name, dir_fd=dir_fd)
            self._header(path, kind, status, link=link)
        elif kind in (b"0", b"5"):
            fd = os.open(name, (_FILE if kind == b"0" else _DIRECTORY), dir_fd=dir_fd)
            try:
                now = os.fstat(fd)
                if stat.S_IFMT(now.st_mode) != stat.S_IFMT(status.st_mode):
                    raise OSError(errno.ESTALE, "it was replaced")
                if kind == b"0":
                    self._file(path, fd, now)
                else:
                    self._header(path + b"/", kind, now, xattrs=xattrs_of(fd))
            finally:
                os.close(fd)
        else:
            self._header(path, kind, status)

    def _gone(self, path: bytes, error: OSError) -> None:
        """What went or was replaced between two looks is left out; other errors are errors."""
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ESTALE):
            raise error
        self.unsteady.append(path)

    def _device(self, path: bytes) -> bool:
        """A device that could not be made stands in the layer's records alone."""
        extra = self._truth.device(path) if self._truth is not None else None
        if extra is None:
            return False
        kind = b"3" if extra.type == "c" else b"4"
        numbers = extra.major, extra.minor
        self._entry(path, kind, (extra.mode, extra.uid, extra.gid), 0, device=numbers)
        return True

    def _file(self, path: bytes, fd: int, status: os.stat_result) -> None:
        self._check_holes(path, status)
        self._header(path, b"0", status, size=status.st_size, xattrs=xattrs_of(fd))
        self._data(path, fd, status)

    def _check_holes(self, path: bytes, status: os.stat_result) -> None:
        if (
            not self._holes
            and status.st_size >= HOLES_FROM
            and status.st_blocks * 512 < status.st_size // 8
        ):
            raise LimitError(
                f"cannot write a layer: {show(path)} is {status.st_size} bytes, almost all of them holes",
                "layers have no sparse files",
                "remove it or make it smaller",
            )

    def _data(self, path: bytes, fd: int, status: os.stat_result) -> None:
        """The bytes of a file, as many as its header says."""
        left = status.st_size
        while left:
            data = os.read(fd, min(left, CHUNK))
            if not data:  # it shrank
                self.unsteady.append(path)
                while left:
                    count = min(left, CHUNK)
                    self._write(bytes(count))
                    left -= count
                break
            self._write(data)
            left -= len(data)
        else:
            after = os.fstat(fd)
            if (after.st_size, after.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
                self.unsteady.append(path)
        self._write(bytes(-status.st_size % BLOCK))

    def _header(
        self,
        path: bytes,
        kind: bytes,
        status: os.stat_result | None,
        *,
        size: int = 0,
        link: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
    ) -> None:
        """The header of an entry on disk. None: a whiteout."""
        if status is None:
            self._entry(path, kind, (0, 0, 0), 0)
            return
        owned = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid
        if self._owners is not None:
            owned = (owned[0], *self._owners(owned[1], owned[2]))
        if self._truth is not None:
            owned = self._truth.owned(path.rstrip(b"/"), status, owned)
            xattrs = self._truth.attributes(path.rstrip(b"/"), status, xattrs or {})
        device = (0, 0)
        if kind in (b"3", b"4"):
            device = os.major(status.st_rdev), os.minor(status.st_rdev)
        self._entry(path, kind, owned, status.st_mtime_ns, size, link, xattrs, device)

    def _entry(
        self,
        path: bytes,
        kind: bytes,
        owned: tuple[int, int, int],
        mtime_ns: int,
        size: int = 0,
        link: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
        device: tuple[int, int] = (0, 0),
    ) -> None:
        if self._latest is not None:
            mtime_ns = min(mtime_ns, self._latest)
        self._write(tarheader.entry(path, kind, owned, mtime_ns, size, link, xattrs, device))


def _is_on(dir_fd: int, name: bytes, devices: frozenset[int]) -> bool:
    if not devices:
        return False
    try:
        return os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_dev in devices
    except FileNotFoundError:
        return False


def _open_directory(root: int, path: bytes) -> int:
    return openat2(root, path or b".", _DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


def xattrs_of(fd: int) -> dict[bytes, bytes]:
    """The attributes that belong to a layer; those of the storage drivers do not."""
    found: dict[bytes, bytes] = {}
    for key, value in compare.attributes(fd).items():
        if key.startswith(KEPT):
            found[os.fsencode(key)] = _revision_2(value) if key == CAPABILITY else value
    return found


def _revision_2(value: bytes) -> bytes:
    """A file capability without the root id that it has in a user namespace (capabilities(7)): the
    id means nothing elsewhere.
    """
    if len(value) == 24 and value[3] == 3:
        return value[:3] + b"\x02" + value[4:20]
    return value
