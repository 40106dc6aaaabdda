"""A directory tree made again: by hard links where it may share files, by reflink where the file system can, else by
copying.

Names, types, modes, owners, attributes, times to the nanosecond, holes and hard links among the tree's files are
kept.  Nothing is followed, whoever changes the target meanwhile.  The source must be a tree that nobody changes,
such as a layer.
(ioctl_ficlonerange(2), copy_file_range(2), lseek(2): SEEK_DATA)
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from sampan import files
from sampan.errors import UnsupportedError
from sampan.linux.paths import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Owner = Callable[[int, int], tuple[int, int]]

FICLONE = 0x40049409
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_REFUSED = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)


class Cloner:
    """Clones the tree `source` into the empty directory `target` (descriptors).

    share: files are shared (hard links), which costs not even an inode: what the new tree has of the old one must
    never be changed in place.  owner: what becomes of (uid, gid); then no file is shared.
    """

    def __init__(
        self, source: int, target: int, *, share: bool = False, owner: Owner | None = None
    ) -> None:
        self._source, self._target = source, target
        self._share = share and owner is None
        self._owner = owner
        self._reflink = can_reflink(target)
        self._links: dict[int, bytes] = {}  # inode of the source: its first name in the target
        self.copied = 0  # bytes that share nothing

    def run(self) -> None:
        done: list[tuple[bytes, os.stat_result]] = []
        todo = [b""]
        while todo:
            path = todo.pop()
            source = _open(self._source, path)
            target = _open(self._target, path)
            try:
                status = os.fstat(source)
                self._attributes(source, target)
                done.append((path, status))
                for name in sorted(map(os.fsencode, os.listdir(source))):
                    below = path + b"/" + name if path else name
                    if self._entry(source, target, name, below):
                        todo.append(below)
            finally:
                os.close(source)
                os.close(target)
        for path, status in reversed(done):  # what is made in a directory changes its time
            fd = _open(self._target, path)
            try:
                os.fchown(fd, *self._owners(status))
                os.fchmod(fd, stat.S_IMODE(status.st_mode))
                os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(fd)

    def _entry(self, source: int, target: int, name: bytes, path: bytes) -> bool:
        """One name; True if it is a directory."""
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        try:
            self._owners(status)
        except LookupError:
            owner = f"{status.st_uid}:{status.st_gid}"
            raise UnsupportedError(
                f"cannot copy {path.decode(errors='backslashreplace')}",
                f"it belongs to {owner}, which the id map of the container does not have",
                "give the container more ids",
            ) from None
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=target)
            return True
        if status.st_nlink > 1:
            first = self._links.setdefault(status.st_ino, path)
            if first != path:
                head, _, base = first.rpartition(b"/")
                known = _open(self._target, head)
                try:
                    os.link(base, name, src_dir_fd=known, dst_dir_fd=target, follow_symlinks=False)
                finally:
                    os.close(known)
                return False
        if kind == stat.S_IFREG:
            self._file(source, target, name, status)
        elif not (self._share and self._linked(source, target, name)):
            self._special(source, target, name, status)
        return False

    def _special(self, source: int, target: int, name: bytes, status: os.stat_result) -> None:
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        uid, gid = self._owners(status)
        os.chown(name, uid, gid, dir_fd=target, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
        times = (status.st_atime_ns, status.st_mtime_ns)
        os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)

    def _file(self, source: int, target: int, name: bytes, status: os.stat_result) -> None:
        if self._share and self._linked(source, target, name):
            return
        old = os.open(name, _READ, dir_fd=source)
        new = -1
        try:
            new = os.open(name, _NEW, 0o600, dir_fd=target)
            if status.st_size and not (self._reflink and _reflinked(old, new)):
                copy_data(old, new, status.st_size)
                self.copied += status.st_blocks * 512
            os.fchown(new, *self._owners(status))
            os.fchmod(new, stat.S_IMODE(status.st_mode))
            self._attributes(old, new)
            os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
        finally:
            os.close(old)
            if new >= 0:
                os.close(new)

    def _linked(self, source: int, target: int, name: bytes) -> bool:
        try:
            os.link(name, name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            return False
        return True

    def _owners(self, status: os.stat_result) -> tuple[int, int]:
        owner = self._owner
        return owner(status.st_uid, status.st_gid) if owner else (status.st_uid, status.st_gid)

    def _attributes(self, old: int, new: int) -> None:
        for name in os.listxattr(old):
            os.setxattr(new, name, os.getxattr(old, name))


def _open(top: int, path: bytes) -> int:
    return openat2(top, path or b".", _DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


def _reflinked(old: int, new: int) -> bool:
    try:
        fcntl.ioctl(new, FICLONE, old)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return False
    return True


def copy_data(old: int, new: int, size: int) -> None:
    """The data of a file, holes left out."""
    offset = 0
    while offset < size:
        try:
            start = os.lseek(old, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no data behind
                raise
            break
        end = os.lseek(old, start, os.SEEK_HOLE)
        os.lseek(new, start, os.SEEK_SET)
        while start < end:
            count = os.sendfile(new, old, start, end - start)
            if not count:
                break
            start += count
        offset = end
    os.ftruncate(new, size)


def can_reflink(directory: int) -> bool:
    """Whether files of the file system can share blocks; tried with two files that have no name."""
    fds: list[int] = []
    try:
        for _ in range(2):
            fds.append(files.nameless(directory))
        os.write(fds[0], bytes(4096))
        fcntl.ioctl(fds[1], FICLONE, fds[0])
        return True
    except OSError:
        return False
    finally:
        for fd in fds:
            os.close(fd)
