"""The question before much is removed."""

from __future__ import annotations

import sys


def agreed(question: str = "Are you sure you want to continue?") -> bool:
    """Whether the user answers yes."""
    print(f"{question} [y/N] ", end="", flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
