"""Sizes as users write them: powers of two for memory and tmpfs, powers of ten for logs."""

from __future__ import annotations

from sampan.errors import UsageError

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size(text: str, what: str) -> int:
    """Bytes of `64m`, `1.5g`, `100`."""
    lowered = text.strip().lower().removesuffix("ib").removesuffix("b") or text.strip().lower()
    digits, unit = lowered, ""
    if lowered and lowered[-1] in _UNITS:
        digits, unit = lowered[:-1], lowered[-1]
    try:
        value = int((float(digits) if "." in digits else int(digits)) * _UNITS[unit])
    except (ValueError, OverflowError):
        raise UsageError(f"invalid {what} {text!r}", "a number with b, k, m, g or t") from None
    if value < 0:
        raise UsageError(f"invalid {what} {text!r}", "it is negative")
    return value


def decimal_size(text: str, what: str) -> int:
    """Bytes of `64m`, `1.5g` where, as in log options, a unit is a power of ten."""
    lowered = text.strip().lower().removesuffix("b")
    exponent = "kmgt".find(lowered[-1:]) + 1 if lowered else 0
    try:
        value = float(lowered[:-1] if exponent else lowered)
    except ValueError:
        raise UsageError(f"invalid {what} {text!r}", "a number with k, m, g or t") from None
    if not 0 <= value < 1e15:
        raise UsageError(f"invalid {what} {text!r}", "it is negative or not a size")
    return int(value * 1000**exponent + 0.5)


def decimal_text(count: float) -> str:
    """`1.047MB`: four digits and a decimal unit, as inspect shows the size of a log."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    step = 0
    while count >= 1000 and step + 1 < len(units):
        count, step = count / 1000, step + 1
    return f"{count:.4g}{units[step]}"
