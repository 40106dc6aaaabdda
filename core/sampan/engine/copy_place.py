"""One end of a copy: a path of the host or of a container, and what is found there."""

from __future__ import annotations

import errno
import os
import stat

from sampan import jsontext
from sampan.engine import mounted, reached
from sampan.errors import NotFoundError, SampanError, from_os_error
from sampan.linux import paths, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.containers import Container

MAX_LINKS = 40  # as the kernel (path_resolution(7))
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class Found:
    """What is at a path.

    kind: directory, file, link, other (a device, a fifo, a socket) or missing.  path: without links at its end.
    name: what the copy is called, from the path as it was given.  parent, base: the directory of `path` and the name
    in it; parent is "" where there is no such directory.
    """

    __slots__ = ("base", "kind", "name", "parent", "path")

    def __init__(self, kind: str, path: str, name: str, parent: str, base: str) -> None:
        self.kind, self.path, self.name, self.parent, self.base = kind, path, name, parent, base


class Place:
    """A path of the host (container None) or of a container."""

    def __init__(self, engine: Engine, container: Container | None, path: str) -> None:
        self.engine, self.container, self.path = engine, container, path
        self.contents_only = path in (".", "/") or path.endswith("/.")
        self.wants_directory = path.endswith(("/", "/.")) or path == "."
        start = os.getcwd() if container is None else self._workdir()
        self._full = os.path.normpath(os.path.join(start, path))
        if self._full.startswith("//"):
            self._full = self._full[1:]

    def _workdir(self) -> str:
        """Where paths of the container begin that do not begin with / (podman's rule)."""
        assert self.container is not None
        return str(self.engine.containers.spec(self.container.id)["process"]["cwd"])

    def missing(self) -> NotFoundError:
        where = f"container {self.container.name}" if self.container else "the host"
        tail = ": no such file or directory" if self.container else ""
        return NotFoundError(f'"{self.path}" could not be found on {where}{tail}')

    def child(self, produce: Callable[[int, int], object]) -> mounted.Reading:
        """A child that has the place's root: `produce(root, out)`."""
        if self.container is not None:
            return reached.inside(self.engine, self.container, self._full, produce)

        def on_host(out: int) -> None:
            processes.die_with_parent()
            produce(os.open("/", _DIRECTORY | os.O_CLOEXEC), out)

        return mounted.Reading(on_host)

    def look(self, follow: bool) -> Found:
        """follow: a link at the end of the path means what it leads to."""

        def produce(root: int, out: int) -> None:
            os.write(out, jsontext.dumps(self._look(root, follow or self.wants_directory)).encode())

        with self.child(produce) as reading:
            answer = b""
            while data := reading.read():
                answer += data
        found: list[Any] = jsontext.loads(answer)
        return Found(*found)

    def _look(self, root: int, follow: bool) -> list[str]:
        path = self._full
        name = os.path.basename(path)
        if follow and self.container is None and os.path.exists(path):
            path = os.path.realpath(path)  # a link in /proc leads to what has no path
            if not os.path.exists(path):
                return ["other", path, name, "", ""]
        for _ in range(MAX_LINKS):
            head, base = os.path.split(path)
            try:
                parent = self._open(root, head, paths.O_PATH | os.O_DIRECTORY)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR):
                    return ["missing", path, name, "", base]
                raise from_os_error(f"cannot reach {self.path}", error) from None
            try:
                status = os.stat(base or ".", dir_fd=parent, follow_symlinks=False)
                if not (follow and stat.S_ISLNK(status.st_mode)):
                    kind = _kind(status.st_mode)
                    if kind != "directory" and self.wants_directory:
                        kind = "missing"
                    return [kind, path, name, head, base]
                path = os.path.normpath(os.path.join(head, os.readlink(base, dir_fd=parent)))
            except FileNotFoundError:
                return ["missing", path, name, head, base]
            finally:
                os.close(parent)
        raise SampanError(f"cannot reach {self.path}", "too many links lead on from it")

    def _open(self, root: int, path: str, flags: int) -> int:
        """The container's paths stay inside its root; the host's are the caller's own."""
        if self.container is None:
            return os.open(path, flags | os.O_CLOEXEC)
        return paths.open_in_root(root, path, flags)

    def open(self, root: int, found: Found, follow: bool) -> tuple[int, int, bytes]:
        """(directory to copy or -1, directory of the file, its name)."""
        try:
            if found.kind == "directory":
                return self._open(root, found.path, _DIRECTORY), -1, b""
            parent = self._open(root, found.parent, _DIRECTORY)
            return -1, parent, os.fsencode(found.base)
        except OSError as error:
            raise from_os_error(f"cannot read {self.path}", error) from None

    def skip(self, root: int) -> frozenset[int]:
        """File systems that are entered only when they are named."""
        return reached.kernel_devices(root) if self.container is not None else frozenset()


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISREG(mode):
        return "file"
    return "link" if stat.S_ISLNK(mode) else "other"


def split(word: str) -> tuple[str, str] | None:
    """(container, path) of CONTAINER:PATH; None for a path of the host (Docker's rule)."""
    if word.startswith(("/", ".")) or ":" not in word:
        return None
    name, _, path = word.partition(":")
    return name, path
