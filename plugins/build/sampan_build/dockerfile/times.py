"""Go's durations, such as 1m30s, to the nanosecond."""

from __future__ import annotations

import re
from fractions import Fraction

from sampan_build.dockerfile.arguments import ArgumentError, quote

UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
LONGEST = 2**63 - 1


def interval(flag: str, text: str) -> int:
    """Nanoseconds of --flag=text, 0 where text is empty or zero; ArgumentError for what is less than 1ms."""
    if not text:
        return 0
    length = duration(text)
    if length and length < UNITS["ms"]:
        raise ArgumentError(
            f"Interval {quote(flag)} cannot be less than 1ms", "0 is the default", text
        )
    return length


def duration(text: str) -> int:
    """Nanoseconds of a Go duration."""
    sign = -1 if text.startswith("-") else 1
    rest = text[1:] if text[:1] in ("-", "+") else text
    if rest == "0":
        return 0
    total = Fraction(0)
    at = 0
    while match := PART.match(rest, at):
        total += (
            Fraction(match[1].rstrip(".") if match[1][0] != "." else f"0{match[1]}")
            * UNITS[match[2]]
        )
        at = match.end()
    if at != len(rest) or not rest or len(text) > 64 or total > LONGEST:
        why = (
            "missing unit in duration" if rest.replace(".", "", 1).isdigit() else "invalid duration"
        )
        raise ArgumentError(f"time: {why} {quote(text)}", "such as 30s, 1m30s or 500ms", text)
    return sign * int(total)
