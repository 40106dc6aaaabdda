"""Links: small files in `registry/` by which repositories have content of the blob store.

A repository's directory has its name with `@` for `/`, which no name has.  Every name that becomes part of a path
here is a repository's, a tag, a digest's 64 hex digits or an upload's id, and the caller has checked it.
Directories are opened one by one and never through a link; what is made is durable when a call returns.
"""

from __future__ import annotations

import json
import os
import time

from sampan import files
from sampan.errors import CorruptError
from sampan.model import reference
from sampan.model.image import is_object
from sampan.store import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, TypeVar

    T = TypeVar("T")

DIRECTORY = "registry"
REPOSITORIES, LOCKS = "repositories", "locks"
BLOBS, MANIFESTS, TAGS = "blobs", "manifests", "tags"
LIMIT = 5 << 20  # bytes of a link; those of referrers hold a manifest's annotations
_TRIES = 10  # at making what another process removes at the same time


class Links:
    """The links of one repository. fd: a descriptor of `registry/`, the caller's."""

    __slots__ = ("_entry", "_fd")

    def __init__(self, fd: int, name: str) -> None:
        self._fd, self._entry = fd, name.replace("/", "@")

    def put(self, kind: str, name: str, link: Mapping[str, Any]) -> None:
        data = json.dumps(link, separators=(",", ":")).encode()
        self.within(kind, lambda fd: files.write_atomic(fd, name, data))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """What the link says; None if there is none, or a damaged one."""

        def read(fd: int) -> Any:
            return json.loads(files.read(fd, name, LIMIT))

        try:
            link = self.within(kind, read, create=False)
        except (FileNotFoundError, ValueError, CorruptError):
            return None
        return link if is_object(link) else None

    def has(self, kind: str, name: str) -> bool:
        return self.age(kind, name) is not None

    def age(self, kind: str, name: str) -> float | None:
        """Seconds since the link was made or touched."""
        try:
            status = self.within(
                kind, lambda fd: os.stat(name, dir_fd=fd, follow_symlinks=False), create=False
            )
        except FileNotFoundError:
            return None
        return time.time() - status.st_mtime

    def touch(self, kind: str, name: str) -> None:
        try:
            self.within(
                kind, lambda fd: os.utime(name, dir_fd=fd, follow_symlinks=False), create=False
            )
        except FileNotFoundError:
            return  # it was removed meanwhile

    def drop(self, kind: str, name: str) -> bool:
        """Remove a link, durably; False if there was none."""

        def remove(fd: int) -> bool:
            gone = files.unlink(fd, name)
            os.fsync(fd)
            return gone

        try:
            return self.within(kind, remove, create=False)
        except FileNotFoundError:
            return False

    def names(self, kind: str) -> list[str]:
        """The names of all links of a kind, sorted."""
        try:
            found = self.within(kind, os.listdir, create=False)
        except FileNotFoundError:
            return []
        return sorted(name for name in found if not name.startswith(files.TEMPORARY))

    def digests(self, kind: str) -> list[str]:
        """As `names`, of links that have the names of digests."""
        return [
            f"sha256:{name}" for name in self.names(kind) if reference.is_digest(f"sha256:{name}")
        ]

    def within(self, kind: str, action: Callable[[int], T], *, create: bool = True) -> T:
        """The action's result in the directory of that kind ("referrers/HEX" is one too, "" all kinds')."""
        for _ in range(_TRIES if create else 0):
            try:
                return self._within(kind, action, create)
            except FileNotFoundError:
                continue  # the repository is being removed
        return self._within(kind, action, create)

    def _within(self, kind: str, action: Callable[[int], T], create: bool) -> T:
        opened: list[int] = []
        above = self._fd
        try:
            for part in (REPOSITORIES, self._entry, *filter(None, kind.split("/"))):
                above = _open(above, part, create)
                opened.append(above)
            return action(above)
        finally:
            for fd in opened:
                os.close(fd)

    def sweep(self) -> None:
        """Remove what killed processes have left unfinished."""
        for kind in ("", BLOBS, MANIFESTS, TAGS):
            try:
                self.within(kind, files.sweep, create=False)
            except FileNotFoundError:
                continue

    def lock(self) -> locks.FileLock:
        """Held while manifests and tags are changed. It stands aside, since a repository may go and come."""
        fd = _open(self._fd, LOCKS, True)
        return _OwnedLock(fd, self._entry, f"the repository {self._entry.replace('@', '/')}")

    def discard(self) -> None:
        """Remove the repository's directory with all that is in it."""
        top = _open(self._fd, REPOSITORIES, True)
        try:
            doomed = files.rename_away(top, self._entry)
            if doomed:
                files.remove_tree(top, doomed)
            os.fsync(top)
        finally:
            os.close(top)


class _OwnedLock(locks.FileLock):
    """A lock that closes its directory when it ends."""

    __slots__ = ()

    def __exit__(self, *exception: object) -> None:
        super().__exit__()
        os.close(self._dir_fd)


def repositories(fd: int) -> list[str]:
    """The names of all repositories, sorted, with those to which a first push has only begun."""
    try:
        top = _open(fd, REPOSITORIES, False)
    except FileNotFoundError:
        return []
    try:
        names = [entry.replace("@", "/") for entry in os.listdir(top)]
    finally:
        os.close(top)
    return sorted(filter(reference.is_repository, names))


def kept(root_fd: int) -> Iterator[str]:
    """The digests that repositories need: whoever removes blobs of the store leaves these."""
    try:
        fd = files.open_directory(DIRECTORY, dir_fd=root_fd)
    except FileNotFoundError:
        return
    try:
        for name in repositories(fd):
            links = Links(fd, name)
            yield from links.digests(BLOBS)
            yield from links.digests(MANIFESTS)
    finally:
        os.close(fd)


def _open(above: int, name: str, create: bool) -> int:
    if create:
        try:
            os.mkdir(name, 0o700, dir_fd=above)
            os.fsync(above)
        except FileExistsError:
            pass
    return files.open_directory(name, dir_fd=above)
