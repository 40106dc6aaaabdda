"""Times as people read them."""

from __future__ import annotations

import time

from sampan.errors import UsageError
from sampan.model.rfc3339 import SECOND, nanoseconds

_UNITS = (
    (365 * 86400, "year"),
    (30 * 86400, "month"),
    (7 * 86400, "week"),
    (86400, "day"),
    (3600, "hour"),
    (60, "minute"),
)


def parse(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time. ValueError."""
    return nanoseconds(text) / SECOND


def span(seconds: float) -> str:
    """Docker's words for a length of time; a clock set back shows none, never a negative one."""
    seconds = max(0.0, seconds)
    if seconds < 1:
        return "Less than a second"
    if seconds < 60:
        return f"{int(seconds)} second{'s' if int(seconds) != 1 else ''}"
    for length, name in _UNITS:
        if seconds >= 2 * length or (length == 60 and seconds >= 60):
            count = int(seconds // length)
            if count == 1:
                return f"About a{'n' if name == 'hour' else ''} {name}"
            return f"{count} {name}s"
    return f"{int(seconds)} seconds"


def ago(seconds: float) -> str:
    return f"{span(seconds)} ago"


_LATEST = 253402300800.0  # the year 10000: RFC 3339 has four digits
_SUFFIXES = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def moment(text: str) -> float:
    """`--since` and `--until`: a Unix time, an RFC 3339 time, or a Go duration before now such as 10m."""
    try:
        found = float(text)
    except ValueError:
        passed = duration(text)
        found = time.time() - passed if passed else _date(text)
    if not abs(found) < _LATEST:  # NaN is not less than anything
        raise UsageError(
            f"invalid time {text!r}",
            "",
            "a Unix time, 2026-01-31T12:00:00Z, or a duration such as 10m",
        )
    return found


def _date(text: str) -> float:
    from datetime import datetime

    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return _LATEST


def duration(text: str) -> float:
    """Seconds of a Go duration such as 1m30s; 0 for what is none."""
    total, number = 0.0, ""
    rest = text
    while rest:
        if rest[0] in "0123456789.":  # and no superscript, which is a digit, too
            number, rest = number + rest[0], rest[1:]
            continue
        unit = next((u for u in ("ns", "us", "ms", "s", "m", "h", "d") if rest.startswith(u)), None)
        if unit is None or not number:
            return 0.0
        total += float(number) * _SUFFIXES[unit]
        number, rest = "", rest[len(unit) :]
    return 0.0 if number else total
