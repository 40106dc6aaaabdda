"""How long a registry wants us to wait before the next try (RFC 9110, 10.2.3, and what is found
besides).
"""

from __future__ import annotations

import random
import re
import time
from email.utils import parsedate_to_datetime

CAP = 60.0  # seconds; who wants more is answered with advice
_TIMESTAMP = 1_000_000_000  # a number beyond is a moment, not a duration
_UNITS = {"µs": 1e-6, "μs": 1e-6, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_IN_TEXT = re.compile(r"retry-after: *(\d{1,12}(?:\.\d{1,9})?) *(µs|μs|us|ms|s)\b", re.IGNORECASE)


def asked(header: str | None, body: str, now: float | None = None) -> float | None:
    """Seconds that the answer asks for: a number, a date, a unix time, or words in its body;
    else None.
    """
    now = time.time() if now is None else now
    header = (header or "").strip()
    if header.isascii() and header.isdigit() and len(header) <= 15:
        number = float(header)
        return max(0.0, number - now) if number >= _TIMESTAMP else number
    if header:
        try:
            return max(0.0, parsedate_to_datetime(header).timestamp() - now)
        except (ValueError, TypeError, OverflowError):
            pass  # no date either: as if it were not there
    match = _IN_TEXT.search(body)
    return float(match[1]) * _UNITS[match[2].lower()] if match else None


def pause(attempt: int, wanted: float | None) -> float:
    """The wait before try `attempt` + 1: what was asked, or a growing one, with jitter upwards."""
    base = min(0.5 * 2**attempt, 10.0) if wanted is None else wanted
    return base + random.uniform(0.0, min(0.25 * base + 0.05, 2.0))
