"""COPY and ADD: what stands for all that they take, and the entries that they write.

`gather` runs as the user: it resolves the sources of a context, fetches what is remote and digests it all,
which is the step's identity in the cache.  Only where no layer of that identity is there, `write` runs in a
child that has the layers below mounted, and computes what BuildKit's copy would have done in them.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from dataclasses import dataclass

from sampan.errors import NotFoundError, SampanError, UsageError, from_os_error
from sampan_build.dockerfile import git as git_program
from sampan_build.dockerfile import ignore, modes, owners, remote, unpacking
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.content import add_match
from sampan_build.dockerfile.layout import Layout, Made, Taken, Text
from sampan_build.dockerfile.paths import clean
from sampan_build.dockerfile.selection import KINDS, Item, Match, Selector
from sampan_build.dockerfile.tree import DIRECTORY, FILE, NOTHING, Tree, decode, encode, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sampan.drivers.build import Digests, LayerTar
    from sampan_build.dockerfile.contexts import Context

HEREDOC_MODE = 0o644


@dataclass(slots=True)
class Part:
    """A match of a source.  unpack: an archive is extracted; commit: what stands for all of a git repository."""

    match: Match
    unpack: bool = False
    commit: str = ""


@dataclass(slots=True)
class Gathered:
    """identity: 64 hexadecimal digits; parts: None where they are in another stage, which only the child sees."""

    identity: str
    parts: list[Part] | None


def gather(
    row: v.Copy | v.Add,
    source: Context | None,
    work_fd: int,
    digests: Digests,
    say: Callable[[str], object],
) -> Gathered:
    """All that a step takes; source: None for --from a stage or an image.

    work_fd: a directory that lasts until the step is done, for what is downloaded.
    """
    total = hashlib.sha256(_options(row))
    if source is None:
        total.update(json.dumps(row.sources).encode())
        return Gathered(total.hexdigest(), None)
    parts: list[Part] = []
    for word in row.sources:
        try:
            found = _fetched(row, word, work_fd, say) or _local(row, word, source)
        except OSError as error:
            raise from_os_error(f"cannot read {word} of the build context", error) from None
        if not found:
            say(f"{word} matches nothing")
        parts += found
    for part in parts:
        total.update(b"unpacked\n" if part.unpack else b"copied\n")
        if part.commit:
            total.update(f"git {part.commit} {part.match.path}\n".encode())
        else:
            add_match(total, part.match, digests, metadata=False)
    return Gathered(total.hexdigest(), parts)


def identity_in(row: v.Copy | v.Add, root_fd: int, digests: Digests) -> bytes:
    """What stands for all that a step takes from another stage or an image, whose root this is (32 bytes)."""
    total = hashlib.sha256()
    for part in _elsewhere(row, root_fd):
        add_match(total, part.match, digests, metadata=True, owners=not row.chown)
    return total.digest()


def write(
    gathered: Gathered,
    row: v.Copy | v.Add,
    workdir: str,
    roots: Sequence[int],
    tar: LayerTar,
) -> None:
    """Write the entries of the step.  roots: the layers below (-1: none, for --link), and the stage of --from."""
    is_foreign = gathered.parts is None
    parts = _elsewhere(row, roots[1]) if gathered.parts is None else gathered.parts
    try:
        writer = _Writer(row, workdir, roots[0], tar, is_foreign=is_foreign)
        for part in parts:
            writer.part(part)
        for doc in row.contents:
            writer.text(doc.name, doc.text())
        writer.layout.write()
    except OSError as error:
        raise from_os_error(f"cannot copy to {row.destination or '.'}", error) from None


def make_directory(path: str, root: int, tar: LayerTar, user: str = "") -> None:
    """Entries that make the directory of a WORKDIR where it is missing, for the user of USER; none if it is there."""
    tree = Tree(root)
    real = tree.resolve(path)
    kind = tree.kind(real)
    if kind == NOTHING:
        layout = Layout(tree, tar)
        layout.directory(real, Made(owners.resolve(user, root)))
        layout.write()
    elif kind != DIRECTORY:
        raise SampanError(f"cannot make directory {path}", "a file is there", "choose another path")


class _Writer:
    """Puts one part after the other into a layout, by BuildKit's rules (tonistiigi/fsutil, copy.go)."""

    def __init__(
        self, row: v.Copy | v.Add, workdir: str, root: int, tar: LayerTar, *, is_foreign: bool
    ) -> None:
        self._row, self._is_foreign = row, is_foreign
        chown = owners.resolve(row.chown, root) if row.chown else None
        self._owner = chown if chown is not None or is_foreign else (0, 0)
        self._octal = modes.octal(row.chmod)
        mode = 0o755 if self._octal is None else self._octal & 0o777
        self._made = Made(chown or (0, 0), mode)
        self._target, self._wants_directory = _destination(row.destination, workdir)
        self.layout = Layout(Tree(root), tar)

    def part(self, part: Part) -> None:
        match = part.match
        if part.unpack and stat.S_ISREG(match.status.st_mode) and self._unpacked(match):
            return
        if match.is_directory:
            self._directory(match)
            return
        path = self._place(match.name)
        head, _, name = match.path.rpartition("/")
        item = Item(name, match.status)
        self._take(path, match.root, head, item)

    def text(self, name: str, text: str) -> None:
        """A heredoc as a file."""
        mode = self._mode(HEREDOC_MODE, is_directory=False)
        entry = Text(encode(text), self._owner or (0, 0), HEREDOC_MODE if mode is None else mode)
        self.layout.taken(self._place(name), FILE, entry)

    def _place(self, name: str) -> str:
        """Where a file of that name goes; its directory is seen to."""
        tree = self.layout.tree
        path = tree.resolve(self._target)
        if self._wants_directory:
            self.layout.directory(path, self._made)
        if tree.kind(path) == DIRECTORY:
            path = join(path, name)
        self.layout.directory(path.rpartition("/")[0], self._made)
        return path

    def _directory(self, match: Match) -> None:
        """What a directory holds, not itself: one that is there already stays as it is."""
        tree = self.layout.tree
        top = tree.resolve(self._target)
        if tree.kind(top) not in (DIRECTORY, NOTHING):
            raise SampanError(f"cannot copy to non-directory: /{top}", "a file is there")
        self.layout.directory(top.rpartition("/")[0], self._made)
        self.layout.directory(top, self._made._replace(mtime_ns=match.status.st_mtime_ns))
        for batch in match.batches:
            source, target = join(match.path, batch.path), join(top, batch.path)
            for item in batch.items:
                path = join(target, item.name)
                if item.on_way and tree.kind(path) == DIRECTORY:
                    self.layout.directory(path, self._made)
                else:
                    self._take(path, match.root, source, item)
            if self._is_foreign:
                for name in self.layout.tar.absent(encode(source)):
                    self._take_absent(join(target, decode(name)), match.root, source, decode(name))

    def _take(self, path: str, root: int, directory: str, item: Item) -> None:
        kind = KINDS.get(stat.S_IFMT(item.status.st_mode))
        if kind is None:
            return  # a socket has no place in an image
        mode = self._mode(item.status.st_mode, is_directory=kind == DIRECTORY)
        entry = Taken(root, directory, item.name, item.status, self._owner, mode, self._is_foreign)
        self.layout.taken(path, kind, entry, item.link)

    def _take_absent(self, path: str, root: int, directory: str, name: str) -> None:
        """A device, of which the store knows alone."""
        entry = Taken(root, directory, name, None, self._owner, self._octal, True)
        self.layout.taken(path, FILE, entry)

    def _mode(self, mode: int, *, is_directory: bool) -> int | None:
        """What --chmod makes of a mode; None leaves it."""
        if self._octal is not None or not self._row.chmod:
            return self._octal
        return modes.changed(self._row.chmod, stat.S_IMODE(mode), is_directory)

    def _unpacked(self, match: Match) -> bool:
        """Whether the file is an archive; then it was extracted."""
        tree = self.layout.tree
        head, _, name = match.path.rpartition("/")
        with unpacking.opened(match.root, head, name) as fd:
            archive = self.layout.tar.archive(fd)
            if archive is None:
                return False
            top = tree.resolve(self._target)
            self.layout.directory(top, Made(self._made.owner))
            owner = self._owner if self._row.chown else None
            unpacking.extract(archive, self.layout, top, owner)
        return True


