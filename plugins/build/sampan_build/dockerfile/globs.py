"""Patterns of paths as regular expressions: *, ?, [...], \\ and **, by the rules of moby/patternmatcher.

Within a pattern `**/` stands for any number of directories, at the end `**` for anything.  What is
found for a word of the path is never looked for again, so that many wildcards take no longer.
"""

from __future__ import annotations

import re

SPECIAL = "*?[\\"
WEIRD_LIMIT = 3  # of wildcards in patterns with ** inside a word, which are searched in every way


class GlobError(ValueError):
    """A pattern that cannot be read; its text says why."""


def is_plain(text: str) -> bool:
    """True for a pattern that matches itself alone."""
    return not any(char in text for char in SPECIAL)


def is_deep(text: str) -> bool:
    """True for a pattern that matches paths of any depth."""
    return "**" in text or any(_is_slash(token) for token in _tokens(text))


def check(text: str) -> None:
    """GlobError for a pattern that cannot be read."""
    regex(text)


def regex(text: str) -> str:
    """The regular expression that a whole path must match (with DOTALL)."""
    if text.startswith("**") and is_plain(text[2:]):
        rest = text[2:]  # the end of a path, in the middle of a word too
        return f"(?:.*/)?{re.escape(rest[1:])}" if rest.startswith("/") else f".*{re.escape(rest)}"
    tokens = _tokens(text)
    if any(_is_slash(token) for token in tokens) or any(
        token == "**" and at and tokens[at - 1] not in ("/", "**")
        for at, token in enumerate(tokens[:-1])
    ):
        if sum(token in ("*", "**") for token in tokens) > WEIRD_LIMIT:
            raise GlobError(
                f"too many wildcards for a pattern with ** inside a word, or with [^...]: {text[:80]}"
            )
        return _plain_regex(tokens)
    return _regex(tokens)


def _is_slash(token: str) -> bool:
    """True for a class that / belongs to."""
    return token.startswith("[") and bool(re.fullmatch(token, "/"))


def _tokens(text: str) -> list[str]:
    """`*`, `**` (with the / after it), `?`, `/`, and regular expressions of one character."""
    tokens: list[str] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*" and text.startswith("*", at):
            at += 2 if text.startswith("*/", at) else 1
            if tokens[-1:] != ["**"]:
                tokens.append("**")
        elif char in "*?/":
            tokens.append(char)
        elif char == "\\":
            if at == len(text):
                raise GlobError("syntax error in pattern: \\ at its end")
            tokens.append(re.escape(text[at]))
            at += 1
        elif char == "[":
            token, at = _class(text, at)
            tokens.append(token)
        else:
            tokens.append(re.escape(char))
    return tokens


def _class(text: str, at: int) -> tuple[str, int]:
    """(the class whose [ is before this place, where it ends)."""
    parts = ["["]
    if text.startswith("^", at):
        parts.append("^")
        at += 1
    empty = len(parts)
    while not text.startswith("]", at) or len(parts) == empty:
        low, at = _bound(text, at)
        high = low
        if text.startswith("-", at):
            high, at = _bound(text, at + 1)
        parts.append(f"{re.escape(low)}-{re.escape(high)}" if low <= high else "")
    body = "".join(parts)
    if body in ("[", "[^"):  # ranges the wrong way round hold nothing
        return ("(?!)" if body == "[" else "[^\\0]"), at + 1
    return f"{body}]", at + 1


def _bound(text: str, at: int) -> tuple[str, int]:
    if text.startswith("\\", at):
        at += 1
    elif text[at : at + 1] in ("-", "]"):
        raise GlobError("syntax error in pattern: [ ] holds characters and ranges")
    if at >= len(text):
        raise GlobError("syntax error in pattern: [ without ]")
    return text[at], at + 1


def _plain_regex(tokens: list[str]) -> str:
    words = {"*": "[^/]*", "?": "[^/]", "**": "(?:.*/)?"}
    last = ".*" if tokens[-1] == "**" else words.get(tokens[-1], tokens[-1])
    return "".join([*(words.get(token, token) for token in tokens[:-1]), last])


def _regex(tokens: list[str]) -> str:
    """Whole words between slashes; a run of them after `**` is taken where it is found first."""
    runs: list[list[str]] = [[]]
    for token in tokens:
        if token == "**":
            runs.append([])
        else:
            runs[-1].append(token)
    parts = [_words(runs[0])]
    for at, run in enumerate(runs[1:], 2):
        if at == len(runs):
            parts.append(f"(?:.*/)?{_words(run)}" if run else ".*")
        else:
            parts.append(f"(?>(?:.*?/)??{_words(run)})")
    return "".join(parts)


def _words(run: list[str]) -> str:
    """A run of words with their slashes."""
    words: list[list[list[str]]] = [[[]]]  # words of pieces between the *
    for token in run:
        if token == "/":
            words.append([[]])
        elif token == "*":
            words[-1].append([])
        else:
            words[-1][-1].append("[^/]" if token == "?" else token)
    return "/".join(_word(["".join(piece) for piece in word]) for word in words)


def _word(pieces: list[str]) -> str:
    """One word: each piece but the last is taken where it is found first, the last one must end the word."""
    first, *rest = pieces
    if not rest:
        return first
    middle = "".join(f"(?>[^/]*?{piece})" for piece in rest[:-1])
    return f"{first}{middle}[^/]*{rest[-1]}"


def name_regex(text: str) -> str:
    """The regular expression that one word of a path must match, by Go's filepath.Match: ** is no more than *."""
    return _words(["*" if token == "**" else token for token in _tokens(text)])


def has_wildcards(text: str) -> bool:
    """Whether a path of COPY is a pattern: a wildcard after a \\\\ is none."""
    return any(char in "*?[" for char in re.sub(r"\\.", "", text, flags=re.DOTALL))
