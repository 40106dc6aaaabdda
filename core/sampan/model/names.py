"""Names for containers that were given none: an adjective and a kind of boat or sailor's word."""

from __future__ import annotations

import os

from sampan.errors import UsageError

FIRST = (
    "able amber blithe bold brave bright brisk calm clever cosy deft eager fair fleet fond gentle glad grand hale "
    "happy hardy jolly keen kind light lively lucky mellow merry mild nimble noble patient plucky proud quick quiet "
    "ready sharp shy silent sleek snug spry steady stout sunny swift tidy trim trusty upbeat vivid warm wise witty"
).split()
SECOND = (
    "anchor barge beacon bow brig buoy capstan catboat clipper compass coracle current cutter deck dhow dinghy dory "
    "ferry frigate galley gig gull gunter harbor helm hull island jib junk keel kayak ketch lagoon launch lugger mast "
    "mooring oar packet pilot pinnace pontoon port prow punt quay raft reef rigging rudder sail schooner sextant "
    "skiff sloop spar stern tender tide trawler tug wharf wherry windlass yawl"
).split()
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def random_name() -> str:
    a, b = os.urandom(2)
    return f"{FIRST[a % len(FIRST)]}_{SECOND[b % len(SECOND)]}"


def check(name: str) -> str:
    """The name if Docker would take it."""
    if not name[:1].isalnum() or not name.isascii() or len(name) > 250 or not set(name) <= _ALLOWED:
        raise UsageError(
            f"invalid container name {name!r}",
            "it does not match [a-zA-Z0-9][a-zA-Z0-9_.-]*",
        )
    return name
