"""A Dockerfile's text as nodes, as BuildKit's parser makes them.

Nothing is judged here but what cannot be read: an unknown instruction is a node as any other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sampan_build.dockerfile import arguments, source
from sampan_build.dockerfile.source import SPACE, DockerfileError, Source
from sampan_build.dockerfile.words import Lexer, WordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan_build.dockerfile.arguments import Arguments

MAX_LINE = 65535  # bytes, without the line's end
BLANKS = re.compile(r"[\t\v\f\r ]+")
DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)[\t\f\r ]*=(?=.)")
DIRECTIVES = "syntax", "escape", "check"
HEREDOC = re.compile(r"([0-9]*)<<(-?)[\t\n\f\r ]*([^<]*)\Z")
WITH_HEREDOCS = "add", "copy", "run"
MAX_NESTING = 16  # of ONBUILD, of which one is allowed


@dataclass(frozen=True, slots=True)
class Heredoc:
    """`<<NAME` and what stands up to NAME; content has its lines' ends, and its tabs with `<<-` too."""

    name: str
    expand: bool
    chomp: bool
    descriptor: int = 0
    content: str = ""

    def text(self) -> str:
        """The content, without leading tabs where `<<-` says so."""
        return re.sub(r"^\t+", "", self.content, flags=re.MULTILINE) if self.chomp else self.content


@dataclass(slots=True)
class Node:
    """An instruction: its name and words, its flags, and where it stands (lines count from 1).

    ENV and LABEL have three words a pair: name, value, and "=" or "".  ONBUILD has a child instead of words.
    original is the line with its continuations put together; is_json tells the exec form.
    """

    name: str
    words: list[str]
    flags: list[str]
    original: str
    is_json: bool = False
    child: Node | None = None
    heredocs: list[Heredoc] = field(default_factory=lambda: list[Heredoc]())
    comments: list[str] = field(default_factory=lambda: list[str]())
    start: int = 0
    end: int = 0

    def dump(self) -> str:
        """The node as BuildKit prints it, without the parentheses around it."""
        parts = [self.name.lower()]
        if self.flags:
            parts.append(f"[{' '.join(map(arguments.quote, self.flags))}]")
        if self.child:
            parts.append(f"({self.child.dump()})")
        return " ".join([*parts, *map(arguments.quote, self.words)]).strip(SPACE)


@dataclass(slots=True)
class Document:
    """A whole Dockerfile.  empty_continuations are the lines of instructions that have empty lines in them."""

    source: Source
    nodes: list[Node]
    escape: str
    directives: dict[str, tuple[str, int]]  # name -> (value, line)
    empty_continuations: list[tuple[int, str]]

    def dump(self) -> str:
        """The tree as BuildKit's parser prints it."""
        return "\n".join(f"({node.dump()})" for node in self.nodes)


def parse(data: bytes, name: str = "Dockerfile") -> Document:
    """The nodes of a file's bytes; DockerfileError with name, line and text where it cannot be read."""
    return _Parser(source.decode(data), name).document()


