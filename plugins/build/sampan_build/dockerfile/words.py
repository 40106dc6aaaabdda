"""Words as BuildKit reads them: quotes, escapes and variables.

It is the shell's notation with limits of its own: no command substitution, no bracket patterns, and
an unset variable is the empty string.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan_build.dockerfile.arguments import ArgumentError
from sampan_build.dockerfile.pattern import PatternError, replace, trim_prefix, trim_suffix
from sampan_build.dockerfile.source import SPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SPECIAL = "@*#?-$!0"  # the shell's special parameters: names of one character
SPACES = frozenset(SPACE)
MAX_NESTING = 50  # of variables in words of variables
MISSING_BRACE = "syntax error: missing '}'"


class WordError(ArgumentError):
    """A word that cannot be read; its text says why."""


@dataclass(slots=True)
class Expansion:
    """What a text became: as one word, split into words, and which variables were looked up."""

    text: str = ""
    words: list[str] = field(default_factory=lambda: list[str]())
    matched: set[str] = field(default_factory=lambda: set[str]())
    unmatched: set[str] = field(default_factory=lambda: set[str]())


@dataclass(frozen=True, slots=True)
class Lexer:
    """How words are read.

    raw_quotes and raw_escapes leave those characters where they are, keep_quotes does not look at
    quotes at all (the bodies of heredocs), keep_unset leaves unset variables as they are written.
    """

    escape: str = "\\"
    raw_quotes: bool = False
    raw_escapes: bool = False
    keep_quotes: bool = False
    keep_unset: bool = False

    def expand(self, text: str, variables: Mapping[str, str]) -> Expansion:
        """text with its variables; WordError where it cannot be read."""
        reader = _Reader(self, text, variables)
        try:
            reader.result.text, reader.result.words = reader.until("", self.raw_escapes)
        except (WordError, PatternError) as error:
            raise WordError(f'failed to process "{text}": {error}', near=text) from None
        return reader.result


class Expander:
    """Expands words with the variables of one moment, and collects the names of those that are not set."""

    def __init__(self, escape: str, variables: Mapping[str, str]) -> None:
        self._lexer, self._variables = Lexer(escape), variables
        self.unmatched: set[str] = set()

    def word(self, text: str) -> str:
        """text as one word."""
        return self._expand(self._lexer, text).text

    def words(self, text: str) -> list[str]:
        """text split at the blanks that are not quoted."""
        return self._expand(self._lexer, text).words

    def body(self, text: str) -> str:
        """A heredoc's content: quotes stay, and \\ is the escape character whatever the file's is."""
        return self._expand(Lexer(keep_quotes=True), text).text

    def _expand(self, lexer: Lexer, text: str) -> Expansion:
        found = lexer.expand(text, self._variables)
        self.unmatched |= found.unmatched
        return found


class _Words:
    """Words that are split while they are made: what was quoted holds no separator."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._parts: list[str] = []

    def add(self, text: str) -> None:
        for char in text:
            if char not in SPACES:
                self._parts.append(char)
            elif self._parts:
                self.words.append("".join(self._parts))
                self._parts.clear()

    def add_raw(self, text: str) -> None:
        if text:
            self._parts.append(text)

    def end(self) -> list[str]:
        if self._parts:
            self.words.append("".join(self._parts))
        return self.words


