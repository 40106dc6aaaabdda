"""Paths as texts, by Go's rules (path.Clean), which Docker's files are written for."""

from __future__ import annotations


def clean(path: str) -> str:
    """The shortest path that names the same: no `.`, no empty word, no `..` that can be done away with."""
    rooted = path.startswith("/")
    words: list[str] = []
    for word in path.split("/"):
        if word in ("", "."):
            continue
        if word != "..":
            words.append(word)
        elif words and words[-1] != "..":
            words.pop()
        elif not rooted:
            words.append(word)
    return ("/" if rooted else "") + "/".join(words) or "."
