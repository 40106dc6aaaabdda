"""A directory as a layer: tar that is the same for the same tree, wherever and whenever it is made.

Entries are sorted, names that fit are plain ustar, and what does not fit is a pax record.  Hard
links come after the name that holds the data.  No sparse entries are written (image-spec,
layer.md), so a file that is mostly holes is refused before its zeros fill the disk.
"""

from __future__ import annotations

import os
import stat

from sampan.errors import LimitError, SampanError
from sampan.linux import overlay
from sampan.linux.paths import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from sampan.store.pax import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BLOCK = 512
CHUNK = 1 << 20
HOLES_FROM = 1 << 30  # a file so big of which little is data is refused
KEPT = "user.", "security.capability"  # attributes that belong to a layer
_TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}


class TarWriter:
    """Writes entries by `write`; `close` ends the archive.

    latest: no time of an entry is later (seconds); None keeps them all.
    """

    def __init__(self, write: Callable[[bytes], object], latest: int | None = None) -> None:
        self._write, self._latest = write, latest
        self._links: dict[tuple[int, int], bytes] = {}

    def tree(self, root: int) -> None:
        """Everything below the directory, whose own entry is not written."""
        todo: list[bytes] = [b""]
        while todo:
            path = todo.pop()
            fd = _open_directory(root, path)
            below: list[bytes] = []
            try:
                if path and overlay.is_opaque(fd):
                    self._header(path + b"/.wh..wh..opq", b"0", None)
                for name in sorted(map(os.fsencode, os.listdir(fd))):
                    entry = path + b"/" + name if path else name
                    if self.add(entry, fd, name):
                        below.append(entry)
            finally:
                os.close(fd)
            todo += reversed(below)

    def add(self, path: bytes, dir_fd: int, name: bytes) -> bool:
        """The entry `path`, which is `name` in the directory. True: a directory."""
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        kind = _TYPES.get(stat.S_IFMT(status.st_mode))
        if kind is None:  # a socket has no place in a layer
            return False
        if overlay.is_whiteout(status):
            head, slash, base = path.rpartition(b"/")
            self._header(head + slash + b".wh." + base, b"0", None)
            return False
        identity = (status.st_dev, status.st_ino)
        if kind != b"5" and status.st_nlink > 1:
            if identity in self._links:
                self._header(path, b"1", status, link=self._links[identity])
                return False
            self._links[identity] = path
        if kind == b"0":
            self._file(path, dir_fd, name, status)
        elif kind == b"2":
            self._header(path, kind, status, link=os.readlink(name, dir_fd=dir_fd))
        else:
            self._header(
                path + (b"/" if kind == b"5" else b""), kind, status, xattrs=_xattrs(dir_fd, name)
            )
        return kind == b"5"

    def close(self) -> None:
        self._write(bytes(2 * BLOCK))

    def _file(self, path: bytes, dir_fd: int, name: bytes, status: os.stat_result) -> None:
        if status.st_size >= HOLES_FROM and status.st_blocks * 512 < status.st_size // 8:
            raise LimitError(
                f"cannot write a layer: {show(path)} is {status.st_size} bytes, almost all of them holes",
                "layers have no sparse files",
                "remove it or make it smaller",
            )
        fd = os.open(
            name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd
        )
        try:
            self._header(path, b"0", status, size=status.st_size, xattrs=_xattrs(dir_fd, name))
            left = status.st_size
            while left:
                data = os.read(fd, min(left, CHUNK))
                if not data:
                    raise SampanError(f"cannot write a layer: {show(path)}", "it shrank meanwhile")
                self._write(data)
                left -= len(data)
            self._write(bytes(-status.st_size % BLOCK))
        finally:
            os.close(fd)

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
        """The entry's header, after a pax header for what does not fit. None: a whiteout."""
        mode, uid, gid = (
            (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) if status else (0, 0, 0)
        )
        mtime = int(status.st_mtime) if status else 0
        if self._latest is not None:
            mtime = min(mtime, self._latest)
        records: dict[bytes, bytes] = {}
        for key, value, width in (
            (b"uid", uid, 8),
            (b"gid", gid, 8),
            (b"size", size, 12),
            (b"mtime", mtime, 12),
        ):
            if not 0 <= value < 8 ** (width - 1):
                records[key] = b"%d" % value
        for key, text in ((b"path", path), (b"linkpath", link)):
            if len(text) > 100:
                records[key] = text
        for name, attribute in (xattrs or {}).items():
            records[b"SCHILY.xattr." + name] = attribute
        if records:
            data = b"".join(_record(key, records[key]) for key in sorted(records))
            self._write(_block(b"PaxHeaders.0/x", b"x", size=len(data)))
            self._write(data + bytes(-len(data) % BLOCK))
        major = os.major(status.st_rdev) if status and kind in (b"3", b"4") else 0
        minor = os.minor(status.st_rdev) if status and kind in (b"3", b"4") else 0
        self._write(_block(path, kind, mode, uid, gid, size, mtime, link, major, minor))


def _block(
    path: bytes,
    kind: bytes,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    major: int = 0,
    minor: int = 0,
) -> bytes:
    """A ustar header; a number that does not fit is 0 here and right in the pax header."""
    fields = b"".join(
        (
            path[:100].ljust(100, b"\0"),
            _octal(mode, 8),
            _octal(uid, 8),
            _octal(gid, 8),
            _octal(size, 12),
            _octal(mtime, 12),
            b" " * 8,
            kind,
            link[:100].ljust(100, b"\0"),
            b"ustar\x0000",
            bytes(64),
            _octal(major, 8),
            _octal(minor, 8),
        )
    ).ljust(BLOCK, b"\0")
    return b"%s%06o\0 %s" % (fields[:148], sum(fields), fields[156:])


def _octal(value: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, value if 0 <= value < 8 ** (width - 1) else 0)


def _record(key: bytes, value: bytes) -> bytes:
    """One pax record: its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def _open_directory(root: int, path: bytes) -> int:
    """Without a link on its way: somebody may be changing the tree."""
    flags = os.O_RDONLY | os.O_DIRECTORY
    return openat2(root, path or b".", flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


def _xattrs(dir_fd: int, name: bytes) -> dict[bytes, bytes]:
    """The attributes that belong to a layer; overlay's own do not."""
    found: dict[bytes, bytes] = {}
    os.fchdir(dir_fd)  # there is no *at call for attributes before Linux 6.13
    try:
        keys = os.listxattr(name, follow_symlinks=False)
    except OSError:  # a file system without attributes
        return found
    for key in keys:
        if key.startswith(KEPT) and not key.startswith("user.overlay."):
            found[os.fsencode(key)] = os.getxattr(name, key, follow_symlinks=False)
    return found