class _Reader:
    def __init__(self, lexer: Lexer, text: str, variables: Mapping[str, str]) -> None:
        self.lexer, self.text, self.variables = lexer, text, variables
        self.at = 1 if text.startswith("\ufeff") else 0
        self.raw = lexer.raw_escapes
        self.depth = 0
        self.result = Expansion()

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def next(self) -> str:
        char = self.text[self.at : self.at + 1]
        self.at += 1 if char else 0
        return char

    def until(self, stop: str, raw: bool) -> tuple[str, list[str]]:
        """(one word, words) up to the character stop, which is consumed, or to the end."""
        if self.depth > MAX_NESTING:
            raise WordError("variables are nested too deeply")
        before, self.raw = self.raw, raw
        self.depth += 1
        try:
            return self._until(stop)
        finally:
            self.raw = before
            self.depth -= 1

    def _until(self, stop: str) -> tuple[str, list[str]]:
        parts: list[str] = []
        words = _Words()
        special = "$<" if self.lexer.keep_quotes else "$<'\""
        while char := self.peek():
            if char == stop:
                self.at += 1
                return "".join(parts), words.end()
            if char in special:
                text = self._special(char)
                (words.add if char == "$" else words.add_raw)(text)
                parts.append(text)
                continue
            self.at += 1
            if char != self.lexer.escape:
                words.add(char)
                parts.append(char)
                continue
            escaped = self.next()
            text = char + escaped if self.raw else escaped
            words.add_raw(text)
            parts.append(text)
        if stop:
            raise WordError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(parts), words.end()

    def _special(self, char: str) -> str:
        if char == "$":
            return self._dollar()
        if char == "<":
            return self._heredoc()
        return self._single() if char == "'" else self._double()

    def _single(self) -> str:
        """All up to the next single quote, as it is."""
        end = self.text.find("'", self.at + 1)
        if end < 0:
            raise WordError("unexpected end of statement while looking for matching single-quote")
        inner = self.text[self.at + 1 : end]
        self.at = end + 1
        return f"'{inner}'" if self.lexer.raw_quotes else inner

    def _double(self) -> str:
        """All up to the next double quote, with variables; the escape character goes before " $ and itself."""
        self.at += 1
        quote = '"' if self.lexer.raw_quotes else ""
        parts = [quote]
        while char := self.peek():
            if char == '"':
                self.at += 1
                return "".join([*parts, quote])
            if char == "$":
                parts.append(self._dollar())
                continue
            self.at += 1
            if char == self.lexer.escape:
                if self.raw:
                    parts.append(char)
                if not self.peek():
                    continue
                if self.peek() in ('"', "$", self.lexer.escape):
                    char = self.next()
            parts.append(char)
        raise WordError("unexpected end of statement while looking for matching double-quote")

    def _heredoc(self) -> str:
        """`<<` with the space after it, so that its word is not split off."""
        self.at += 1
        if self.peek() != "<":
            return "<"
        start = self.at - 1
        self.at += 1
        while self.peek() in ("\t", "\r", " "):
            self.at += 1
        return self.text[start : self.at]

    def _dollar(self) -> str:
        self.at += 1
        if self.peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._look_up(name)
            return f"${name}" if value is None and self.lexer.keep_unset else value or ""
        self.at += 1
        if not self.peek():
            raise WordError(MISSING_BRACE)
        if self.peek() in "{}:":
            raise WordError("syntax error: bad substitution")
        return self._braces(self._name())

    def _braces(self, name: str) -> str:
        sign = self.next()
        if sign == "}":
            value = self._look_up(name)
            return f"${{{name}}}" if value is None and self.lexer.keep_unset else value or ""
        if sign == "/":
            return self._replaced(name)
        colon = sign == ":"
        char = self.next() if colon else sign
        modifier = sign + char if colon else sign
        if not char or char not in ("+-?" if colon else "+-?#%"):
            raise WordError(f"unsupported modifier ({modifier}) in substitution")
        word = self._word("}", char in "#%")
        value = self._look_up(name)
        if value is None and self.lexer.keep_unset:
            return f"${{{name}{modifier}{word}}}"
        return _modified(name, value, char, colon, word)

    def _replaced(self, name: str) -> str:
        every = self.peek() == "/"
        self.at += every
        pattern = self._word("/", True)
        replacement = self._word("}", True)
        value = self._look_up(name)
        if value is None and self.lexer.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        return replace(pattern, value or "", replacement, every)

    def _word(self, stop: str, raw: bool) -> str:
        try:
            return self.until(stop, raw)[0]
        except WordError:
            if self.peek():
                raise
            raise WordError(
                MISSING_BRACE if stop == "}" else "syntax error: missing '/' in ${}"
            ) from None

    def _name(self) -> str:
        """A name of letters, digits and _; one that begins with a digit is a number; or a special parameter."""
        start = self.at
        first = self.peek()
        if first.isdecimal():
            while self.peek().isdecimal():
                self.at += 1
        elif first and first in SPECIAL:
            self.at += 1
        else:
            while (char := self.peek()) == "_" or char.isalpha() or char.isdecimal():
                self.at += 1
        return self.text[start : self.at]

    def _look_up(self, name: str) -> str | None:
        value = self.variables.get(name)
        (self.result.unmatched if value is None else self.result.matched).add(name)
        return value


def _modified(name: str, value: str | None, char: str, colon: bool, word: str) -> str:
    """`${name<modifier>word}` of a value, which is None where the variable is unset."""
    missing = value is None or (colon and not value)
    if char == "-":
        return word if missing else value or ""
    if char == "+":
        return "" if missing else word
    if char == "?":
        if missing:
            state = "unset" if value is None else "empty"
            raise WordError(f"{name}: {word or f'is not allowed to be {state}'}")
        return value or ""
    greedy = word.startswith(char)
    trim = trim_suffix if char == "%" else trim_prefix
    return trim(word[greedy:], value or "", greedy)
