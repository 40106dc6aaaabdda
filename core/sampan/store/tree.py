"""The directories of a layer that is being unpacked.

A path is resolved once, inside the root (openat2, RESOLVE_IN_ROOT), and from then on is a
descriptor of its directory and a last component that is never followed.  A directory that no entry
names is made on the way; its metadata comes from the layers below when the layer is complete, for
only then are those sure to be there.
"""

from __future__ import annotations

import errno
import os
import stat

from sampan import files
from sampan.linux import overlay
from sampan.linux.paths import (
    RESOLVE_BENEATH,
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    openat2,
)
from sampan.store.own import Own
from sampan.store.pax import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.drivers import LayerWriter

    Times = tuple[int, int]  # mode, mtime in ns

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
CACHED = 256
MAX_PATH = 4095
MAX_LINKS = 40  # as the kernel (path_resolution(7))
IMPLICIT_MODE = 0o755


class Tree:
    """Directories under `root` by path; `duplicates` counts what a later entry replaced.

    replaced: called with the path of an entry of this layer that goes.  layer: False where the root is
    no layer of its own, and a directory that no entry names stays as it is.
    """

    def __init__(
        self,
        root: int,
        writer: LayerWriter,
        replaced: Callable[[bytes], None],
        *,
        layer: bool = True,
    ) -> None:
        self.root, self._writer, self._replaced = root, writer, replaced
        self._layer = layer
        self._open: dict[bytes, int] = {b"": root}
        self._latest = root  # a hard link needs two directories at once
        self._whiteouts: list[bytes] = []
        # What is set last, for every entry made in a directory changes its time. None: no entry
        # named it.
        self._directories: dict[bytes, Times | None] = {b"": None}
        self._opaque_root = False
        self._own = Own() if writer.complete else None
        self._real: dict[bytes, bytes] = {}  # where directories named over a link are
        self.duplicates = 0

    def parent(self, path: bytes, *, create: bool = True) -> int:
        """A descriptor of the directory `path`; it stays the tree's.

        FileNotFoundError without `create`.
        """
        fd = self._open.get(path)
        if fd is None:
            fd = self._resolve(path, create)
            if len(self._open) >= CACHED:
                self._close_cached(self._latest)
            self._open[path] = fd
        self._latest = fd
        return fd

    def _resolve(self, path: bytes, create: bool) -> int:
        if self._own is not None and create:
            return self._make(path)  # links of the layers below give way to directories
        try:
            return openat2(self.root, path, _DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if not create or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            return self._make(path)

    def _implied(self, place: bytes) -> None:
        if self._own is not None:
            self._own.paths.add(place)

    def is_foreign(self, path: bytes) -> bool:
        """Whether the path is of the layers below, of which this directory has a copy."""
        return self._own is not None and self._place(path) not in self._own.paths

    def _place(self, path: bytes) -> bytes:
        """The path without links on its way."""
        head, _, base = path.rpartition(b"/")
        head = self._real.get(head, head)
        return head + b"/" + base if head else base

    def keeps(self, path: bytes) -> bool:
        """Whether this directory still has, or would have, what the layers below have at the path."""
        implied = (
            self._directories.get(path, ...) is None
        )  # on the way of an entry, but none itself
        if self._own is None or (self._own.hides(path) and not implied):
            return False
        try:
            os.close(
                openat2(
                    self.root,
                    path.rpartition(b"/")[0] or b".",
                    _DIRECTORY,
                    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
                )
            )
        except OSError:
            return False  # a directory above it is gone
        return True

    def made(self, path: bytes) -> None:
        """An entry of this layer is there."""
        if self._own is not None:
            self._own.paths.add(self._place(path))

    def directory(self, dir_fd: int, base: bytes, path: bytes, mode: int, mtime_ns: int) -> bool:
        """Make the directory that an entry names, or take the one that is there: then True.

        Its set-id and sticky bits come last: what is made inside would inherit its group.
        """
        existed = False
        try:
            os.mkdir(base, mode & 0o777, dir_fd=dir_fd)
        except FileExistsError:
            existed = self._take_directory(dir_fd, base, path, mode & 0o777)
        self._directories[path] = (mode, mtime_ns)
        return existed

    def root_directory(self, mode: int, mtime_ns: int) -> None:
        os.fchmod(self.root, mode & 0o777)
        self._directories[b""] = (mode, mtime_ns)

    def opaque(self, path: bytes) -> None:
        """Hide what the layers below have in the directory."""
        if self._own is not None:
            self._own.prune(self.parent(path), self._real.get(path, path))
        elif path:
            self._writer.opaque(self.parent(path))
        else:
            # an overlay does not ask its roots: whiteouts say it at the end
            self._opaque_root = True

    def make_room(self, dir_fd: int, base: bytes, path: bytes) -> None:
        """Remove what stands where a new file goes: a whiteout, or an earlier entry."""
        status = os.stat(base, dir_fd=dir_fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            self._forget(path, dir_fd)
            files.remove_tree(dir_fd, base)
        else:
            os.unlink(base, dir_fd=dir_fd)
            if overlay.is_whiteout(status):
                return
        if self._own is not None:
            if self.is_foreign(path):
                return
            self._own.forget(self._place(path))
        self.duplicates += 1
        self._replaced(path)

    def whiteout(self, path: bytes) -> None:
        """Hide `path` of the layers below, wherever in this layer its own entry stands."""
        head, _, base = path.rpartition(b"/")
        dir_fd = self.parent(head)
        if self._own is not None:
            self._close_cached(dir_fd)
            self._own.whiteout(dir_fd, base, self._place(path))
            return
        try:
            self._writer.whiteout(dir_fd, base)
            self._whiteouts.append(path)
        except FileExistsError:
            status = os.stat(base, dir_fd=dir_fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                self._make_opaque(dir_fd, base)

    def finish(self, stack: Callable[[], list[int]]) -> None:
        """Set the directories' modes and times; `stack` gives the layers below, topmost first."""
        if self._opaque_root:
            for name in sorted(overlay.names(stack())):
                self.whiteout(name)
        if self._whiteouts:
            self._prune_whiteouts(stack())
        self._close_cached()
        for path, times in reversed(self._directories.items()):
            try:
                fd = openat2(
                    self.root, path or b".", _DIRECTORY, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
                )
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # a link on its way was replaced
                raise
            try:
                if times is None:
                    if self._layer:
                        _inherit(fd, path, stack())
                else:
                    mode, mtime_ns = times
                    if mode & 0o7000:
                        os.fchmod(fd, mode)
                    os.utime(fd, ns=(mtime_ns, mtime_ns))
            finally:
                os.close(fd)

    def _prune_whiteouts(self, stack: list[int]) -> None:
        """Remove whiteouts of nothing: a directory that is in no layer below would list them."""
        for path in self._whiteouts:
            below = overlay.lookup(stack, path)
            if below is not None:
                os.close(below)
                continue
            head, _, base = path.rpartition(b"/")
            try:
                fd = openat2(
                    self.root, head or b".", _DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
                )
            except OSError:
                continue  # its path leads over a link: what it hides has another name
            try:
                if overlay.is_whiteout(os.stat(base, dir_fd=fd, follow_symlinks=False)):
                    os.unlink(base, dir_fd=fd)
            except FileNotFoundError:
                pass
            finally:
                os.close(fd)

    def _take_directory(self, dir_fd: int, base: bytes, path: bytes, mode: int) -> bool:
        status = os.stat(base, dir_fd=dir_fd, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            if self._directories.get(path) is not None:
                self.duplicates += 1
                self._replaced(path)
            os.chmod(base, mode, dir_fd=dir_fd)
            return True
        self.make_room(dir_fd, base, path)
        os.mkdir(base, mode, dir_fd=dir_fd)
        if self._own is None:
            self._make_opaque(dir_fd, base)  # what stood there hid the directory below
        return False

    def _make_opaque(self, dir_fd: int, base: bytes) -> None:
        fd = files.open_directory(base, dir_fd=dir_fd)
        try:
            self._writer.opaque(fd)
        finally:
            os.close(fd)

    def _make(self, path: bytes) -> int:
        """Walk to the directory as in a chroot, making what is missing."""
        todo = path.split(b"/")[::-1]
        done: list[bytes] = []
        links = 0
        current = os.dup(self.root)
        try:
            while todo:
                part = todo.pop()
                if part in (b"", b"."):
                    continue
                if part == b"..":
                    todo += done[-2::-1] if len(done) > 1 else []
                    done = []
                    current = _swap(current, os.dup(self.root))
                    continue
                here = b"/".join([*done, part])
                if len(here) > MAX_PATH:
                    raise OSError(errno.ENAMETOOLONG, "its directories are too deep")
                target = self._step(current, part, here)
                if isinstance(target, int):
                    current = _swap(current, target)
                    done.append(part)
                    continue
                links += 1
                if links > MAX_LINKS:
                    raise OSError(errno.ELOOP, "too many links on its way")
                todo += target.split(b"/")[::-1]
                if target.startswith(b"/"):
                    done = []
                    current = _swap(current, os.dup(self.root))
        except BaseException:
            os.close(current)
            raise
        if self._own is not None:
            self._real[path] = b"/".join(done)
        return current

    def _step(self, current: int, part: bytes, path: bytes) -> int | bytes:
        """The descriptor of one component, made if it is missing, or the text of a link."""
        resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
        try:
            fd = openat2(current, part, _DIRECTORY, resolve)
            self._directories.setdefault(path, None)
            self._implied(path)
            return fd
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            found = error.errno
        if found != errno.ENOENT and self._own is not None and path not in self._own.paths:
            files.remove_tree(current, part)  # of the layers below, and no directory
            found = errno.ENOENT
        if found == errno.ELOOP:
            return os.readlink(part, dir_fd=current)
        if found == errno.ENOTDIR:
            self._only_whiteout(current, part, path)
        os.mkdir(part, IMPLICIT_MODE, dir_fd=current)
        self._implied(path)
        self._directories.setdefault(path, None)
        fd = openat2(current, part, _DIRECTORY, resolve)
        if found == errno.ENOTDIR:
            self._writer.opaque(fd)
        return fd

    def _only_whiteout(self, current: int, part: bytes, path: bytes) -> None:
        if not overlay.is_whiteout(os.stat(part, dir_fd=current, follow_symlinks=False)):
            raise NotADirectoryError(errno.ENOTDIR, f"{show(path)} above it is a file")
        os.unlink(part, dir_fd=current)

    def _forget(self, path: bytes, dir_fd: int) -> None:
        """A directory below `dir_fd` goes: descriptors and times of what was in it are worth
        nothing.
        """
        self._close_cached(dir_fd)
        below = path + b"/"
        for known in [p for p in self._directories if p == path or p.startswith(below)]:
            del self._directories[known]
            self._replaced(known)

    def _close_cached(self, keep: int = -1) -> None:
        kept = {path: fd for path, fd in self._open.items() if fd in (self.root, keep)}
        for path, fd in self._open.items():
            if path not in kept:
                os.close(fd)
        self._open = kept


def _swap(old: int, new: int) -> int:
    os.close(old)
    return new


def _inherit(fd: int, path: bytes, stack: list[int]) -> None:
    """Give a directory that no entry named the metadata that it has in the layers below."""
    below = overlay.lookup(stack, path) if stack else None
    if below is None:
        os.utime(fd, ns=(0, 0))  # nothing that differs from one unpack to the next
        return
    try:
        status = os.fstat(below)
        if not stat.S_ISDIR(status.st_mode):
            os.utime(fd, ns=(0, 0))
            return
        if status.st_uid or status.st_gid:
            os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        os.utime(fd, ns=(status.st_mtime_ns, status.st_mtime_ns))
    finally:
        os.close(below)
