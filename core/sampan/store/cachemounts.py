"""The directories of `RUN --mount=type=cache`: what a command leaves there the next one finds.

`build/mounts/HEX` (64 hexadecimal digits) is a directory, with files of any owner of the store's user namespace.
HEX.json tells what it is, and by its time when it was last used; HEX.lock is locked, shared or alone, while a command
has it mounted.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from sampan import files
from sampan.errors import CorruptError
from sampan.store import locks
from sampan.store.buildcache import DIRECTORY, SUFFIX, checked, is_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

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

    @contextlib.contextmanager
    def use(
        self, key: str, description: str, *, alone: bool = False, note: locks.Note
    ) -> Generator[None]:
        """The directory may be made and used: nobody removes it, nor with `alone` uses it, meanwhile."""
        name = checked(key) + LOCK
        with locks.named(self.fd, name, f"cache mount {description}", shared=not alone, note=note):
            try:
                os.utime(key + SUFFIX, dir_fd=self.fd)
            except FileNotFoundError:
                told = {"description": description, "created": time.time()}
                files.write_atomic(self.fd, key + SUFFIX, json.dumps(told).encode(), sync=False)
            yield

    def in_use(self, key: str) -> bool:
        """Whether a command has it mounted at this moment."""
        try:
            fd = os.open(
                checked(key) + LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd
            )
        except FileNotFoundError:
            return False
        try:
            return not locks.try_lock(fd)
        finally:
            os.close(fd)

    def put_aside(self, key: str) -> str:
        """Take a mount that nobody uses out of the way: what its directory is called now, "" if it is used.

        `files.remove_tree`, in the store's user namespace, removes it.
        """
        name = checked(key) + LOCK
        fd = locks.try_named(self.fd, name, create=True)
        if fd is None:
            return ""
        try:
            files.unlink(self.fd, key + SUFFIX)
            doomed = files.rename_away(self.fd, key)
            files.unlink(self.fd, name)
            return doomed
        finally:
            os.close(fd)

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
            description, created = str(told["description"]), float(told["created"])
        except (OSError, ValueError, KeyError, TypeError, CorruptError):
            pass
        return CacheMount(key, description, created, used)


def open_mounts(root_fd: int, *, create: bool = False) -> CacheMounts | None:
    """The cache mounts of a store; None if there never was one."""
    try:
        if create:
            os.close(files.open_directory(DIRECTORY, dir_fd=root_fd, create=True))
        return CacheMounts(
            files.open_directory(f"{DIRECTORY}/{MOUNTS}", dir_fd=root_fd, create=create)
        )
    except FileNotFoundError:
        return None
