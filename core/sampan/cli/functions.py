"""The functions of a format template, and how Go prints values (fmt, text/template, and
Docker's additions).
"""

from __future__ import annotations

from sampan.cli.printf import printf
from sampan.cli.values import NO_VALUE, is_number, is_object, text_of, to_json, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Fail = Callable[[str], Exception]


def call(name: str, arguments: list[Any], fail: Fail) -> Any:
    """The function's value; what Python objects to is reported as the template's error."""
    try:
        return TABLE[name](*arguments)
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        shown = " ".join(text_of(argument)[:40] for argument in arguments)
        raise fail(f"cannot call {name} {shown}: {error}") from error


def _length(value: Any) -> int:
    if value is None or value is NO_VALUE:
        return 0
    return len(value.encode()) if isinstance(value, str) else len(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if value is None or value is NO_VALUE:
            return NO_VALUE
        if is_object(value):
            value = value.get(key, "")  # Go: the zero value of the map's type
        elif isinstance(value, str):
            value = value.encode()[_position(key)]
        else:
            value = value[_position(key)]
    return value


def _position(key: Any) -> int:
    if not isinstance(key, int) or key < 0:
        raise LookupError(f"no index {text_of(key)}")
    return key


def _slice(value: Any, begin: int = 0, end: int | None = None) -> Any:
    stop = len(value) if end is None else end
    if not 0 <= begin <= stop <= len(value):
        raise LookupError("out of range")
    return value[begin:stop]


def _comparable(one: Any, other: Any) -> None:
    numbers = is_number(one) and is_number(other)
    if not numbers and type(one) is not type(other):
        raise TypeError("values of different types")


def _eq(one: Any, *others: Any) -> bool:
    if not others:
        raise TypeError("a value to compare with is missing")
    for other in others:
        if None not in (one, other) and NO_VALUE not in (one, other):
            _comparable(one, other)
        if one == other:
            return True
    return False


def _lt(one: Any, other: Any) -> bool:
    _comparable(one, other)
    return bool(one < other)


def _ne(one: Any, other: Any) -> bool:
    return not _eq(one, other)


def _le(one: Any, other: Any) -> bool:
    return not _lt(other, one)


def _gt(one: Any, other: Any) -> bool:
    return _lt(other, one)


def _ge(one: Any, other: Any) -> bool:
    return not _lt(one, other)


def _not(value: Any) -> bool:
    return not truth(value)


def _print(*values: Any) -> str:
    """fmt.Sprint: a space between operands when neither is a string."""
    out = ""
    for at, value in enumerate(values):
        if at and not isinstance(value, str) and not isinstance(values[at - 1], str):
            out += " "
        out += text_of(value)
    return out


def _println(*values: Any) -> str:
    return " ".join(text_of(value) for value in values) + "\n"


def _join(values: Any, separator: str) -> str:
    return separator.join(text_of(value) for value in values or ())


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _truncate(text: str, limit: int) -> str:
    return text[:limit] if limit >= 0 else text


def _pad(text: str, left: int, right: int) -> str:
    return " " * left + text + " " * right if text else ""


def _lower(text: str) -> str:
    return text.lower()


def _upper(text: str) -> str:
    return text.upper()


def _title(text: str) -> str:
    out, begins = "", True
    for character in text:
        out += character.upper() if begins else character
        begins = not (character.isalnum() or character in "_'")
    return out


TABLE: Mapping[str, Callable[..., Any]] = {
    "eq": _eq,
    "ne": _ne,
    "lt": _lt,
    "le": _le,
    "gt": _gt,
    "ge": _ge,
    "not": _not,
    "len": _length,
    "index": _index,
    "slice": _slice,
    "print": _print,
    "printf": printf,
    "println": _println,
    "json": to_json,
    "join": _join,
    "split": _split,
    "lower": _lower,
    "upper": _upper,
    "title": _title,
    "truncate": _truncate,
    "pad": _pad,
}
