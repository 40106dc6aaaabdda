"""JSON by the C accelerator of the standard library alone.

The package `json` loads `re`, and with it `enum` and `functools`: three milliseconds of every command and a megabyte of
every monitor, none of which its scanner and its encoder need.  Hooks and other separators are left to `json`.
"""

from __future__ import annotations

from _json import encode_basestring, encode_basestring_ascii, make_encoder, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

SPACE = " \t\n\r"


class _Rules:
    """What the scanner asks for: no hooks, and Python's three numbers beyond RFC 8259."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = {
        "NaN": float("nan"),
        "Infinity": float("inf"),
        "-Infinity": float("-inf"),
    }.__getitem__


_scan = make_scanner(_Rules)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def loads(data: str | bytes) -> Any:
    """The value of a JSON text. ValueError: it is none, or not UTF-8."""
    text = data if isinstance(data, str) else data.decode()
    try:
        value, end = _scan(text, len(text) - len(text.lstrip(SPACE)))
    except StopIteration as error:
        raise ValueError(f"there is no JSON value at character {error.value}") from None
    if text[end:].strip(SPACE):
        raise ValueError(f"something follows the JSON value at character {end}")
    return value


def dumps(value: Any, *, sort_keys: bool = False, compact: bool = False) -> str:
    """A JSON text of ASCII on one line, as `json.dumps` makes it; compact: without spaces between its parts.

    TypeError: a value has no form in JSON.
    """
    colon, comma = (":", ",") if compact else (": ", ", ")
    encode = make_encoder(
        None, _refuse, encode_basestring_ascii, None, colon, comma, sort_keys, False, True
    )
    return "".join(encode(value, 0))


def pretty(value: Any, indent: int, margin: str = "\n") -> str:
    """A JSON text for people: a line a value, deeper ones `indent` columns to the right; keys are strings."""
    deeper = margin + " " * indent
    if value and isinstance(value, dict):
        rows = [
            f"{encode_basestring(key)}: {pretty(item, indent, deeper)}"  # pyright: ignore[reportUnknownArgumentType]
            for key, item in value.items()  # pyright: ignore[reportUnknownVariableType]
        ]
        return f"{{{deeper}{f',{deeper}'.join(rows)}{margin}}}"
    if value and isinstance(value, list | tuple):
        rows = [pretty(item, indent, deeper) for item in value]  # pyright: ignore[reportUnknownVariableType]
        return f"[{deeper}{f',{deeper}'.join(rows)}{margin}]"
    return encode_basestring(value) if isinstance(value, str) else dumps(value)


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"a value of the type {type(value).__name__} has no form in JSON")
