"""The modes of --chmod: octal, or symbolic by the rules of FreeBSD's setmode(3), which BuildKit reads them with.

In u=rw,go=X+w every clause says whose bits; without a letter all are meant, whatever the umask.
"""

from __future__ import annotations

import re

_SET_ID, _STICKY, _EXECUTE = 0o6000, 0o1000, 0o111
_CLASSES = {"u": 0o4700, "g": 0o2070, "o": 0o0007, "a": 0o6777}
_SHIFTS = {"u": 6, "g": 3, "o": 0}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": _SET_ID, "t": _STICKY}
_ACTION = re.compile(r"([-+=])([rwxXstugo]*)")


def octal(text: str) -> int | None:
    """The mode that octal digits spell, else None."""
    return int(text, 8) if text and not text.strip("01234567") else None


def changed(text: str, mode: int, is_directory: bool) -> int:
    """What a symbolic mode makes of a mode."""
    executes = is_directory or bool(mode & _EXECUTE)
    for clause in text.split(","):
        letters = re.match("[ugoa]*", clause)
        classes = letters.group() if letters else ""
        for sign, bits in _ACTION.findall(clause[len(classes) :]):
            mode = _act(mode, classes, sign, bits, executes)
    return mode


def _act(mode: int, classes: str, sign: str, bits: str, executes: bool) -> int:
    """One of + - = with its letters."""
    whose = 0
    for letter in classes:
        whose |= _CLASSES[letter]
    reach = whose or 0o7777
    if not whose or whose & ~_CLASSES["o"]:
        reach |= _STICKY  # it belongs to no class, but `o` alone does not reach it
    before = mode
    if sign == "=":
        only_copies = bits and not bits.strip("ugo")
        mode &= ~((whose or _CLASSES["a"]) & (0o777 if only_copies else 0o7777))
    for bit in bits:
        if bit in _SHIFTS:
            value = before >> _SHIFTS[bit] & 7
            wanted = sum(value << _SHIFTS[one] for one in _owners(classes))
        elif bit == "X":
            wanted = _EXECUTE if executes or sign == "-" else 0
        else:
            wanted = _BITS[bit]
        mode = mode & ~(wanted & reach) if sign == "-" else mode | (wanted & reach)
    return mode


def _owners(classes: str) -> str:
    return "ugo" if not classes or "a" in classes else "".join(dict.fromkeys(classes))
