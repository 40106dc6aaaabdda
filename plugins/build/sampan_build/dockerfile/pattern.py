"""The patterns of `${name#pattern}` and `${name/pattern/text}`: * and ?, without brackets.

A set of places in the text is an integer with a bit each, so that no pattern takes more than linear
time for each of its characters.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

ANY, ONE = "*", "?"
Token = tuple[str, bool]  # a character, and whether it is a wildcard


class PatternError(ValueError):
    """A pattern that cannot be read; its text says why."""


def read(pattern: str) -> list[Token]:
    r"""The pattern's tokens; \ makes * ? \ literal, and \} and \/ are what stands in braces."""
    tokens: list[Token] = []
    chars = iter(range(len(pattern)))
    for at in chars:
        char, after = pattern[at], pattern[at + 1 : at + 2]
        if char == "\\" and after in ("}", "/"):
            continue
        if char == "\\":
            if not after or after not in "*?\\":
                raise PatternError(
                    f"invalid pattern ({pattern}) in substitution: invalid escape '\\{after}'"
                )
            tokens.append((after, False))
            next(chars)
        else:
            tokens.append((char, char in (ANY, ONE)))
    return tokens


def trim_prefix(pattern: str, value: str, greedy: bool) -> str:
    """value without the shortest, or the longest, beginning that the pattern matches."""
    ends = _Text(value).ends(read(pattern), 1)
    return value[_pick(ends, greedy) :] if ends else value


def trim_suffix(pattern: str, value: str, greedy: bool) -> str:
    """value without the shortest, or the longest, end that the pattern matches."""
    ends = _Text(value[::-1]).ends(read(pattern)[::-1], 1)
    return value[: len(value) - _pick(ends, greedy)] if ends else value


def replace(pattern: str, value: str, text: str, every: bool) -> str:
    """value with text for the first match, or for every one, each as long as can be."""
    tokens = read(pattern)
    places = _Text(value)
    starts = _Text(value[::-1]).ends(tokens[::-1], (2 << len(value)) - 1)
    parts: list[str] = []
    done = at = 0
    while (start := _next_start(starts, at, len(value))) >= 0:
        end = _pick(places.ends(tokens, 1 << start), True)
        parts.append(value[done:start])
        if end > done or start == 0:  # no empty match right after another one
            parts.append(text)
        done, at = end, max(end, at + 1)
        if not every:
            break
    return "".join([*parts, value[done:]])


def _next_start(starts: int, at: int, length: int) -> int:
    """The first place from at on where a match begins, or -1; starts counts from the end of the text."""
    if at > length:
        return -1
    rest = starts & ((2 << (length - at)) - 1)
    return length - (rest.bit_length() - 1) if rest else -1


def _pick(places: int, last: bool) -> int:
    return places.bit_length() - 1 if last else (places & -places).bit_length() - 1


class _Text:
    """A text in which patterns are looked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._masks: dict[str, int] = {}
        self._inline = ((1 << len(text)) - 1) & ~self._mask("\n")

    def _mask(self, char: str) -> int:
        """The places at which char stands."""
        if char not in self._masks:
            places = "".join("1" if found == char else "0" for found in reversed(self.text))
            self._masks[char] = int(places or "0", 2)
        return self._masks[char]

    def ends(self, tokens: Sequence[Token], places: int) -> int:
        """Where a match that begins at one of the places can end."""
        for char, wild in tokens:
            if not places:
                return 0
            if not wild:
                places = (places & self._mask(char)) << 1
            elif char == ONE:
                places = (places & self._inline) << 1
            else:
                places = self._spread(places)
        return places

    def _spread(self, places: int) -> int:
        """The places, and all that are reached from them by characters of one line."""
        step, passable = 1, self._inline
        while step <= len(self.text):
            places |= (places & passable) << step
            passable &= passable >> step
            step <<= 1
        return places
