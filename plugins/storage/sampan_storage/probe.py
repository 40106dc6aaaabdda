"""Whether this machine and this file system let a user mount overlays: tried, not guessed."""

from __future__ import annotations

import os

from sampan import files
from sampan.errors import SampanError, UnsupportedError
from sampan.linux import libc, mounts, overlay, userns
from sampan.model.contract import Probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from sampan.model.contract import DriverContext

    T = TypeVar("T")

RANK = 100
ANOTHER = (
    "keep the store on ext4, xfs or btrfs (--root), or use another driver (--storage-driver vfs)"
)


def probe(context: DriverContext) -> Probe:
    """Mount an overlay in a child user namespace and do in it what containers do."""
    name = files.temporary_name()
    os.mkdir(name, 0o700, dir_fd=context.root_fd)
    try:
        userns.run(context.idmap, lambda: _try(context.root_fd, name))
    except SampanError as error:
        return Probe(False, f"{error.what}: {error.why}" if error.why else error.what, error.hint)
    finally:
        userns.run(context.idmap, lambda: files.remove_tree(context.root_fd, name))
    return Probe(True, rank=RANK)


def _try(root: int, name: str) -> None:
    # a descriptor stays in the mount namespace it was opened in, the directory comes along
    os.fchdir(root)
    libc.unshare(libc.CLONE_NEWNS)
    top = files.open_directory(name)
    for part in ("lower", "upper", "work"):
        os.mkdir(part, 0o755, dir_fd=top)
    for part in ("lower/gone", "lower/moved"):
        os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=top))
    os.fchdir(top)
    merged = _step(
        "mount an overlay",
        lambda: mounts.overlay(["lower"], "upper", "work", [("userxattr", None)]),
        "kernel 5.11 or newer is needed, on a file system that can be an upper directory; "
        + ANOTHER,
    )
    _step("set user attributes", lambda: os.setxattr(top, "user.overlay.probe", b"y"), ANOTHER)
    _step("make a whiteout", lambda: _whiteout(merged, top), ANOTHER)
    _step("rename a file", lambda: _rename(merged), ANOTHER)
    _step("make a file without a name", lambda: _nameless(merged), ANOTHER)


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
    os.close(os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=merged))
