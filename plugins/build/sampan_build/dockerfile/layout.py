"""What a step writes: each entry of the new layer under its path, over what the layers below have.

Entries are gathered first, since a later source may replace what an earlier one brought, and then written in
one go.  Every directory on the way is among them: new ones, and those that are there with the metadata that
they have, for a layer whose parents have no entries would give them others wherever it is unpacked alone.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from sampan.errors import SampanError
from sampan_build.dockerfile.tree import DIRECTORY, NOTHING, Tree, encode, join, open_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.drivers.build import LayerTar

    Owner = tuple[int, int]


class Kept(NamedTuple):
    """A directory that is there."""


class Made(NamedTuple):
    """A new directory, made now if it has no time."""

    owner: Owner = (0, 0)
    mode: int = 0o755
    mtime_ns: int | None = None


class Text(NamedTuple):
    """A file of these bytes."""

    data: bytes
    owner: Owner
    mode: int


class Taken(NamedTuple):
    """What `name` is in a directory of the root `root`."""

    root: int
    directory: str
    name: str
    status: os.stat_result | None
    owner: Owner | None
    mode: int | None
    is_foreign: bool  # the store may know more of it than the disk


class Layout:
    """The entries of a step."""

    def __init__(self, tree: Tree, tar: LayerTar) -> None:
        self.tree, self.tar = tree, tar
        self._entries: dict[str, Kept | Made | Text | Taken] = {}
        self._written: set[str] = set()

    def directory(self, path: str, made: Made) -> None:
        """See to a directory and those above it, no link on its way; made: what becomes of those that are missing."""
        words = path.split("/") if path else []
        for depth in range(1, len(words) + 1):
            here = "/".join(words[:depth])
            kind = self.tree.kind(here)
            if kind == DIRECTORY:
                if here not in self._entries and here not in self._written:
                    self._entries[here] = Kept()
            elif kind == NOTHING:
                self.tree.put(here, DIRECTORY)
                self._entries[here] = made
            else:
                raise SampanError(f"cannot make directory /{path}", f"/{here} is not a directory")

    def taken(self, path: str, kind: str, entry: Taken | Text, link: str = "") -> None:
        """Something goes to a path whose directory was seen to; BuildKit's rules for what is there already."""
        there = self.tree.kind(path)
        if kind == DIRECTORY and there not in (DIRECTORY, NOTHING):
            raise SampanError(f"cannot copy to non-directory: /{path}", "a file or a link is there")
        if kind != DIRECTORY and there == DIRECTORY:
            raise SampanError(
                f"cannot replace to directory /{path} with file", "it is there already"
            )
        self.tree.put(path, kind, link)
        self._entries[path] = entry

    def write(self) -> None:
        """Write what was gathered; what comes later comes after it."""
        if not self._entries:
            return
        source = _Source()
        try:
            for path, entry in self._entries.items():
                name = encode(path)
                if isinstance(entry, Taken):
                    origin = encode(join(entry.directory, entry.name)) if entry.is_foreign else None
                    self.tar.copy(
                        name, source.directory(entry.root, entry.directory), encode(entry.name),
                        owner=entry.owner, mode=entry.mode, origin=origin, status=entry.status,
                    )  # fmt: skip
                elif isinstance(entry, Made):
                    self.tar.directory(
                        name, owner=entry.owner, mode=entry.mode, mtime_ns=entry.mtime_ns
                    )
                elif isinstance(entry, Text):
                    self.tar.file(name, entry.data, owner=entry.owner, mode=entry.mode)
                else:
                    self._kept(path)
        finally:
            source.close()
        self._written.update(self._entries)
        self._entries = {}

    def written(self, path: str, kind: str, link: str = "") -> None:
        """An entry was written past this layout, whose own were written before."""
        self.tree.put(path, kind, link)
        self._written.add(path)

    def _kept(self, path: str) -> None:
        fd = open_directory(self.tree.root, path)
        try:
            self.tar.directory(encode(path), fd)
        finally:
            os.close(fd)


class _Source:
    """The directory that was last taken from: what it holds comes in a row."""

    def __init__(self) -> None:
        self._place: tuple[int, str] | None = None
        self._fd = -1

    def directory(self, root: int, path: str) -> int:
        if self._place != (root, path):
            self.close()
            self._fd = open_directory(root, path)
            self._place = root, path
        return self._fd

    def close(self) -> None:
        if self._place is not None:
            os.close(self._fd)
            self._place = None
