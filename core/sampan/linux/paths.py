"""Paths inside a root file system, as descriptors.

A path that comes from an image, a container or a Dockerfile is resolved once, confined to the root by
openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS), and from then on is only that descriptor.  No module that
touches a root file system joins paths as text.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat

from sampan import files
from sampan.errors import CorruptError
from sampan.linux.libc import call, encode

O_PATH = os.O_PATH | os.O_CLOEXEC
RESOLVE_NO_XDEV = 1
RESOLVE_NO_MAGICLINKS = 2
RESOLVE_NO_SYMLINKS = 4
RESOLVE_BENEATH = 8
RESOLVE_IN_ROOT = 16


def openat2(dir_fd: int, path: str | bytes, flags: int, resolve: int, mode: int = 0) -> int:
    how = (ctypes.c_uint64 * 3)(flags | os.O_CLOEXEC, mode, resolve)
    while True:
        try:
            return call(
                "openat2", dir_fd, encode(path), ctypes.byref(how), ctypes.sizeof(how), path=path
            )
        except InterruptedError:
            continue
        except BlockingIOError:  # EAGAIN: a rename raced with "..": try again (openat2(2))
            continue


def open_in_root(root_fd: int, path: str | bytes, flags: int = O_PATH, mode: int = 0) -> int:
    """Open `path` as a process whose root is `root_fd` would; links cannot leave it."""
    return openat2(root_fd, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, mode)


def make_directories(
    root_fd: int, path: str | bytes, mode: int = 0o755, *, unnoticed: bool = False
) -> int:
    """Descriptor (O_PATH) of the directory `path` in the root, made where missing.

    Existing components are resolved as in a chroot, links included; new ones are made by descriptor.
    unnoticed: the directory in which one is made keeps its time.
    """
    parts = [part for part in encode(path).split(b"/") if part not in (b"", b".")]
    done = b"/"
    current = open_in_root(root_fd, done, O_PATH | os.O_DIRECTORY)
    for part in parts:
        done = done + b"/" + part
        try:
            following = open_in_root(root_fd, done, O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            try:
                with Unnoticed(current if unnoticed else -1):
                    os.mkdir(part, mode, dir_fd=current)
            except FileExistsError:  # a dangling link, or somebody was faster
                pass
            try:
                following = openat2(
                    current,
                    part,
                    O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW,
                    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
                )
            except OSError:
                os.close(current)
                raise
        except OSError:
            os.close(current)
            raise
        os.close(current)
        current = following
    return current


class Unnoticed:
    """`with Unnoticed(directory):` what is made in it does not change its time; -1: of none."""

    __slots__ = ("_before", "_directory")

    def __init__(self, directory: int) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        if self._directory >= 0:
            self._before = os.fstat(self._directory)

    def __exit__(self, *exception: object) -> None:
        if self._directory >= 0:
            times = self._before.st_atime_ns, self._before.st_mtime_ns
            try:
                os.utime(f"/proc/self/fd/{self._directory}", ns=times)
            except OSError:
                pass  # somebody else's directory


def make_mount_point(root_fd: int, path: str | bytes, *, directory: bool) -> int:
    """Descriptor (O_PATH) of `path` in the root, made as a directory or an empty file if missing.

    What lies around it keeps its time: that something was mounted is no change of the file system.
    """
    if directory:
        return make_directories(root_fd, path, unnoticed=True)
    try:
        return open_in_root(root_fd, path)
    except FileNotFoundError:
        pass
    head, _, tail = encode(path).rstrip(b"/").rpartition(b"/")
    parent = make_directories(root_fd, head or b"/", unnoticed=True)
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_WRONLY
        with Unnoticed(parent):
            os.close(os.open(tail, flags, 0o644, dir_fd=parent))
        return openat2(parent, tail, O_PATH | os.O_NOFOLLOW, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    finally:
        os.close(parent)


def read_in_root(root_fd: int, path: str, limit: int = 1 << 20) -> bytes | None:
    """A regular file of the root as bytes; None if there is none.  FIFOs and links are refused."""
    try:
        fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise CorruptError(
                f"cannot read {path} of the image", "it is not a regular file"
            ) from None
        raise
    try:
        return files.read_fd(fd, f"{path} of the image", limit)
    finally:
        os.close(fd)


def is_directory(fd: int) -> bool:
    return stat.S_ISDIR(os.fstat(fd).st_mode)
