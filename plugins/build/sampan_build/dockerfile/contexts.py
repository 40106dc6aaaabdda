"""Where a build's files come from: PATH, URL or - of the command line, and the contexts that have names.

A context is a directory that is open, and what .dockerignore leaves out of it; nothing is ever written to one.
What comes as an archive or as a repository is put into a private directory first.  By the rules of docker
build, with podman's names beside Docker's: Containerfile, and .containerignore.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import NamedTuple

from sampan import files
from sampan.errors import LimitError, NotFoundError, UnsupportedError, UsageError, from_os_error
from sampan.linux import paths
from sampan_build.dockerfile import git, ignore, remote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sampan_build.dockerfile.ignore import Ignore

    Unpack = Callable[
        [int, int, str], None
    ]  # (the archive, an empty directory, how an error begins)

NAMES = "Dockerfile", "Containerfile", "dockerfile"
IGNORE_NAMES = ".containerignore", ".dockerignore"
STDIN = "-"
IMAGE, LAYOUT = "docker-image://", "oci-layout://"
LIMIT = 4 << 20  # of a Dockerfile
_HEAD = 1024  # bytes that show an archive: two blocks
_MAGIC = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_CLOEXEC


class Context(NamedTuple):
    """fd: an open directory, -1 if there is none; name: for messages."""

    fd: int
    ignore: Ignore
    name: str


@dataclass
class Contexts:
    """The main context, the Dockerfile's bytes and the name that messages give it, and the contexts with names."""

    main: Context
    dockerfile: bytes
    dockerfile_name: str
    _words: Mapping[str, str]
    _opener: _Opener
    _opened: dict[str, Context] = field(default_factory=dict[str, Context])

    def named(self, name: str) -> Context | str | None:
        """The context of --build-context NAME=VALUE, or the name of the image that it is; None: there is none."""
        word = self._words.get(name)
        if word is None:
            return None
        if word.startswith(IMAGE):
            return word.removeprefix(IMAGE)
        if word.startswith(LAYOUT):
            raise UnsupportedError(
                f"cannot take the build context {name} from {word}",
                "layouts on disk are not read",
                "load it with `sampan load`, and say docker-image://NAME",
            )
        if name not in self._opened:
            fd, _ = self._opener.directory(word, f"the build context {name}")
            self._opened[name] = Context(fd, _ignored(fd), name)
        return self._opened[name]


def open_all(
    word: str,
    *,
    dockerfile: str,
    stdin: int,
    contexts: Mapping[str, str],
    ignorefile: str,
    work: int,
    unpack: Unpack,
) -> Contexts:
    """Open the main context `word` and read the Dockerfile.

    dockerfile: the value of -f, "" without; stdin: a descriptor, or -1; ignorefile: that of --ignorefile;
    work: a private directory that lasts as long as the contexts; unpack: `BuildHost.unpack`.
    """
    if STDIN in (word, dockerfile) and stdin < 0:
        raise UsageError(
            "cannot read the build context or the Dockerfile", "there is no standard input"
        )
    if word == STDIN == dockerfile:
        raise UsageError("invalid argument: can't use stdin for both build context and dockerfile")
    opener = _Opener(work, unpack)
    if word == STDIN:
        head = _read(stdin, _HEAD)
        if not is_archive(head):
            if dockerfile:
                raise UsageError(
                    "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
                    "", "leave -f out, or give a directory",
                )  # fmt: skip
            main = Context(-1, ignore.Ignore(()), STDIN)
            return Contexts(main, head + _read(stdin, LIMIT), STDIN, contexts, opener)
        fd, is_local = opener.archive(stdin, head, "standard input"), False
    else:
        fd, is_local = opener.directory(word, "the build context", may_be_file=not dockerfile)
        if fd < 0:
            main = Context(-1, ignore.Ignore(()), word)
            return Contexts(main, opener.text, remote.shown(word), contexts, opener)
    found = _Dockerfile(fd, word, dockerfile, stdin, is_local=is_local, opener=opener)
    data, name = found.read()
    ignored = _ignored(fd, beside=found.beside, ignorefile=ignorefile)
    return Contexts(Context(fd, ignored, word), data, name, contexts, opener)


def is_archive(head: bytes) -> bool:
    """Whether the first bytes are those of a tar archive, plain or compressed."""
    if head.startswith(_MAGIC):
        return True
    return len(head) >= 512 and head[257:262] == b"ustar"


