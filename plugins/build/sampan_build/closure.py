"""The files that programs of this machine need, as a plan: path -> what it is.

A path is walked component by component, and every link on it becomes an entry of its own: `/bin ->
usr/bin` and the links of /etc/alternatives are in the image as they are here.
"""

from __future__ import annotations

import os
import stat
from typing import NamedTuple

from sampan.errors import NotFoundError, UnsupportedError
from sampan_build import elf

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_LINKS = 40
MAX_SCRIPTS = 8  # interpreters of interpreters


class Node(NamedTuple):
    """kind: "d", "f" or "l"; text: a link's target, or the contents of a file that is made up."""

    kind: str
    mode: int
    mtime: int
    text: bytes | None = None
    identity: str = ""  # tells a file's content without reading it


class Closure:
    """`nodes` by absolute path; `library_paths`: where the linker of the image has to be told to
    look.
    """

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.library_paths: list[str] = []
        self._cache: dict[str, list[str]] | None = None
        self._objects: dict[str, elf.Elf] = {}

    def program(self, name: str) -> str:
        """Add a program by name or absolute path, with all that it needs; its path."""
        path = name if name.startswith("/") else find(name)
        self._executable(path, name, 0)
        return path

    def path(self, path: str) -> str:
        """Add a file or directory with the links on the way to it; its real path."""
        todo = path.split("/")[::-1]
        current, links = "", 0
        while todo:
            part = todo.pop()
            if part in ("", "."):
                continue
            if part == "..":
                current = current.rpartition("/")[0]
                continue
            here = f"{current}/{part}"
            status = os.lstat(here)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(here)
                self.nodes[here] = Node("l", 0o777, int(status.st_mtime), os.fsencode(target))
                links += 1
                if links > MAX_LINKS:
                    raise UnsupportedError(f"cannot take {path}", "too many links on its way")
                todo += target.split("/")[::-1]
                current = "" if target.startswith("/") else current
                continue
            current = here
            self._add(here, status)
        return current

    def _add(self, path: str, status: os.stat_result) -> None:
        mode, mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
        if stat.S_ISDIR(status.st_mode):
            self.nodes[path] = Node("d", 0o755, 0)
        elif stat.S_ISREG(status.st_mode):
            identity = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
            self.nodes[path] = Node("f", mode, mtime, None, identity)
        else:
            raise UnsupportedError(f"cannot take {path}", "it is no regular file")

    def _executable(self, path: str, asked: str, depth: int) -> None:
        try:
            real = self.path(path)
            with open(real, "rb", buffering=0) as file:
                head = file.read(256)
                if head.startswith(b"#!"):
                    self._script(real, head, asked, depth)
                else:
                    self._object(real, elf.read(file.fileno()), [])
        except FileNotFoundError:
            raise NotFoundError(f"no program {asked}", f"{path} does not exist") from None
        except PermissionError:
            raise UnsupportedError(f"cannot take {asked}", f"you may not read {path}") from None
        except IsADirectoryError:
            raise UnsupportedError(f"cannot take {asked}", f"{path} is a directory") from None
        except elf.NotElf as error:
            raise UnsupportedError(
                f"cannot take {asked}", f"{path} is neither an ELF program nor a script: {error}"
            ) from None

    def _script(self, path: str, head: bytes, asked: str, depth: int) -> None:
        words = [os.fsdecode(word) for word in head[2:].partition(b"\n")[0].split()]
        if not words or depth >= MAX_SCRIPTS:
            raise UnsupportedError(f"cannot take {asked}", f"{path} names no interpreter")
        self._executable(words[0], asked, depth + 1)
        if os.path.basename(words[0]) == "env":
            for word in words[1:]:
                if not word.startswith("-") and "=" not in word:
                    self._executable(word if "/" in word else find(word), asked, depth + 1)
                    break

    def _object(self, path: str, found: elf.Elf, inherited: list[str]) -> None:
        """An object and the libraries that it needs, and those that they need."""
        todo = [(path, found, inherited)]
        interpreter = found.interpreter
        if interpreter:
            self.path(interpreter)
        while todo:
            path, found, inherited = todo.pop()
            if path in self._objects:
                continue
            self._objects[path] = found
            origin = os.path.dirname(path)
            own = [elf.expand(place, origin, found.machine) for place in found.rpath]
            run = [elf.expand(place, origin, found.machine) for place in found.runpath]
            rpaths = [] if run else [*own, *inherited]
            for name in found.needed:
                library = self._library(name, [*rpaths, *run], found, interpreter)
                if library is None:
                    raise NotFoundError(
                        f"cannot take {path}", f"its library {name} is not on this machine"
                    )
                todo.append((self.path(library[0]), library[1], rpaths))

    def _library(
        self, name: str, paths: list[str], wanted: elf.Elf, interpreter: str
    ) -> tuple[str, elf.Elf] | None:
        if "/" in name:
            candidates = [name]
        else:
            candidates = [f"{place}/{name}" for place in paths]
            if "musl" not in interpreter:
                candidates += self._cached(name)
            candidates += [f"{place}/{name}" for place in elf.default_paths(interpreter)]
        for candidate in candidates:
            try:
                with open(candidate, "rb", buffering=0) as file:
                    found = elf.read(file.fileno())
            except (OSError, elf.NotElf):
                continue
            if found.machine == wanted.machine:
                self._remember(candidate, paths, interpreter)
                return candidate, found
        return None

    def _cached(self, name: str) -> list[str]:
        if self._cache is None:
            self._cache = elf.cache()
        return self._cache.get(name, [])

    def _remember(self, candidate: str, paths: list[str], interpreter: str) -> None:
        """The image has no cache: a directory that only the cache knew is to be named otherwise."""
        place = os.path.dirname(candidate)
        known = [*paths, *elf.default_paths(interpreter), *self.library_paths]
        if place not in known:
            self.library_paths.append(place)

    def make(self, path: str, kind: str, mode: int, text: bytes | None = None) -> None:
        """Add a directory or file that is not from this machine; directories on its way are there."""
        head = path.rpartition("/")[0]
        while head:
            self.nodes.setdefault(head, Node("d", 0o755, 0))
            head = head.rpartition("/")[0]
        self.nodes[path] = Node(kind, mode, 0, text)


def find(name: str) -> str:
    """The path of a program: a fixed list of directories, whatever the caller's PATH is."""
    for place in PATH.split(":"):
        path = f"{place}/{name}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise NotFoundError(
        f"no program {name} on this machine", f"looked in {PATH}", "give its absolute path"
    )
