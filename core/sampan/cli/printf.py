"""fmt.Sprintf: verbs with flags, width and precision, as Go prints them."""

from __future__ import annotations

import json

from sampan.cli.values import is_list, is_number, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def printf(layout: str, *values: Any) -> str:
    """fmt.Sprintf with flags, width and precision; a verb that does not fit prints as Go's
    %!d(string=x).
    """
    out: list[str] = []
    left = list(values)
    at = 0
    while at < len(layout):
        if layout[at] != "%":
            out.append(layout[at])
            at += 1
            continue
        at += 1
        begin = at
        while at < len(layout) and layout[at] in "+-# 0":
            at += 1
        flags = layout[begin:at]
        width, at = _number(layout, at, left)
        precision: int | None = None
        if at < len(layout) and layout[at] == ".":
            found, at = _number(layout, at + 1, left)
            precision = found or 0
        verb = layout[at : at + 1]
        at += 1
        if verb == "%":
            out.append("%")
        elif not verb:
            out.append("%!(NOVERB)")
        elif not left:
            out.append(f"%!{verb}(MISSING)")
        else:
            out.append(_padded(_verb(verb, flags, precision, left.pop(0)), flags, width))
    if left:
        extra = ", ".join(f"{_go_type(value)}={text_of(value)}" for value in left)
        out.append(f"%!(EXTRA {extra})")
    return "".join(out)


def _number(layout: str, at: int, left: list[Any]) -> tuple[int | None, int]:
    if layout[at : at + 1] == "*" and left:
        return int(left.pop(0)), at + 1
    begin = at
    while at < len(layout) and layout[at].isdigit() and at - begin < 4:
        at += 1
    return (int(layout[begin:at]) if at > begin else None), at


def _verb(verb: str, flags: str, precision: int | None, value: Any) -> str:
    if is_number(value) and verb in "vdxXobcfeEgG":
        text = _numeric(verb, flags, precision, value)
        if text is not None:
            return text
    elif verb in "vs" and (verb == "v" or not is_number(value)):
        text = text_of(value)
        return text if precision is None else text[:precision]
    if verb == "q" and isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if verb == "q" and is_list(value):
        return "[" + " ".join(_verb(verb, flags, None, item) for item in value) + "]"
    if verb == "t" and isinstance(value, bool):
        return text_of(value)
    if verb == "T":
        return _go_type(value)
    if verb in "xX" and isinstance(value, str):
        digits = value.encode().hex()
        return digits.upper() if verb == "X" else digits
    return f"%!{verb}({_go_type(value)}={text_of(value)})"


def _numeric(verb: str, flags: str, precision: int | None, value: int | float) -> str | None:
    sign = "+" if "+" in flags else ""
    if verb == "v" or (verb in "gG" and precision is None):
        return text_of(value)
    if isinstance(value, int) and verb in "dxXob":
        alternate = "#" if "#" in flags and verb != "d" else ""
        return format(value, f"{sign}{alternate}{verb}")
    if isinstance(value, int) and verb == "c":
        return chr(value)
    if verb in "feEgG":
        return format(float(value), f"{sign}.{6 if precision is None else precision}{verb}")
    return None


def _padded(text: str, flags: str, width: int | None) -> str:
    if width is None or len(text) >= width:
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and text.lstrip("+-").replace(".", "").isdigit():
        sign = text[:1] if text[:1] in "+-" else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width)


def _go_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    names = (
        (str, "string"),
        (int, "int"),
        (float, "float64"),
        (list, "[]interface {}"),
        (dict, "map"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), "<nil>")
