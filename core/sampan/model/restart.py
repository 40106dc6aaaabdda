"""Restart policies: when a container that has ended is started again, and how long to wait before.

As Docker has it: 100 ms, doubled with each failure to a minute, and from the beginning once a run has lasted 10 s.
"""

from __future__ import annotations

from sampan.errors import UsageError

POLICIES = ("no", "always", "on-failure", "unless-stopped")
FIRST_DELAY = 0.1  # seconds
LONGEST_DELAY = 60.0
GOOD_RUN = 10.0  # seconds after which a run counts as one that worked


def parse(word: str) -> tuple[str, int]:
    """(policy, how often at most; 0 is without end) of `on-failure:3`."""
    name, colon, count = word.partition(":")
    name = name or "no"
    if name not in POLICIES or (colon and name != "on-failure"):
        raise UsageError(
            f"invalid restart policy {word!r}", "", "no, always, unless-stopped or on-failure[:N]"
        )
    if colon and not (count.isascii() and count.isdigit() and int(count) < 1 << 31):
        raise UsageError(f"invalid restart policy {word!r}", "N is a number", "on-failure:3")
    return name, int(count or 0)


def wanted(policy: str, most: int, code: int, restarts: int) -> bool:
    """Whether a container that ended by itself with this code is started again."""
    if policy == "on-failure":
        return code != 0 and (not most or restarts < most)
    return policy in ("always", "unless-stopped")


def after_boot(policy: str, *, stopped: bool) -> bool:
    """Whether it is started with the machine. `stopped`: the user stopped its last run."""
    return policy == "always" or (policy == "unless-stopped" and not stopped)


def delay(last: float, ran: float) -> float:
    """Seconds to wait after a run of `ran` seconds; `last` is the wait before it, 0 at first."""
    if not last or ran >= GOOD_RUN:
        return FIRST_DELAY
    return min(last * 2, LONGEST_DELAY)
