"""Moments as RFC 3339 writes them, to the nanosecond."""

from __future__ import annotations

import time

SECOND = 1_000_000_000


def stamp(moment: int) -> str:
    """The text, in UTC, of nanoseconds since the epoch."""
    seconds, rest = divmod(moment, SECOND)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}+00:00"


def nanoseconds(text: str) -> int:
    """Since the epoch; an offset and a fraction of any length are understood. ValueError."""
    day, _, rest = text.partition("T")
    clock = rest.rstrip("Zz")
    offset, sign = "", 0
    for mark, value in (("+", 1), ("-", -1)):
        head, found, tail = clock.partition(mark)
        if found:
            clock, offset, sign = head, tail, value
    whole, _, fraction = clock.partition(".")
    year, month, date = (int(word) for word in day.split("-"))
    hour, minute, second = (int(word) for word in whole.split(":"))
    ahead = 0
    if offset:
        hours, _, minutes = offset.partition(":")
        ahead = sign * (int(hours) * 3600 + int(minutes or 0) * 60)
    seconds = _days(year, month, date) * 86400 + hour * 3600 + minute * 60 + second - ahead
    return seconds * SECOND + int((fraction or "0").ljust(9, "0")[:9])


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 of the civil calendar (Howard Hinnant, chrono-compatible date algorithms)."""
    if not (1 <= month <= 12 and 1 <= day <= 31):
        raise ValueError(f"{year}-{month}-{day} is no date")
    year -= month <= 2
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
