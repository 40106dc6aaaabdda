"""The directories of `RUN --mount=type=cache`: what a command leaves there the next one finds.

`build/mounts/HEX` (64 hexadecimal digits) is a directory, with files of any owner of the store's user namespace.
HEX.json tells what it is, and by its time when it was last used; HEX.lock, which stays, is locked while a command
has it mounted.
"""

from __future__ import annotations

import json
import os
import time

from sampan import files
from sampan.errors import CorruptError
from sampan.model import times
from sampan.model.rfc3339 import stamp
from sampan.store import locks
from sampan.store.buildcache import DIRECTORY, SUFFIX, checked, is_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

MOUNTS = "mounts"
LOCK = ".lock"
_LIMIT = 1 << 20


class CacheMount:
    """created, used: seconds since the epoch."""

    __slots__ = ("created", "description", "key", "used")

    def __init__(self, key: str, description: str, created: float, used: float) -> None:
        self.key, self.description, self.created, self.used = key, description, created, used


class CacheMounts:
    """The cache mounts under one root; `fd` is a descriptor of their directory."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def list(self) -> Sequence[CacheMount]:
        """All of them, the oldest first."""
        found = [self._mount(name) for name in os.listdir(self.fd) if is_key(name)]
        return sorted(found, key=lambda one: (one.created, one.key))

    def use(self, key: str) -> bool:
        """Whether there is one of that key; it counts as used now. The caller has its lock."""
        try:
            os.stat(key, dir_fd=self.fd, follow_symlinks=False)
            os.utime(key + SUFFIX, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def add(self, key: str, draft: str, description: str) -> None:
        """A finished directory becomes the mount of that key."""
        os.rename(draft, key, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        about = {"description": description, "created": stamp(time.time_ns())}
        files.write_atomic(self.fd, key + SUFFIX, json.dumps(about).encode(), sync=False)

    def in_use(self, key: str) -> bool:
        """Whether a command has it mounted at this moment."""
        fd = self.lock(key)
        try:
            return not locks.try_lock(fd)
        finally:
            os.close(fd)

    def put_aside(self, key: str) -> str:
        """Take a mount that nobody uses out of the way: what its directory is called now, "" if it is used.

        `files.remove_tree`, in the store's user namespace, removes it.
        """
        fd = self.lock(key)
        try:
            if not locks.try_lock(fd):
                return ""
            files.unlink(self.fd, key + SUFFIX)
            return files.rename_away(self.fd, key)
        finally:
            os.close(fd)

    def lock(self, key: str) -> int:
        """A descriptor of its lock, not yet taken."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(checked(key) + LOCK, flags, 0o600, dir_fd=self.fd)

    def abandoned(self) -> Sequence[str]:
        """Directories that killed removers have put aside."""
        return [name for name in os.listdir(self.fd) if files.is_abandoned(name)]

    def close(self) -> None:
        os.close(self.fd)

    def _mount(self, key: str) -> CacheMount:
        """What is told of a mount; of one without a record its directory speaks."""
        status = os.stat(key, dir_fd=self.fd, follow_symlinks=False)
        description, created, used = "", status.st_mtime, status.st_mtime
        try:
            used = os.stat(key + SUFFIX, dir_fd=self.fd, follow_symlinks=False).st_mtime
            told = json.loads(files.read(self.fd, key + SUFFIX, _LIMIT))
            description, created = str(told["description"]), times.parse(told["created"])
        except (OSError, ValueError, KeyError, TypeError, CorruptError):
            pass
        return CacheMount(key, description, created, used)


def make_mounts(root_fd: int) -> CacheMounts:
    """The cache mounts of a store that is to have some."""
    os.close(files.open_directory(DIRECTORY, dir_fd=root_fd, create=True))
    return CacheMounts(files.open_directory(f"{DIRECTORY}/{MOUNTS}", dir_fd=root_fd, create=True))


def open_mounts(root_fd: int) -> CacheMounts | None:
    """The cache mounts of a store; None if there never was one."""
    try:
        return CacheMounts(files.open_directory(f"{DIRECTORY}/{MOUNTS}", dir_fd=root_fd))
    except FileNotFoundError:
        return None
