"""Mounts by descriptor: made detached, given their attributes, then moved onto an O_PATH descriptor.

Between the making and the moving nothing in the target tree is trusted, so a link that an image or a racing
container puts in the way leads nowhere (open_tree(2), fsopen(2), move_mount(2), mount_setattr(2)).
"""

from __future__ import annotations

import ctypes
import errno
import os

from sampan.linux.libc import call, encode

AT_RECURSIVE = 0x8000
AT_EMPTY_PATH = 0x1000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = 0o2000000
MOVE_EMPTY_PATHS = 0x44  # MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_CMD_CREATE = 0, 1, 6

RDONLY, NOSUID, NODEV, NOEXEC, NOATIME, NOSYMFOLLOW = 1, 2, 4, 8, 16, 0x200000
ATTRIBUTES = {
    "ro": RDONLY,
    "nosuid": NOSUID,
    "nodev": NODEV,
    "noexec": NOEXEC,
    "noatime": NOATIME,
    "nosymfollow": NOSYMFOLLOW,
}
CLEARED = {"rw": RDONLY, "suid": NOSUID, "dev": NODEV, "exec": NOEXEC, "atime": NOATIME}
MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_UNBINDABLE, MS_REC = 1 << 18, 1 << 19, 1 << 20, 1 << 17, 0x4000
PROPAGATION = {
    "private": MS_PRIVATE,
    "slave": MS_SLAVE,
    "shared": MS_SHARED,
    "unbindable": MS_UNBINDABLE,
}


def new(
    fstype: str, options: list[tuple[str, str | None]], attributes: int = 0, source: str = ""
) -> int:
    """A detached mount of a new file system instance; the descriptor is close-on-exec."""
    context = call("fsopen", fstype.encode(), 1, path=fstype)
    try:
        for key, value in [("source", source or fstype), *options]:
            if value is None:
                _configure(context, FSCONFIG_SET_FLAG, key.encode(), None)
            else:
                _configure(context, FSCONFIG_SET_STRING, key.encode(), encode(value))
        _configure(context, FSCONFIG_CMD_CREATE, None, None)
        return call("fsmount", context, 1, attributes, path=fstype)
    finally:
        os.close(context)


def _configure(context: int, command: int, key: bytes | None, value: bytes | None) -> None:
    try:
        call("fsconfig", context, command, key, value, 0)
    except OSError as error:
        reason = _explanation(context) or error.strerror
        raise OSError(error.errno, f"fsconfig {(key or b'create').decode()}: {reason}") from None


def _explanation(context: int) -> str:
    """What the kernel logged about the failure (fsopen(2): read from the context)."""
    try:
        os.set_blocking(context, False)
        return os.read(context, 1024).decode(errors="replace").strip()[2:]
    except OSError:
        return ""


def clone_tree(fd: int, *, recursive: bool = True) -> int:
    """A detached copy (bind) of the mount that the descriptor is in, rooted at the descriptor."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return call("open_tree", fd, b"", flags)


def clone_path(path: str, *, recursive: bool = True, dir_fd: int = -100) -> int:
    """As `clone_tree`, by a trusted path of the host."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    return call("open_tree", dir_fd, encode(path), flags, path=path)


def set_attributes(
    fd: int, add: int = 0, clear: int = 0, propagation: int = 0, *, recursive: bool = False
) -> None:
    """mount_setattr on a mount given by descriptor."""
    if clear & NOATIME or add & NOATIME:  # the atime setting is a field, not a bit
        clear |= 0x70
    attributes = (ctypes.c_uint64 * 4)(add, clear, propagation, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    call("mount_setattr", fd, b"", flags, ctypes.byref(attributes), ctypes.sizeof(attributes))


def move(mount_fd: int, target_fd: int) -> None:
    """Attach a detached mount on the target."""
    call("move_mount", mount_fd, b"", target_fd, b"", MOVE_EMPTY_PATHS)


def change_propagation(path: str, propagation: int) -> None:
    """Propagation of a mount of this namespace, recursively."""
    call("mount", None, encode(path), None, propagation | MS_REC, None, path=path)


def classic(fstype: str, source: str, target: str, flags: int, data: str) -> None:
    """mount(2), for file systems that cannot be configured by fsconfig."""
    call("mount", encode(source), encode(target), fstype.encode(), flags, encode(data), path=target)


def overlay(
    lower: list[str], upper: str | None, work: str | None, extra: list[tuple[str, str | None]]
) -> int:
    """A detached overlay; paths are relative to the working directory, lower ones topmost first.

    With `lowerdir+` (kernel 6.8) there is no limit on the text; before it all must fit in one page.
    """
    if not appends_lower(os.uname().release):
        return _overlay_by_text(lower, upper, work, extra)
    options: list[tuple[str, str | None]] = [("lowerdir+", path) for path in lower]
    if upper and work:
        options += [("upperdir", upper), ("workdir", work)]
    try:
        return new("overlay", [*options, *extra])
    except FileNotFoundError:
        for path in lower:
            os.stat(path)  # its error names what is missing
        raise


def appends_lower(release: str) -> bool:
    """Whether a kernel knows `lowerdir+`; an older one answers EINVAL, and says why in its own log alone."""
    numbers = [part for part in release.replace("-", ".").split(".")[:2] if part.isdigit()]
    return len(numbers) == 2 and (int(numbers[0]), int(numbers[1])) >= (6, 8)


def _overlay_by_text(
    lower: list[str], upper: str | None, work: str | None, extra: list[tuple[str, str | None]]
) -> int:
    parts = ["lowerdir=" + ":".join(lower)]
    if upper and work:
        parts += [f"upperdir={upper}", f"workdir={work}"]
    parts += [key if value is None else f"{key}={value}" for key, value in extra]
    text = ",".join(parts)
    if len(text) >= 4096:
        raise OSError(
            errno.E2BIG,
            f"overlay: {len(lower)} layers need {len(text)} bytes of options, the kernel takes 4095",
        )
    target = upper or lower[0]
    classic("overlay", "overlay", target, 0, text)
    fd = os.open(target, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        copy = clone_tree(fd, recursive=False)
    finally:
        os.close(fd)
    call("umount2", encode(target), 2, path=target)
    return copy