def _local(row: v.Copy | v.Add, word: str, source: Context) -> list[Part]:
    if isinstance(row, v.Add) and row.checksum:
        raise UsageError("checksum requires HTTP(S) or Git sources", f"{word} is neither")
    if source.fd < 0:
        raise NotFoundError(
            f'"{clean(f"/{word}")}" not found',
            "there is no build context",
            "give a directory, not a Dockerfile alone",
        )
    selector = Selector(source.fd, source.ignore, _excluded(row))
    unpack = isinstance(row, v.Add) and row.unpack is not False
    return [Part(match, unpack) for match in selector.select(word, parents=_has_parents(row))]


def _fetched(
    row: v.Copy | v.Add, word: str, work_fd: int, say: Callable[[str], object]
) -> list[Part]:
    """What a remote source has; none if it is not remote."""
    git = remote.git_reference(word)
    if git is None and not remote.is_url(word):
        return []
    if not isinstance(row, v.Add):
        what = "a URL" if git is None else "a git ref"
        raise UsageError(f"source can't be {what} for COPY", word, "use ADD")
    say(f"fetching {remote.shown(word)}")
    if git is None:
        root, name = remote.download(word, work_fd, row.checksum)
        match = Match(root, name, name, os.stat(encode(name), dir_fd=root))
        return [Part(match, bool(row.unpack))]
    root, commit = git_program.clone(git.with_options(row.checksum, row.keep_git_dir), work_fd)
    found = Selector(root, None, _excluded(row)).select(git.subdir or "/")
    return [Part(match, commit=commit) for match in found]


def _elsewhere(row: v.Copy | v.Add, root: int) -> list[Part]:
    selector = Selector(root, None, _excluded(row))
    try:
        return [
            Part(match)
            for word in row.sources
            for match in selector.select(word, parents=_has_parents(row))
        ]
    except OSError as error:
        raise from_os_error("cannot read what COPY takes from another stage", error) from None


def _excluded(row: v.Copy | v.Add) -> ignore.Ignore | None:
    return ignore.exclude(row.exclude) if row.exclude else None


def _has_parents(row: v.Copy | v.Add) -> bool:
    return isinstance(row, v.Copy) and row.parents


def _options(row: v.Copy | v.Add) -> bytes:
    """The words of an instruction that change what it writes."""
    words: list[object] = [row.destination, row.chown, row.chmod, row.link, list(row.exclude)]
    words += [_has_parents(row), [[doc.name, doc.text()] for doc in row.contents]]
    if isinstance(row, v.Add):
        words += [row.keep_git_dir]
    return json.dumps(words).encode() + b"\n"


def _destination(text: str, workdir: str) -> tuple[str, bool]:
    """(the path below the root, whether it says that it is a directory)."""
    path = text if text.startswith("/") else f"{workdir}/{text or '.'}"
    return clean(f"/{path}").strip("/"), path.endswith(("/", "/."))