class _Opener:
    """Makes directories of words.  text: the Dockerfile that was behind a URL instead of an archive."""

    def __init__(self, work: int, unpack: Unpack) -> None:
        self._work, self._unpack = work, unpack
        self.text = b""

    def directory(self, word: str, what: str, *, may_be_file: bool = False) -> tuple[int, bool]:
        """(an open directory, whether it is the user's own); -1: a file behind a URL, which `text` has."""
        if os.path.isdir(word):
            return _opened(word, what), True
        found = remote.git_reference(word) or remote.github_context(word)
        if found is not None:
            root = git.clone(found, self._work)
            return self._inside(root, found.subdir, what), False
        if remote.is_url(word):
            return self._behind(word, may_be_file), False
        if os.path.lexists(word):
            raise UsageError(f"cannot open {what}", f"{word} is not a directory")
        raise NotFoundError(
            f"cannot open {what}", f"path {word} not found", "give a directory, a URL or -"
        )

    def archive(self, fd: int, head: bytes, name: str) -> int:
        """Unpack what a descriptor gives, whose first bytes were read."""
        spooled = files.nameless(self._work)
        try:
            files.write_all(spooled, head)
            while chunk := os.read(fd, 1 << 20):
                files.write_all(spooled, chunk)
            os.lseek(spooled, 0, os.SEEK_SET)
            return self._unpacked(spooled, name)
        finally:
            os.close(spooled)

    def download(self, word: str) -> bytes:
        """The text of a file behind a URL."""
        found = remote.download(word, self._work)
        try:
            return files.read(found.directory, found.name, LIMIT)
        finally:
            os.close(found.directory)

    def _behind(self, word: str, may_be_file: bool) -> int:
        found = remote.download(word, self._work)
        fd = os.open(found.name, _FILE, dir_fd=found.directory)
        os.close(found.directory)
        try:
            head = os.pread(fd, _HEAD, 0)
            if is_archive(head):
                return self._unpacked(fd, remote.shown(word))
            if not may_be_file:
                raise UsageError(
                    f"cannot open the build context {remote.shown(word)}", "it is no tar archive"
                )
            self.text = files.read_fd(fd, remote.shown(word), LIMIT)
            return -1
        finally:
            os.close(fd)

    def _unpacked(self, archive: int, name: str) -> int:
        fd = files.open_directory(files.temporary_name(), dir_fd=self._work, create=True)
        self._unpack(archive, fd, f"cannot unpack the build context {name}")
        return fd

    def _inside(self, root: int, subdir: str, what: str) -> int:
        try:
            return paths.open_in_root(root, subdir or "/", _DIRECTORY)
        except OSError as error:
            raise from_os_error(f"cannot open {what}: {subdir} of the repository", error) from None
        finally:
            os.close(root)


class _Dockerfile:
    """Finds and reads the Dockerfile.  beside: the path of the file itself, beside which its own patterns may be."""

    def __init__(
        self, fd: int, word: str, dockerfile: str, stdin: int, *, is_local: bool, opener: _Opener
    ) -> None:
        self._fd, self._word, self._name, self._stdin = fd, word, dockerfile, stdin
        self._is_local, self._opener = is_local, opener
        self.beside: tuple[int | None, str] | None = (
            None  # (a root, or None: the user's own paths; the path)
        )

    def read(self) -> tuple[bytes, str]:
        """(its bytes, its name for messages)."""
        if self._name == STDIN:
            return _read(self._stdin, LIMIT), STDIN
        if remote.is_url(self._name):
            return self._opener.download(self._name), remote.shown(self._name)
        for root, path in self._places():
            try:
                data = _file(root, path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise from_os_error(f"cannot read the Dockerfile {path}", error) from None
            self.beside = root, path
            return data, path if self._name or self._word in (".", STDIN) else os.path.join(
                self._word, path
            )
        looked = ", ".join(dict.fromkeys(path for _, path in self._places()))
        place = "" if self._name else f" in {self._word}"
        raise NotFoundError(
            "cannot read the Dockerfile",
            f"{looked}{place}: no such file or directory",
            "name it with -f",
        )

    def _places(self) -> list[tuple[int | None, str]]:
        """Where it may be: of -f the user's own path first if the context is the user's, then in the context."""
        if not self._name:
            return [(self._fd, name) for name in NAMES]
        if os.path.isabs(self._name):
            return [(None, self._name)]
        own: list[tuple[int | None, str]] = [(None, self._name)] if self._is_local else []
        return [*own, (self._fd, self._name)]


def _file(root: int | None, path: str) -> bytes:
    """A file of the user's, a pipe perhaps, or one inside a context, whose links cannot leave it."""
    if root is not None:
        fd = paths.open_in_root(root, path, _FILE | os.O_NONBLOCK)
        try:
            return files.read_fd(fd, path, LIMIT)
        finally:
            os.close(fd)
    fd = os.open(path, _FILE)
    try:
        data = _read(fd, LIMIT + 1)
    finally:
        os.close(fd)
    if len(data) > LIMIT:
        raise LimitError(f"cannot read {path}", f"more than {LIMIT} bytes")
    return data


def _ignored(fd: int, beside: tuple[int | None, str] | None = None, ignorefile: str = "") -> Ignore:
    """The patterns of a context: those of --ignorefile, else those beside the Dockerfile, else its own."""
    places: list[tuple[int | None, str]] = [(fd, name) for name in IGNORE_NAMES]
    if beside is not None:
        places = [(beside[0], f"{beside[1]}{name}") for name in reversed(IGNORE_NAMES)] + places
    if ignorefile:
        places = [(None, ignorefile)]
    for root, path in places:
        try:
            return ignore.read(_file(root, path), path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if ignorefile:
                raise from_os_error(f"cannot read {ignorefile}", error) from None
        except OSError as error:
            raise from_os_error(f"cannot read {path}", error) from None
    return ignore.Ignore(())


def _opened(path: str, what: str) -> int:
    try:
        return os.open(path, _DIRECTORY)
    except OSError as error:
        raise from_os_error(f"cannot open {what}", error) from None


def _read(fd: int, limit: int) -> bytes:
    """At most so many bytes of a descriptor, fewer at its end."""
    data = b""
    while len(data) < limit and (chunk := os.read(fd, limit - len(data))):
        data += chunk
    return data
