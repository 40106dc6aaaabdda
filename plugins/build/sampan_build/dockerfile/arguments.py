"""The arguments of an instruction's line as words: JSON and shell forms, pairs, flags."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from sampan_build.dockerfile.source import SPACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

BLANKS = re.compile(r"[\t\v\f\r ]+")
SPACES = frozenset(SPACE)
ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v",
           '"': '\\"', "\\": "\\\\"}  # fmt: skip
STRINGS_ONLY = "when using JSON array syntax, arrays must be comprised of strings only"


class ArgumentError(ValueError):
    """Arguments that cannot be read; near are the words that are wrong."""

    def __init__(self, what: str, hint: str = "", near: str = "") -> None:
        super().__init__(what)
        self.hint, self.near = hint, near


@dataclass(frozen=True, slots=True)
class Arguments:
    """An instruction's words, and whether they came as a JSON array."""

    words: list[str]
    is_json: bool = False


def read(name: str, rest: str, escape: str) -> Arguments:
    """The arguments of the instruction `name` (lower case), rest without blanks around it."""
    return READERS.get(name, _ignored)(rest, escape)


def quote(text: str) -> str:
    """A Go string literal of text, as %q prints it."""
    return f'"{"".join(_quoted(char) for char in text)}"' if not _plain(text) else f'"{text}"'


def _plain(text: str) -> bool:
    return text.isprintable() and '"' not in text and "\\" not in text


def _quoted(char: str) -> str:
    if char in ESCAPES:
        return ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def split_flags(line: str, escape: str) -> tuple[list[str], str]:
    """(the words that begin with --, the rest of the line); `--` alone ends them and is dropped."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(line) and line[at] in SPACES:
            at += 1
        if not line.startswith("--", at):
            return flags, line[at:]
        word, at = _flag(line, at, escape)
        if word == "--":
            return flags, line[at:]
        flags.append(word)


def _flag(line: str, at: int, escape: str) -> tuple[str, int]:
    """(the word at this place without its quotes and escape characters, where it ends)."""
    parts: list[str] = []
    mark = ""
    while at < len(line):
        char = line[at]
        if not mark and char in SPACES:
            break
        at += 1
        if char == mark:
            mark = ""
        elif not mark and char in "'\"":
            mark = char
        elif char == escape:
            parts.append(line[at : at + 1])
            at += 1
        else:
            parts.append(char)
    return "".join(parts), min(at, len(line))


def split_words(rest: str, escape: str) -> list[str]:
    """Words between blanks; quotes and escape characters keep blanks in a word and stay in it."""
    words: list[str] = []
    at = 0
    while True:
        while at < len(rest) and rest[at] in SPACES:
            at += 1
        if at >= len(rest):
            return words
        word, at = _word(rest, at, escape)
        if word:
            words.append(word)


def _word(rest: str, at: int, escape: str) -> tuple[str, int]:
    parts: list[str] = []
    mark = ""
    while at < len(rest):
        char = rest[at]
        if not mark and char in SPACES:
            break
        at += 1
        if char == escape and mark != "'":
            if at == len(rest):
                break  # an escape character at the end is dropped
            char += rest[at]
            at += 1
        elif char == mark:
            mark = ""
        elif not mark and char in "'\"":
            mark = char
        parts.append(char)
    return "".join(parts), at


def _ignored(rest: str, escape: str) -> Arguments:
    return Arguments([""])


def _one(rest: str, escape: str) -> Arguments:
    return Arguments([rest] if rest else [])


def _blank_separated(rest: str, escape: str) -> Arguments:
    return Arguments(BLANKS.split(rest) if rest else [])


def _words(rest: str, escape: str) -> Arguments:
    return Arguments(split_words(rest, escape))


def _pairs(name: str) -> Callable[[str, str], Arguments]:
    """The reader of `name=value ...` and of the old form `name value`."""

    def pairs(rest: str, escape: str) -> Arguments:
        words = split_words(rest, escape)
        if not words:
            return Arguments([])
        if "=" not in words[0]:
            parts = BLANKS.split(rest, maxsplit=1)
            if len(parts) < 2:
                raise ArgumentError(
                    f"{name} must have two arguments", f"write {name} {words[0]}=VALUE", words[0]
                )
            return Arguments([*parts, ""])
        found: list[str] = []
        for word in words:
            key, sign, value = word.partition("=")
            if not sign:
                raise ArgumentError(
                    f"Syntax error - can't find = in {quote(word)}. Must be of the form: name=value",
                    "quote a value that has blanks",
                    word,
                )
            found += key, value, "="
        return Arguments(found)

    return pairs


def _json(rest: str) -> Arguments | None:
    """A JSON array of strings; None where it is no JSON array, an error where it holds anything else."""
    rest = rest.lstrip(SPACE)
    if not rest.startswith("["):
        return None
    try:
        values: list[Any] = json.loads(rest, parse_constant=_no_constant, parse_int=len)
    except RecursionError:
        raise ArgumentError(STRINGS_ONLY, near="[") from None
    except ValueError:
        return None
    for value in values:
        if not isinstance(value, str):
            raise ArgumentError(STRINGS_ONLY, "quote each element", rest)
    return Arguments([_valid(value) for value in values], True)


def _no_constant(word: str) -> NoReturn:
    raise ValueError(word)


def _valid(text: str) -> str:
    """text with U+FFFD for what is no character: lone surrogates and bytes that are not UTF-8."""
    if text.isascii():
        return text
    return "".join("\ufffd" if 0xD800 <= ord(char) < 0xE000 else char for char in text)


def _command(rest: str, escape: str) -> Arguments:
    """A JSON array, or one string for the shell."""
    return (_json(rest) if rest else None) or _one(rest, escape)


def _list(rest: str, escape: str) -> Arguments:
    """A JSON array, or words between blanks."""
    return _json(rest) or _blank_separated(rest, escape)


def _health(rest: str, escape: str) -> Arguments:
    """HEALTHCHECK: a type, then a command."""
    at = next((at for at, char in enumerate(rest) if char in SPACES), len(rest))
    if not at:
        return Arguments([])
    command = _command(rest[at:].lstrip(SPACE), escape)
    return Arguments([rest[:at], *command.words], command.is_json)


READERS: dict[str, Callable[[str, str], Arguments]] = {
    "add": _list,
    "arg": _words,
    "cmd": _command,
    "copy": _list,
    "entrypoint": _command,
    "env": _pairs("ENV"),
    "expose": _blank_separated,
    "from": _blank_separated,
    "healthcheck": _health,
    "label": _pairs("LABEL"),
    "maintainer": _one,
    "run": _command,
    "shell": _command,
    "stopsignal": _one,
    "user": _one,
    "volume": _list,
    "workdir": _one,
}
