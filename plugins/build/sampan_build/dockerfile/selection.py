"""What the sources of a COPY or an ADD match in a context, a stage or an image.

A source is cleaned as a path from the root and cannot leave it.  Links on its way and at its end are followed
inside the root; a wildcard stands for names of one directory.  Of a directory all that it holds is taken, but
for what .dockerignore and --exclude leave out, and with --parents what is not on the way.  Nothing is opened
but directories, and none of their links is followed.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import NamedTuple

from sampan.errors import NotFoundError, SampanError, UsageError
from sampan_build.dockerfile import globs
from sampan_build.dockerfile.ignore import NONE, Ignore, Pattern
from sampan_build.dockerfile.paths import clean
from sampan_build.dockerfile.tree import (
    DIRECTORY,
    FILE,
    LINK,
    NOTHING,
    Tree,
    decode,
    encode,
    join,
    open_directory,
)

DEEPEST = 500
KINDS = {
    stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: LINK, stat.S_IFIFO: "p", stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
}  # fmt: skip


class Item(NamedTuple):
    """A thing in a directory.  link: where it leads to.  on_way: a directory that is taken for what it holds alone."""

    name: str
    status: os.stat_result
    link: str = ""
    on_way: bool = False


class Batch(NamedTuple):
    """What is taken right in a directory, whose path is relative to the match."""

    path: str
    items: list[Item]


@dataclass(slots=True)
class Match:
    """What a source stands for: `name` is its last word, `path` where it is in the root `root`, without links.

    batches: of a directory what is taken, each directory before those that it holds.
    """

    root: int
    name: str
    path: str
    status: os.stat_result
    batches: list[Batch] = field(default_factory=list[Batch])
    parents: bool = False

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


class Filter(NamedTuple):
    """Patterns, and what comes before a path of the walk when they are asked about it."""

    patterns: Ignore
    before: str
    level: int


class Selector:
    """Finds sources in a root.  ignore: what a context leaves out; exclude: the words of --exclude."""

    def __init__(self, root: int, ignore: Ignore | None, exclude: Ignore | None) -> None:
        self._tree = Tree(root)
        self._ignore, self._exclude = ignore, exclude

    def select(self, word: str, *, parents: bool = False) -> list[Match]:
        """The matches of a source in order; none of a wildcard is no error, as with BuildKit."""
        start, pattern = _pivot(word) if parents else (word, "")
        include = _including(pattern) if parents else None
        is_pattern = globs.has_wildcards(start) or globs.has_wildcards(pattern)
        found: list[Match] = []
        exists = taken = False
        for path in self._paths(_rooted(start)):
            match = self._match(path, include, start)
            if match is None:
                continue
            exists = True
            taken = taken or not match.is_directory or _holds(match)
            if match.is_directory or self._exclude is None or not self._exclude.ignores(match.name):
                match.parents = parents
                found.append(match)
        if not is_pattern and not (taken if pattern else exists):
            raise self._missing(join(_rooted(start), pattern))
        return found

    def _paths(self, path: str) -> list[str]:
        """The paths that a source names, their last links not yet followed."""
        words = path.split("/") if path else []
        plain = next((at for at, word in enumerate(words) if globs.has_wildcards(word)), len(words))
        if plain == len(words):
            return [path]
        try:
            patterns = [re.compile(globs.name_regex(word), re.DOTALL) for word in words[plain:]]
        except globs.GlobError as error:
            raise UsageError(f"cannot read the source {path[:80]}", str(error)) from None
        found = [self._tree.resolve("/".join(words[:plain]))]
        for at, pattern in enumerate(patterns, 1):
            found = [
                join(directory, name)
                for directory in found
                for name, kind in sorted(self._tree.names(directory).items())
                if pattern.fullmatch(name) and (kind == DIRECTORY or at == len(patterns))
            ]
        return found

    def _match(self, path: str, include: Ignore | None, word: str) -> Match | None:
        """What is at a path; None if it is left out."""
        if self._passes_ignored_link(path):
            return None
        real = self._tree.resolve(path)
        kind = self._tree.kind(real)
        if kind == NOTHING:
            if globs.has_wildcards(word):
                raise NotFoundError(f'"/{path}" not found', "it is a link to nothing there")
            return None
        status = self._status(real)
        name = path.rpartition("/")[2]
        match = Match(self._tree.root, name, real, status)
        level, ignored = self._ignored(real)
        if kind != DIRECTORY:
            return None if ignored or include is not None else match
        filters: list[Filter] = []
        if self._ignore is not None and self._ignore.patterns:
            filters.append(Filter(self._ignore, real, level))
        filters += [Filter(one, "", NONE) for one in (self._exclude, include) if one is not None]
        _Walk(match, filters).run()
        return None if ignored and not _holds(match) else match

    def _status(self, path: str) -> os.stat_result:
        head, _, name = path.rpartition("/")
        fd = open_directory(self._tree.root, head)
        try:
            return os.stat(encode(name) or b".", dir_fd=fd, follow_symlinks=False)
        finally:
            os.close(fd)

    def _ignored(self, path: str) -> tuple[int, bool]:
        """(the number of the last pattern of the context that counts for a path, whether it leaves it out)."""
        level = NONE
        if self._ignore is None or not path:
            return level, False
        words = path.split("/")
        for depth in range(1, len(words) + 1):
            level = self._ignore.level("/".join(words[:depth]), level)
        return level, self._ignore.is_ignored(level)

    def _passes_ignored_link(self, path: str) -> bool:
        """Whether the path leads over a link that the context leaves out."""
        if self._ignore is None or not path:
            return False
        words = path.split("/")
        return any(
            self._tree.kind(here) == LINK and self._ignored(here)[1]
            for here in ("/".join(words[:depth]) for depth in range(1, len(words) + 1))
        )

    def _missing(self, path: str) -> NotFoundError:
        why = hint = ""
        if self._ignore is not None and self._tree.kind(self._tree.resolve(path)) != NOTHING:
            why, hint = "the context leaves it out", "see .dockerignore"
        return NotFoundError(f'"/{path}" not found', why, hint)


class _Walk:
    """Fills in what a match holds."""

    def __init__(self, match: Match, filters: list[Filter]) -> None:
        self._match, self._filters = match, filters

    def run(self) -> None:
        self._below("", tuple(one.level for one in self._filters), 0)

    def _below(self, path: str, levels: tuple[int, ...], depth: int) -> bool:
        """Whether anything below is taken."""
        if depth > DEEPEST:
            raise SampanError(
                f"cannot read /{path[:200]}", f"it is deeper than {DEEPEST} directories"
            )
        items: list[Item] = []
        later: list[tuple[Item, tuple[int, ...], bool]] = []
        fd = open_directory(self._match.root, join(self._match.path, path))
        try:
            with os.scandir(fd) as found:
                entries = sorted((entry.name, entry) for entry in found)
            for name, entry in entries:
                status = entry.stat(follow_symlinks=False)
                kind = KINDS.get(stat.S_IFMT(status.st_mode))
                if kind is None:
                    continue  # a socket has no place in an image
                taken, inside = True, levels
                if self._filters:
                    taken, enters, inside = self._choose(join(path, name), levels)
                    if not (taken or (enters and kind == DIRECTORY)):
                        continue
                link = decode(os.readlink(encode(name), dir_fd=fd)) if kind == LINK else ""
                item = Item(name, status, link)
                if taken:
                    items.append(item)
                if kind == DIRECTORY:
                    later.append((item, inside, taken))
        finally:
            os.close(fd)
        self._match.batches.append(Batch(path, items))
        for item, inside, taken in later:
            holds = self._below(join(path, item.name), inside, depth + 1)
            if holds and not taken:
                items.append(item._replace(on_way=True))
        return bool(items)

    def _choose(self, path: str, above: tuple[int, ...]) -> tuple[bool, bool, tuple[int, ...]]:
        """(it is taken, something below may be, the numbers of its patterns)."""
        taken = enters = True
        levels: list[int] = []
        for one, level in zip(self._filters, above, strict=True):
            asked = join(one.before, path)
            level = one.patterns.level(asked, level)
            levels.append(level)
            if one.patterns.is_ignored(level):
                taken = False
                enters = enters and one.patterns.may_return(asked, level)
        return taken, enters, tuple(levels)


def _holds(match: Match) -> bool:
    return any(batch.items for batch in match.batches)


def _rooted(word: str) -> str:
    """A source as a path from the root."""
    return clean(f"/{word}").strip("/")


def _pivot(word: str) -> tuple[str, str]:
    """(where --parents begins to count, the pattern from there)."""
    start, mark, pattern = word.partition("/./")
    return (start, _rooted(pattern)) if mark else ("", _rooted(word))


def _including(pattern: str) -> Ignore | None:
    """What leaves out all but the pattern and what is below it; None takes all."""
    if not pattern:
        return None
    try:
        globs.check(pattern)
    except globs.GlobError as error:
        raise UsageError(f"cannot read the source {pattern[:80]}", str(error)) from None
    return Ignore([Pattern("**"), Pattern(pattern, takes_back=True)])
