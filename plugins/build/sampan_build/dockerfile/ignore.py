"""Files of a context that are left out: .dockerignore, and --exclude of COPY and ADD.

A pattern matches a path, and with it all below; the last pattern that matches decides, and ! takes
back.  So a path needs one number: the place of the last pattern that matches it or a directory
above it.  Who walks a tree passes a directory's number on to what it holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sampan.errors import SampanError
from sampan_build.dockerfile import globs
from sampan_build.dockerfile.paths import clean
from sampan_build.dockerfile.source import SPACE, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAME = ".dockerignore"
NONE = -1  # no pattern matches
DEEP = 1 << 30  # the depth of a pattern that has no limit


class IgnoreError(SampanError):
    """A pattern that cannot be read."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A cleaned pattern without its !; takes_back tells that it had one."""

    text: str
    takes_back: bool = False


def names(dockerfile: str) -> tuple[str, str]:
    """The files that may hold the patterns, the first that exists counts: beside the Dockerfile, then the context's."""
    return f"{dockerfile}{NAME}", NAME


def read(data: bytes, name: str = NAME) -> Ignore:
    """The patterns of a file's bytes; IgnoreError with name and line."""
    found: list[Pattern] = []
    for number, line in enumerate(decode(data).split("\n"), 1):
        if line.startswith("#"):
            continue
        try:
            found += _pattern(line.strip(SPACE), rooted=True)
        except globs.GlobError as error:
            raise IgnoreError(
                f"{name}:{number}: {error}", "", f'see the pattern "{line.strip()[:80]}"'
            ) from None
    return Ignore(found)


def exclude(words: Iterable[str]) -> Ignore:
    """The patterns of --exclude, which are relative to what is copied; IgnoreError."""
    found: list[Pattern] = []
    for word in words:
        try:
            found += _pattern(word.strip(SPACE), rooted=False)
        except globs.GlobError as error:
            raise IgnoreError(f"--exclude={word[:80]}: {error}") from None
    return Ignore(found)


def _pattern(text: str, *, rooted: bool) -> list[Pattern]:
    """The pattern of a line, none of an empty one; rooted drops a leading /."""
    takes_back = text.startswith("!")
    body = text[1:].strip(SPACE) if takes_back else text
    if not text:
        return []
    if not body:
        raise globs.GlobError('illegal exclusion pattern: "!"')
    body = clean(body)
    if rooted and len(body) > 1:
        body = body.removeprefix("/")
    globs.check(body)
    return [Pattern(body, takes_back)]


class Ignore:
    """Patterns in their order, made ready to be asked about many paths."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self.patterns = tuple(patterns)
        self.takes_back = any(pattern.takes_back for pattern in patterns)
        self._exact: dict[str, int] = {}  # a whole path
        self._named: dict[str, int] = {}  # **/NAME: a path's last word
        self._inside: dict[str, int] = {}  # PATH/**: what is right below
        self._globs: list[tuple[int, re.Pattern[str]]] = []
        for index, pattern in enumerate(patterns):
            self._add(index, pattern.text)
        self._globs.reverse()
        self._any = (
            re.compile("|".join(glob.pattern for _, glob in self._globs), re.DOTALL)
            if self._globs
            else None
        )
        self._returns = [
            (index, *_extent(pattern.text))
            for index, pattern in enumerate(patterns)
            if pattern.takes_back
        ]

    def _add(self, index: int, text: str) -> None:
        head, tail = text[:-3], text[3:]
        if globs.is_plain(text):
            self._exact[text] = index
        elif text.startswith("**/") and globs.is_plain(tail) and "/" not in tail:
            self._named[tail] = index
        elif text.endswith("/**") and globs.is_plain(head):
            self._inside[head] = index
        else:
            self._globs.append((index, re.compile(globs.regex(text), re.DOTALL)))

    def level(self, path: str, above: int = NONE) -> int:
        """The number of path, which has no / at its ends; above is its directory's."""
        parent, _, name = path.rpartition("/")
        last = max(
            above,
            self._exact.get(path, NONE),
            self._named.get(name, NONE),
            self._inside.get(parent, NONE),
        )
        if self._any and self._any.fullmatch(path):
            for index, glob in self._globs:
                if index <= last:
                    break
                if glob.fullmatch(path):
                    return index
        return last

    def is_ignored(self, level: int) -> bool:
        """Whether a path of that number is left out."""
        return level >= 0 and not self.patterns[level].takes_back

    def ignores(self, path: str) -> bool:
        """Whether a path is left out; its directories are looked at too."""
        level = NONE
        words = clean(path).strip("/").split("/")
        for depth in range(1, len(words) + 1):
            level = self.level("/".join(words[:depth]), level)
        return words != ["."] and self.is_ignored(level)

    def may_return(self, path: str, level: int) -> bool:
        """Whether something below an ignored directory may be taken back; if not, nobody need look into it."""
        depth = path.count("/") + 1
        inside = f"{path}/"
        return any(
            index > level
            and depth < deepest
            and (inside.startswith(head) or head.startswith(inside))
            for index, head, deepest in self._returns
        )


def _extent(text: str) -> tuple[str, int]:
    """(the directories that a pattern names before its first wildcard, with a /; the depth of what it can match)."""
    words = text.split("/")
    head: list[str] = []
    for word in words[:-1]:
        if not globs.is_plain(word):
            break
        head.append(f"{word}/")
    return "".join(head), DEEP if globs.is_deep(text) else len(words)
