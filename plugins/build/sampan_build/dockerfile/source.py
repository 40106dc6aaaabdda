"""The text that is read, and errors that point into it."""

from __future__ import annotations

from dataclasses import dataclass

from sampan.errors import SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

SHOWN = 160  # characters of a line
LONGEST = 400  # characters of what is said: a word may be as long as a line
MOST_KNOWN = 200  # words that a misspelt one is compared with
# What Go calls a space (unicode.IsSpace); Python's str.isspace knows four more.
SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


class DockerfileError(SampanError):
    """A Dockerfile says what cannot be understood or done.

    Its one line begins with `FILE:LINE`; `report()` adds the line's text and a caret below the place.
    line and column count from 1.
    """

    def __init__(
        self,
        source: Source,
        line: int,
        what: str,
        why: str = "",
        hint: str = "",
        near: str = "",
        end: int = 0,
    ) -> None:
        """near: the words that are wrong, looked for in the lines from line to end."""
        self.file = source.name
        self.line, self.column, self.width = source.locate(line, max(end, line), near)
        self.text = source.line(self.line)
        super().__init__(f"{self.file}:{self.line}: {_brief(what)}", _brief(why), _brief(hint))

    def report(self) -> str:
        """The one line, then the text and the caret."""
        first = max(0, self.column - SHOWN // 2) if len(self.text) > SHOWN else 0
        number = f"{self.line:>4} | "
        shown = "".join(
            char if char.isprintable() else " " for char in self.text[first : first + SHOWN]
        )
        caret = "^" * min(self.width, max(1, len(shown) - (self.column - 1 - first)))
        return f"{self}\n{number}{shown}\n     | {' ' * (self.column - 1 - first)}{caret}"


@dataclass(frozen=True, slots=True)
class Source:
    """A file's name, as it is shown, and its lines without their ends."""

    name: str
    lines: tuple[str, ...]

    def line(self, number: int) -> str:
        """Line number, counted from 1; empty beyond the end."""
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def locate(self, start: int, end: int, near: str) -> tuple[int, int, int]:
        """(line, column, width) of near in the lines start..end, else of the first line's text."""
        for number in range(start, min(end, len(self.lines)) + 1):
            column = self.line(number).find(near) if near else -1
            if column >= 0:
                return number, column + 1, max(len(near), 1)
        text = self.line(start)
        body = text.strip(SPACE)
        column = len(text) - len(text.lstrip(SPACE)) if body else 0
        return start, column + 1, max(len(body), 1)


def source(name: str, text: str) -> Source:
    """The source of a text of any line ends."""
    return Source(name, tuple(row.rstrip("\r") for row in text.split("\n")))


def decode(data: bytes) -> str:
    """The text of a file: UTF-8 without a byte order mark; other bytes are kept as surrogates."""
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """The bytes of a text that `decode` gave."""
    return text.encode("utf-8", "surrogateescape")


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean X?`, or which words there are."""
    names = sorted(known)
    folded = {name.lower(): name for name in names}
    found = closest(word.lower(), folded)
    return f"did you mean {folded[found]}?" if found else f"known are {', '.join(names)}"


def closest(word: str, known: Iterable[str]) -> str:
    """The known word that is fewer than three changes, and less than a whole word, away from this one; or ""."""
    known = tuple(known)
    if len(known) > MOST_KNOWN:
        return ""
    limit = min(3, len(word))
    near = sorted(
        (_distance(word, name), name) for name in known if abs(len(name) - len(word)) < limit
    )
    return near[0][1] if near and 0 < near[0][0] < limit else ""


def _distance(one: str, other: str) -> int:
    """Levenshtein's: how many characters must be put in, taken out or changed."""
    row = list(range(len(other) + 1))
    for at, char in enumerate(one, 1):
        above, row = row, [at]
        for column, found in enumerate(other, 1):
            row.append(min(row[-1] + 1, above[column] + 1, above[column - 1] + (char != found)))
    return row[-1]


def _brief(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
