"""Whether this machine and this file system let a user mount overlays: tried, not guessed."""

from __future__ import annotations

import errno
import os
import signal

from sampan import files
from sampan.errors import SampanError, UnsupportedError
from sampan.linux import fuse, libc, mounts, overlay, userns
from sampan.linux.clone import can_reflink
from sampan.model.contract import Probe
from sampan_storage import fuse_overlayfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from sampan.model.contract import DriverContext

    T = TypeVar("T")

RANK, FUSE_RANK, VFS_RANK = 100, 50, 10
SECONDS = 20  # for a program that does not answer
ANOTHER = (
    "keep the store on ext4, xfs or btrfs (--root), or use another driver (--storage-driver vfs)"
)


def probe(context: DriverContext) -> Probe:
    """The kernel's overlay."""
    return _probe(context, _mount, RANK)


def probe_fuse(context: DriverContext) -> Probe:
    """The program fuse-overlayfs, whatever its version."""
    program = fuse_overlayfs.find(context.options.get("program", ""))
    if not program:
        wanted = context.options.get("program", "") or fuse_overlayfs.PROGRAM
        return Probe(False, f"{wanted} is not installed", "install the package fuse-overlayfs")
    return _probe(context, lambda: _serve(program), FUSE_RANK)


def probe_vfs(context: DriverContext) -> Probe:
    """Plain directories: they work wherever files can be linked."""
    name = files.temporary_name()
    os.mkdir(name, 0o700, dir_fd=context.root_fd)
    try:
        top = files.open_directory(name, dir_fd=context.root_fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=top))
        os.link("file", "name", src_dir_fd=top, dst_dir_fd=top)
        os.symlink("file", "link", dir_fd=top)
        shared = can_reflink(top)
        os.close(top)
    except OSError as error:
        return Probe(False, f"{error.strerror}", ANOTHER)
    finally:
        files.remove_tree(context.root_fd, name)
    how = "blocks are shared by reflink" if shared else "no reflink here: every container is a copy"
    return Probe(True, how, rank=VFS_RANK)


def _probe(context: DriverContext, mount: Callable[[], None], rank: int) -> Probe:
    """Mount in a child user namespace, and do in it what containers do."""
    name = files.temporary_name()
    os.mkdir(name, 0o700, dir_fd=context.root_fd)
    try:
        userns.run(context.idmap, lambda: _try(context.root_fd, name, mount))
    except SampanError as error:
        why = f"{error.what}: {error.why}" if error.why else error.what
        if error.why == f"wait status {int(signal.SIGALRM)}":
            why = f"it did not answer within {SECONDS} seconds"
        return Probe(False, why, error.hint or ANOTHER)
    finally:
        userns.run(context.idmap, lambda: files.remove_tree(context.root_fd, name))
    return Probe(True, rank=rank)


def _try(root: int, name: str, mount: Callable[[], None]) -> None:
    # a descriptor stays in the mount namespace it was opened in, the directory comes along
    os.fchdir(root)
    libc.unshare(libc.CLONE_NEWNS)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    top = files.open_directory(name)
    for part in ("lower", "upper", "work", "merged"):
        os.mkdir(part, 0o755, dir_fd=top)
    for part in ("lower/gone", "lower/moved"):
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=top))
    os.fchdir(top)
    mount()
    merged = files.open_directory("merged")
    _step("set user attributes", lambda: os.setxattr(top, "user.overlay.probe", b"y"), ANOTHER)
    _step("make a whiteout", lambda: _whiteout(merged, top), ANOTHER)
    _step("rename a file", lambda: _rename(merged), ANOTHER)


def _mount() -> None:
    fd = _step(
        "mount an overlay",
        lambda: mounts.overlay(["lower"], "upper", "work", [("userxattr", None)]),
        "kernel 5.11 or newer is needed, on a file system that can be an upper directory; "
        + ANOTHER,
    )
    target = os.open("merged", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts.move(fd, target)
    os.close(target)
    merged = files.open_directory("merged")
    _step("make a file without a name", lambda: _nameless(merged), ANOTHER)
    os.close(merged)


def _serve(program: str) -> None:
    target = os.open("merged", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    options = "lowerdir=lower,upperdir=upper,workdir=work,noacl"
    fuse.serve([program, "-f", "-o", options], target)
    os.close(target)


def _step(what: str, action: Callable[[], T], fix: str) -> T:
    try:
        return action()
    except OSError as error:
        raise UnsupportedError(f"cannot {what}", error.strerror or str(error), fix) from None


def _whiteout(merged: int, top: int) -> None:
    os.unlink("gone", dir_fd=merged)
    if not overlay.is_whiteout(os.stat("upper/gone", dir_fd=top, follow_symlinks=False)):
        raise OSError(0, "the deletion left no 0:0 device")


def _rename(merged: int) -> None:
    os.rename("moved", "elsewhere", src_dir_fd=merged, dst_dir_fd=merged)


def _nameless(merged: int) -> None:
    """A kernel before 6.3 has none on an overlay: programs do without them."""
    try:
        os.close(os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=merged))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
