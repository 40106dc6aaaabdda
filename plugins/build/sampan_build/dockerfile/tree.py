"""A root as names and kinds: what its disk has, and what a step puts into it.

The layers below a COPY are mounted read-only; what goes where, and whether a link or a file is in its way, is
found out here.  Paths are texts (other bytes as surrogates) without a slash at their ends; the root is "".
"""

from __future__ import annotations

import errno
import os

from sampan.errors import SampanError
from sampan.linux.paths import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

DIRECTORY, LINK, FILE, NOTHING = "d", "l", "f", ""
MAX_LINKS = 40  # as the kernel (path_resolution(7))
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS


def encode(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def decode(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def join(*parts: str) -> str:
    return "/".join(part for part in parts if part)


def open_directory(root: int, path: str) -> int:
    """A directory of the root, no link on its way."""
    return openat2(root, encode(path) or b".", _DIRECTORY, _BENEATH)


class Tree:
    """The directories of a root, listed when they are first asked for; root -1 has nothing in it."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._names: dict[str, dict[str, str]] = {}
        self._links: dict[str, str] = {}  # those that were put

    def names(self, path: str) -> dict[str, str]:
        """The kinds of what a directory holds, by name; empty if it is no directory."""
        found = self._names.get(path)
        if found is None:
            found = self._names[path] = self._list(path)
        return found

    def kind(self, path: str) -> str:
        """What is at a path whose directories are no links."""
        if not path:
            return DIRECTORY
        head, _, name = path.rpartition("/")
        return self.names(head).get(name, NOTHING)

    def link(self, path: str) -> str:
        """Where a link leads to."""
        text = self._links.get(path)
        if text is None:
            head, _, name = path.rpartition("/")
            fd = open_directory(self.root, head)
            try:
                text = decode(os.readlink(encode(name), dir_fd=fd))
            finally:
                os.close(fd)
        return text

    def put(self, path: str, kind: str, link: str = "") -> None:
        """Something takes the place of what was there; a directory that is there stays."""
        head, _, name = path.rpartition("/")
        names = self.names(head)
        if names.get(name) == kind == DIRECTORY:
            return
        if names.get(name) == DIRECTORY or kind == DIRECTORY:
            self._names[path] = {}
        names[name] = kind
        if kind == LINK:
            self._links[path] = link

    def resolve(self, path: str, top: str = "") -> str:
        """The path below the directory `top` without links; none leads out of it, and what is missing stays."""
        todo = path.split("/")[::-1]
        done: list[str] = []
        links = 0
        while todo:
            word = todo.pop()
            if word in ("", "."):
                continue
            if word == "..":
                del done[-1:]
                continue
            here = join(top, *done, word)
            if self.kind(here) != LINK:
                done.append(word)
                continue
            links += 1
            if links > MAX_LINKS:
                raise SampanError(f"cannot reach /{path}", "too many links lead on from it")
            text = self.link(here)
            if text.startswith("/"):
                done = []
            todo += text.split("/")[::-1]
        return join(top, *done)

    def _list(self, path: str) -> dict[str, str]:
        if self.root < 0:
            return {}
        try:
            fd = open_directory(self.root, path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return {}
            raise
        try:
            with os.scandir(fd) as entries:
                return {
                    entry.name: DIRECTORY
                    if entry.is_dir(follow_symlinks=False)
                    else LINK
                    if entry.is_symlink()
                    else FILE
                    for entry in entries
                }
        finally:
            os.close(fd)
