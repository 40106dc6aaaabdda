"""How the kernel's overlay marks what it hides, and how a stack of its layers is looked up.

A whiteout is a character device 0:0; an opaque directory carries user.overlay.opaque=y, the form
that an unprivileged mount reads (filesystems/overlayfs.rst, "whiteouts and opaque directories",
"userxattr").
"""

from __future__ import annotations

import os
import stat

from sampan.linux.paths import O_PATH, RESOLVE_BENEATH, openat2

OPAQUE = "user.overlay.opaque"
OPAQUE_BY_FUSE = "user.fuseoverlayfs.opaque"  # as fuse-overlayfs marks them; it reads both
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def make_whiteout(dir_fd: int, name: bytes) -> None:
    os.mknod(name, stat.S_IFCHR, 0, dir_fd=dir_fd)


def make_opaque(dir_fd: int) -> None:
    os.setxattr(dir_fd, OPAQUE, b"y")


def is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(fd: int) -> bool:
    """Whether the directory (not an O_PATH descriptor) hides what is below it."""
    for name in (OPAQUE, OPAQUE_BY_FUSE):
        try:
            if os.getxattr(fd, name) == b"y":
                return True
        except OSError:
            continue
    return False


def lookup(stack: Sequence[int], path: bytes, flags: int = O_PATH) -> int | None:
    """A descriptor of `path` as an overlay of these directories, topmost first, would show it.

    The last component is opened with `flags` and not followed, and a link on the way is no
    directory: None.
    """
    parts = [part for part in path.split(b"/") if part not in (b"", b".")] or [b"."]
    for layer in stack:
        fd, below = _lookup_one(layer, parts, flags)
        if fd is not None:
            return fd
        if not below:
            return None
    return None


def hides(layer: int, path: bytes) -> bool:
    """Whether the layer has the path itself, or hides what the layers below have there."""
    fd, below = _lookup_one(layer, path.split(b"/"), O_PATH)
    if fd is not None:
        os.close(fd)
    return fd is not None or not below


def names(stack: Sequence[int], path: bytes = b"") -> set[bytes]:
    """The names in a directory of the overlay of these directories."""
    parts = [part for part in path.split(b"/") if part not in (b"", b".")] or [b"."]
    found: set[bytes] = set()
    hidden: set[bytes] = set()
    for layer in stack:
        try:
            fd, below = _lookup_one(layer, parts, _DIRECTORY)
        except NotADirectoryError:
            break
        if fd is not None:
            below = below and not (is_opaque(fd) and path)
            try:
                for name in map(os.fsencode, os.listdir(fd)):
                    if name not in hidden and name not in found:
                        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                        (hidden if is_whiteout(status) else found).add(name)
            finally:
                os.close(fd)
        if not below:
            break
    return found


def _lookup_one(layer: int, parts: list[bytes], flags: int) -> tuple[int | None, bool]:
    """In one layer: a descriptor or None, and whether what the layers below have is not hidden."""
    current, opaque = os.dup(layer), False
    try:
        for part in parts[:-1]:
            following, status = _step(current, part)
            if following < 0:
                return None, status is None and not opaque
            os.close(current)
            current = following
            if not (status and stat.S_ISDIR(status.st_mode)):
                return None, False
            opaque = opaque or _opaque_at(current)
        last, status = _step(current, parts[-1])
        if last < 0:
            return None, status is None and not opaque
        if flags == O_PATH:
            return last, not opaque
        os.close(last)
        return openat2(current, parts[-1], flags | os.O_NOFOLLOW, RESOLVE_BENEATH), not opaque
    finally:
        os.close(current)


def _step(dir_fd: int, part: bytes) -> tuple[int, os.stat_result | None]:
    """An O_PATH descriptor and its status; -1 where there is nothing, with the status of a
    whiteout.
    """
    try:
        fd = openat2(dir_fd, part, O_PATH | os.O_NOFOLLOW, RESOLVE_BENEATH)
    except FileNotFoundError:
        return -1, None
    status = os.fstat(fd)
    if is_whiteout(status):
        os.close(fd)
        return -1, status
    return fd, status


def _opaque_at(fd: int) -> bool:
    try:
        readable = os.open(b".", _DIRECTORY, dir_fd=fd)
    except OSError:
        return False
    try:
        return is_opaque(readable)
    finally:
        os.close(readable)