class _Parser:
    def __init__(self, text: str, name: str) -> None:
        self.source = source.source(name, text)
        self.rows = _rows(text)
        self.at = 0  # lines that are read
        self.escape = "\\"
        self.directives: dict[str, tuple[str, int]] = {}
        self.in_directives = True
        self.empty: list[tuple[int, str]] = []

    def document(self) -> Document:
        self._limit()
        nodes = list(self._nodes())
        if not nodes:
            raise self._error(
                1, "the file has no instructions", "", "a Dockerfile begins with FROM"
            )
        return Document(self.source, nodes, self.escape, self.directives, self.empty)

    def _error(
        self, start: int, what: str, why: str = "", hint: str = "", near: str = ""
    ) -> DockerfileError:
        return DockerfileError(self.source, start, what, why, hint, near, self.at)

    def _limit(self) -> None:
        for number, row in enumerate(self.rows, 1):
            if len(row) > MAX_LINE // 4 and len(source.encode(row.removesuffix("\n"))) > MAX_LINE:
                raise self._error(
                    number, f"dockerfile line greater than max allowed size of {MAX_LINE}"
                )

    def _nodes(self) -> Iterator[Node]:
        comments: list[str] = []
        while self.at < len(self.rows):
            row = self.rows[self.at].rstrip("\r\n")
            self.at += 1
            start = self.at
            stripped = row.lstrip(SPACE)
            comment = stripped.startswith("#")
            if self._directive(stripped):
                continue
            if comment:
                text = row[1:].strip(SPACE)
                if text:
                    comments.append(text)
                else:
                    comments = []
                continue
            line, more = self._trim(stripped)
            if not more and not line:
                continue
            if more:
                line = self._continued(line)
            node = self._node(line, start, 0)
            node.comments, comments = comments, []
            if "<<" in line and _may_have_heredocs(node):
                node.heredocs = [self._body(doc, start) for doc in self._heredocs(line, start)]
            _place(node, start, self.at)
            yield node

    def _continued(self, first: str) -> str:
        """An instruction's line with the rest of its lines; comments and empty lines among them are left out."""
        parts = [first]
        more, empty = True, False
        while more and self.at < len(self.rows):
            row = self.rows[self.at].rstrip("\r\n")
            self.at += 1
            stripped = row.lstrip(SPACE)
            if stripped.startswith("#"):
                continue
            if not stripped:
                empty = True
                continue
            text, more = self._trim(row)
            parts.append(text)
        line = "".join(parts)
        if empty:
            self.empty.append((self.at, line))
        return line

    def _trim(self, row: str) -> tuple[str, bool]:
        """(the row without its continuation character, whether it has one)."""
        bare = row.rstrip(" \t")
        if not bare.endswith(self.escape) or bare.endswith(self.escape * 2):
            return row, False
        return bare[:-1], True

    def _directive(self, row: str) -> bool:
        """Take a parser directive; they come before everything else, and anything else ends them."""
        if not self.in_directives:
            return False
        body = row[1:].lstrip(SPACE) if row.startswith("#") else ""
        match = DIRECTIVE.match(body)
        name = match[1].lower() if match else ""
        if not match or name not in DIRECTIVES:
            self.in_directives = False
            return False
        if name in self.directives:
            first = self.directives[name][1]
            raise self._error(
                self.at, f"only one {name} parser directive can be used", "", f"see line {first}"
            )
        value = body[match.end() :].strip("\t\f\r ") or " "
        if name == "escape":
            if value not in ("\\", "`"):
                raise self._error(
                    self.at, f"invalid escape token '{value}' does not match ` or \\", near=value
                )
            self.escape = value
        self.directives[name] = value, self.at
        return True

    def _node(self, line: str, start: int, depth: int) -> Node:
        words = BLANKS.split(line.strip(SPACE), maxsplit=1)
        name = words[0]
        try:
            flags, rest = (
                arguments.split_flags(words[1], self.escape) if len(words) > 1 else ([], "")
            )
            rest = rest.strip(SPACE)
            if name.lower() == "onbuild":
                if depth == MAX_NESTING:
                    raise arguments.ArgumentError("ONBUILD is nested too deeply", near=rest)
                child = self._node(rest, start, depth + 1) if rest else None
                return Node(name, [], flags, line, child=child)
            read: Arguments = arguments.read(name.lower(), rest, self.escape)
        except arguments.ArgumentError as error:
            raise self._error(start, str(error), "", error.hint, error.near or name) from None
        return Node(name, read.words, flags, line, read.is_json)

    def _heredocs(self, line: str, start: int) -> list[Heredoc]:
        """The heredocs that a line announces."""
        lexer = Lexer(raw_quotes=True, raw_escapes=True, keep_unset=True)
        try:
            words = lexer.expand(line, {}).words
        except WordError:
            return []  # the shell may know better
        found: list[Heredoc] = []
        for word in words:
            try:
                doc = heredoc(word)
            except WordError as error:
                raise self._error(start, str(error), near=word) from None
            if doc:
                found.append(doc)
        return found

    def _body(self, doc: Heredoc, start: int) -> Heredoc:
        rows: list[str] = []
        while self.at < len(self.rows):
            row = self.rows[self.at]
            self.at += 1
            end = row.rstrip("\r\n")
            if (end.lstrip("\t") if doc.chomp else end) == doc.name:
                return Heredoc(doc.name, doc.expand, doc.chomp, doc.descriptor, "".join(rows))
            rows.append(row)
        raise self._error(
            start,
            "unterminated heredoc",
            "",
            f"a line with {doc.name} alone must end it",
            f"<<{doc.name}",
        )


def heredoc(word: str) -> Heredoc | None:
    """The heredoc that a word announces, without its content; None where it is none."""
    match = HEREDOC.match(word)
    if not match or not match[3]:
        return None
    words = Lexer(keep_unset=True).expand(match[3], {}).words
    if len(words) != 1:
        return None
    raw = Lexer(keep_unset=True, raw_quotes=True).expand(match[3], {}).words
    if len(raw) != 1:
        raise WordError(f"the heredoc's name {match[3]} is more than one word")
    # A name that is quoted, even in part, says that variables stay as they are.
    expand = sum(map(words[0].count, "'\"")) == sum(map(raw[0].count, "'\""))
    descriptor = min(int(match[1][:20] or "0"), 2**64 - 1)
    return Heredoc(words[0], expand, bool(match[2]), descriptor)


def _may_have_heredocs(node: Node) -> bool:
    if node.name.lower() == "onbuild" and node.child:
        node = node.child
    return node.name.lower() in WITH_HEREDOCS and not node.is_json


def _place(node: Node, start: int, end: int) -> None:
    node.start, node.end = start, end
    if node.child:
        _place(node.child, start, end)


def _rows(text: str) -> list[str]:
    """Lines with their ends; only a line feed ends one."""
    rows = [f"{row}\n" for row in text.split("\n")]
    rows[-1] = rows[-1][:-1]
    return rows if rows[-1] else rows[:-1]
