"""What fuse-overlayfs leaves behind when it copies a file up: a directory with the time of the copy.

The kernel's overlay gives the directory its time back; here this is made good afterwards, so that a directory in
which nothing was made or removed does not look changed.  A file that was copied up has an attribute that says so.
"""

from __future__ import annotations

import os
import stat

from sampan import files
from sampan.linux import overlay
from sampan_storage.layers import MARKS, below_path, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ORIGIN = "user.fuseoverlayfs.origin"


def repair(root: int, diff: str, lower: Sequence[int]) -> None:
    """Set the times of the directories of an upper directory that hold nothing but copies."""
    try:
        top = files.open_directory(diff, dir_fd=root)
    except FileNotFoundError:
        return
    try:
        paths = [path for path, _, status in walk(top) if stat.S_ISDIR(status.st_mode)]
        for path in paths:
            below = overlay.lookup(lower, path)
            if below is None:
                continue
            fd = os.open(
                path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top
            )
            try:
                was = os.fstat(below)
                if stat.S_ISDIR(was.st_mode) and _only_copies(fd, path, lower):
                    now = os.fstat(fd)
                    os.utime(fd, ns=(now.st_atime_ns, was.st_mtime_ns))
            finally:
                os.close(fd)
                os.close(below)
    finally:
        os.close(top)


def _only_copies(fd: int, path: bytes, lower: Sequence[int]) -> bool:
    """Whether the directory has something, and all of it came from below."""
    if overlay.is_opaque(fd):
        return False
    names = [name for name in map(os.fsencode, os.listdir(fd)) if name not in MARKS]
    return bool(names) and all(_is_copy(fd, name, below_path(path, name), lower) for name in names)


def _is_copy(dir_fd: int, name: bytes, path: bytes, lower: Sequence[int]) -> bool:
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    if overlay.is_whiteout(status):
        return False
    if stat.S_ISREG(status.st_mode):
        os.fchdir(dir_fd)  # there is no *at call for attributes before Linux 6.13
        return ORIGIN in os.listxattr(name, follow_symlinks=False)
    below = overlay.lookup(lower, path)
    if below is None:
        return False
    try:
        if stat.S_ISDIR(status.st_mode) and _is_new(dir_fd, name):
            return False
        return stat.S_IFMT(os.fstat(below).st_mode) == stat.S_IFMT(status.st_mode)
    finally:
        os.close(below)


def _is_new(dir_fd: int, name: bytes) -> bool:
    """Whether a directory took the place of another one."""
    fd = files.open_directory(name, dir_fd=dir_fd)
    try:
        return overlay.is_opaque(fd)
    finally:
        os.close(fd)
