"""The grammar of a format template: text and actions, and an action's pipeline as a tree of
tuples.
"""

from __future__ import annotations

from sampan.cli import functions
from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    Node = tuple[Any, ...]

_SPACE = " \t\r\n"
_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b"}


def bad_format(template: str, why: str) -> UsageError:
    return UsageError(f'bad format "{template[:120]}"', why)


def pieces(text: str, columns: bool = False) -> Iterator[tuple[bool, str]]:
    """(is it an action, text) in turn; {{- and -}} are applied, backslash-t and -n are read.

    columns: spaces in the text separate columns, as podman has it in `table` formats.
    """
    at, trim = 0, False
    while True:
        begin = text.find("{{", at)
        plain = text[at:] if begin < 0 else text[at:begin]
        plain = plain.replace("\\t", "\t").replace("\\n", "\n")
        if columns:
            plain = _tabbed(plain)
        if trim:
            plain = plain.lstrip(_SPACE)
        if begin < 0:
            if plain:
                yield False, plain
            return
        end = _action_end(text, begin + 2)
        if end < 0:
            raise bad_format(text, "a }} is missing")
        action, at = text[begin + 2 : end], end + 2
        if action[:1] == "-" and action[1:2] in _SPACE:
            plain, action = plain.rstrip(_SPACE), action[1:]
        trim = action[-1:] == "-" and action[-2:-1] in _SPACE and len(action) > 1
        if plain:
            yield False, plain
        yield True, (action[:-1] if trim else action).strip()


def _tabbed(text: str) -> str:
    """Each run of spaces as one tab."""
    out = ""
    for character in text:
        if character != " ":
            out += character
        elif not out.endswith("\t"):
            out += "\t"
    return out


def _action_end(text: str, at: int) -> int:
    """Where the action's }} is, outside of quotes."""
    quote = ""
    while at < len(text):
        character = text[at]
        if quote:
            if character == "\\" and quote == '"':
                at += 1
            elif character == quote:
                quote = ""
        elif character in "\"`'":
            quote = character
        elif text.startswith("}}", at):
            return at
        at += 1
    return -1


class Parser:
    """One action's words to a pipeline: ("pipe", declared names, commands)."""

    def __init__(self, whole: str, text: str) -> None:
        self.whole, self.text, self.at = whole, text, 0

    def pipeline_only(self) -> Node:
        pipeline = self.pipeline()
        if self._peek():
            raise bad_format(self.whole, f'unexpected "{self.text[self.at :][:40]}"')
        return pipeline

    def pipeline(self) -> Node:
        names, assigns = self._declaration()
        commands = [self._command()]
        while self._peek() == "|":
            self.at += 1
            commands.append(self._command())
        return ("pipe", names, assigns, commands)

    def _declaration(self) -> tuple[list[str], bool]:
        """`$x :=`, `$x =`, `$i, $x :=` at the beginning."""
        begin, names = self.at, list[str]()
        while self._peek() == "$":
            self.at += 1
            names.append("$" + self._word(optional=True))
            following = self._peek()
            if following == ",":
                self.at += 1
                continue
            for sign in (":=", "="):
                if self.text.startswith(sign, self.at):
                    self.at += len(sign)
                    return names, sign == "="
            break
        self.at = begin
        return [], False

    def _command(self) -> list[Node]:
        operands: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            operands.append(self._operand())
        if not operands:
            raise bad_format(self.whole, "a value is missing")
        return operands

    def _operand(self) -> Node:
        node = self._primary(self._peek())
        while self.at < len(self.text) and self.text[self.at] == "." and node[0] != "dot":
            self.at += 1
            node = ("field", node, self._word())
        return node

    def _primary(self, character: str) -> Node:
        if character == ".":
            self.at += 1
            if self.at < len(self.text) and self.text[self.at] in _WORD:
                return ("field", ("dot",), self._word())
            return ("dot",)
        if character == "$":
            self.at += 1
            return ("variable", "$" + self._word(optional=True))
        if character == "(":
            self.at += 1
            pipeline = self.pipeline()
            if self._peek() != ")":
                raise bad_format(self.whole, "a ) is missing")
            self.at += 1
            return pipeline
        if character in "\"`'":
            return ("value", self._quoted(character))
        if character.isdigit() or character in "+-":
            return ("value", self._number())
        return self._name()

    def _name(self) -> Node:
        word = self._word()
        if word in ("true", "false", "nil"):
            return ("value", {"true": True, "false": False, "nil": None}[word])
        if word not in functions.TABLE and word not in ("and", "or"):
            raise bad_format(self.whole, f'function "{word}" is not known')
        return ("function", word)

    def _peek(self) -> str:
        while self.at < len(self.text) and self.text[self.at] in _SPACE:
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _word(self, optional: bool = False) -> str:
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] in _WORD:
            self.at += 1
        if begin == self.at and not optional:
            raise bad_format(self.whole, f'a name is missing before "{self.text[begin:][:40]}"')
        return self.text[begin : self.at]

    def _number(self) -> int | float:
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] not in " \t\r\n|)":
            self.at += 1
        text = self.text[begin : self.at]
        for read in (lambda: int(text, 0), lambda: float(text)):
            try:
                return read()
            except ValueError:
                continue
        raise bad_format(self.whole, f'bad number "{text[:40]}"')

    def _quoted(self, quote: str) -> str | int:
        begin, out = self.at, list[str]()
        self.at += 1
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character == quote:
                text = "".join(out)
                return ord(text) if quote == "'" and len(text) == 1 else text
            if character == "\\" and quote != "`":
                character = _ESCAPES.get(self.text[self.at : self.at + 1], "\\")
                self.at += 1
            out.append(character)
        raise bad_format(self.whole, f'a quote is not closed: "{self.text[begin:][:40]}"')
