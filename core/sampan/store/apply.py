"""Entries of a layer become files of a directory.

Owners, modes, times to the nanosecond and attributes are set by descriptor.  What this process may
not set (an owner outside a one-id map, a device, an attribute that the kernel refuses) goes to the
sidecar, so that the layer can be written again as it was; the caller tells the user in one line
(`notices`).

The steps of a plain file are few on purpose: open, write, utime, close.
"""

from __future__ import annotations

import errno
import os
import stat

from sampan.errors import SampanError, from_os_error
from sampan.linux import overlay
from sampan.store.entry import (
    BLOCK_DEVICE,
    CHAR,
    DIRECTORY,
    FIFO,
    FILE,
    LINK,
    SYMLINK,
    Entry,
    clean,
)
from sampan.store.metadata import Metadata
from sampan.store.pax import corrupt, show
from sampan.store.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sampan.drivers import LayerWriter
    from sampan.linux.userns import IdMap
    from sampan.store.sidecar import Extra, SidecarWriter
    from sampan.store.tar import TarReader

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
COPY = 1 << 20


class Applier:
    """Applies entries below the directory `root`.

    stack: gives the directories of the layers below, topmost first; it may wait for them.
    inherited: of a directory that holds the layers below, what is kept aside for them.
    whiteouts: False where the root is no layer: names that begin with .wh. mean nothing, and a directory
    that no entry names stays as it is.  what: what failed, for messages.
    """

    def __init__(
        self,
        root: int,
        writer: LayerWriter,
        idmap: IdMap,
        sidecar: SidecarWriter,
        stack: Callable[[], list[int]],
        inherited: Mapping[bytes, Extra],
        *,
        whiteouts: bool = True,
        what: str = "cannot unpack the layer",
    ) -> None:
        self._whiteouts, self._what = whiteouts, what
        self._sidecar, self._stack, self._inherited = sidecar, stack, inherited
        self._meta = Metadata(idmap, sidecar)
        self.tree = Tree(root, writer, sidecar.forget, layer=whiteouts)
        self._kinds = {
            DIRECTORY: self._directory,
            SYMLINK: self._symlink,
            LINK: self._link,
            FIFO: self._fifo,
            CHAR: self._device,
            BLOCK_DEVICE: self._device,
        }

    def run(self, reader: TarReader) -> None:
        """Apply every entry of the archive."""
        while (entry := reader.next()) is not None:
            try:
                self.entry(entry, reader)
            except OSError as error:
                raise self._explain(entry, error) from error
        self.tree.finish(self._stack)
        for path, extra in self._inherited.items():
            if self.tree.keeps(path):
                self._sidecar.add_extra(path, extra)
        self._sidecar.flush()

    def _explain(self, entry: Entry, error: OSError) -> SampanError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return SampanError(
                self._what,
                f"no space left at {show(entry.name)}",
                "make room there, or remove what is not needed (sampan system prune)",
            )
        malformed = errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EINVAL, errno.EFBIG
        if error.errno in malformed:
            return corrupt(entry.name, error.strerror or str(error))
        return from_os_error(f"{self._what}: {show(entry.name)}", error)

    def notices(self) -> dict[str, int]:
        """How often something could not be done as the archive says."""
        return {**self._meta.counts, "duplicates": self.tree.duplicates}

    def entry(self, entry: Entry, reader: TarReader) -> None:
        path = clean(entry.name)
        head, _, base = path.rpartition(b"/")
        if self._whiteouts and WHITEOUT in path and any(map(_is_whiteout, path.split(b"/"))):
            self._whiteout(entry, path)
            return
        if not base:
            self._root(entry)
        elif entry.type == FILE:
            self._file(entry, self.tree.parent(head), base, path, reader)
        else:
            self._kinds[entry.type](entry, self.tree.parent(head), base, path)
        self.tree.made(path)

    def _whiteout(self, entry: Entry, path: bytes) -> None:
        head, _, base = path.rpartition(b"/")
        above = head.split(b"/")
        if base == OPAQUE and not any(part.startswith(WHITEOUT) for part in above):
            self.tree.opaque(head)
        elif any(part.startswith(b".wh..wh.") for part in (*above, base)):
            pass  # aufs's own records (.wh..wh.plnk): docker skips them, too
        elif any(part.startswith(WHITEOUT) for part in above):
            raise corrupt(entry.name, "an entry below a whiteout")
        elif base[4:] in (b"", b".", b".."):
            raise corrupt(entry.name, "a whiteout of nothing")
        else:
            self.tree.whiteout(path[: -len(base)] + base[4:])

    def _root(self, entry: Entry) -> None:
        if entry.type != DIRECTORY:
            raise corrupt(entry.name, "only a directory can be the root")
        root = self.tree.root
        mode, owned = self._meta.owner(entry, b"")
        if owned:
            os.fchown(root, entry.uid, entry.gid)
        self.tree.root_directory(mode, entry.mtime_ns)
        if entry.xattrs:
            self._meta.attributes(entry, root, b".", b"")

    def _file(self, entry: Entry, parent: int, base: bytes, path: bytes, reader: TarReader) -> None:
        mode = entry.mode
        owned = False
        if entry.uid or entry.gid:
            mode, owned = self._meta.owner(entry, path)
        try:
            fd = os.open(base, _NEW, mode & 0o777, dir_fd=parent)
        except FileExistsError:
            self.tree.make_room(parent, base, path)
            fd = os.open(base, _NEW, mode & 0o777, dir_fd=parent)
        try:
            if entry.segments is not None:
                for offset, size in entry.segments:
                    os.lseek(fd, offset, os.SEEK_SET)
                    reader.copy(fd, size)
                os.ftruncate(fd, entry.real)
            elif entry.size:
                reader.copy(fd, entry.size)
            if owned:
                os.fchown(fd, entry.uid, entry.gid)
            if mode & 0o7000:
                os.fchmod(fd, mode)
            if entry.xattrs:
                self._meta.attributes(entry, parent, base, path)
            os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _directory(self, entry: Entry, parent: int, base: bytes, path: bytes) -> None:
        mode, owned = self._meta.owner(entry, path)
        existed = self.tree.directory(parent, base, path, mode, entry.mtime_ns)
        if owned or (existed and not self._meta.single):
            os.chown(base, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if entry.xattrs:
            self._meta.attributes(entry, parent, base, path)

    def _symlink(self, entry: Entry, parent: int, base: bytes, path: bytes) -> None:
        if not entry.link:
            raise corrupt(entry.name, "a symbolic link to nothing")
        self._replacing(parent, base, path, lambda: os.symlink(entry.link, base, dir_fd=parent))
        self._metadata(entry, parent, base, path, with_mode=False)

    def _fifo(self, entry: Entry, parent: int, base: bytes, path: bytes) -> None:
        self._replacing(parent, base, path, lambda: os.mkfifo(base, 0o600, dir_fd=parent))
        self._metadata(entry, parent, base, path, with_mode=True)

    def _device(self, entry: Entry, parent: int, base: bytes, path: bytes) -> None:
        """Not made: nobody without privilege can, and 0:0 would be a whiteout."""
        try:
            earlier = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            if not (overlay.is_whiteout(earlier) or self.tree.is_foreign(path)):
                self.tree.make_room(parent, base, path)
        self._meta.device(entry, path)

    def _link(self, entry: Entry, parent: int, base: bytes, path: bytes) -> None:
        target = clean(entry.link, of=entry.name)
        if target == path:
            raise corrupt(entry.name, "a hard link to itself")
        head, _, name = target.rpartition(b"/")
        source, status = -1, None
        try:
            source = self.tree.parent(head, create=False)
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            pass
        if status is None or overlay.is_whiteout(status) or self.tree.is_foreign(target):
            self._copy_up(entry, target, parent, base, path)
            return
        if stat.S_ISDIR(status.st_mode):
            raise corrupt(entry.name, "a hard link to a directory")
        try:
            existing = os.stat(base, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            if (existing.st_dev, existing.st_ino) == (status.st_dev, status.st_ino):
                return  # the two are one file already
            self.tree.make_room(parent, base, path)
        os.link(name, base, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        if self._meta.single and (entry.uid or entry.gid):
            self._meta.owner(entry, path)

    def _copy_up(self, entry: Entry, target: bytes, parent: int, base: bytes, path: bytes) -> None:
        """A hard link to a file of a lower layer becomes a copy of it."""
        below = overlay.lookup(self._stack(), target, os.O_RDONLY | os.O_NONBLOCK)
        if below is None:
            raise corrupt(entry.name, f"a hard link to {show(target)}, which does not exist")
        try:
            status = os.fstat(below)
            if not stat.S_ISREG(status.st_mode):
                raise corrupt(
                    entry.name, f"a hard link to {show(target)}, which is no regular file"
                )
            self._replacing(parent, base, path, lambda: _copy_file(below, parent, base, status))
        finally:
            os.close(below)
        if self._meta.single and (entry.uid or entry.gid):
            self._meta.owner(entry, path)

    def _replacing(self, parent: int, base: bytes, path: bytes, make: Callable[[], object]) -> None:
        try:
            make()
        except FileExistsError:
            self.tree.make_room(parent, base, path)
            make()

    def _metadata(
        self, entry: Entry, parent: int, base: bytes, path: bytes, *, with_mode: bool
    ) -> None:
        mode, owned = self._meta.owner(entry, path)
        if owned:
            os.chown(base, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        if with_mode:
            os.chmod(base, mode, dir_fd=parent)
        if entry.xattrs:
            self._meta.attributes(entry, parent, base, path)
        os.utime(base, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)


def _is_whiteout(part: bytes) -> bool:
    return part.startswith(WHITEOUT)


def _copy_file(source: int, parent: int, base: bytes, status: os.stat_result) -> None:
    target = os.open(base, _NEW, 0o600, dir_fd=parent)
    try:
        while os.sendfile(target, source, None, COPY):
            pass
        os.fchown(target, status.st_uid, status.st_gid)
        os.fchmod(target, stat.S_IMODE(status.st_mode))
        for name in os.listxattr(source):
            os.setxattr(target, name, os.getxattr(source, name))
        os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
    finally:
        os.close(target)


class Plain:
    """A LayerWriter for a directory that is no layer: it has nothing below it, and hides nothing."""

    complete = False

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def whiteout(self, dir_fd: int, name: bytes) -> None:
        raise AssertionError(name)

    def opaque(self, dir_fd: int) -> None:
        return
