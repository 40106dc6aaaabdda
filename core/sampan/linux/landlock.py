"""Landlock: a process that may change nothing but one directory (landlock(7)).

Only rights that write are handled: what can be read is the business of the mount namespace.  A
kernel without Landlock is no error, for this is one wall of several.
"""

from __future__ import annotations

import ctypes
import os

from sampan.linux import libc

_CREATE_VERSION = 1
_RULE_PATH_BENEATH = 1
_WRITE_FILE = 1 << 1
# remove dir and file, make char, dir, reg, sock, fifo, block, sym
_REMOVE_AND_MAKE = 0b1_1111_1111 << 4
_REFER = 1 << 13  # ABI 2
_TRUNCATE = 1 << 14  # ABI 3
_NET = 0b11  # ABI 4: bind and connect TCP
_SCOPED = 0b11  # ABI 6: abstract sockets, signals


def version() -> int:
    """The ABI of the running kernel, 0 if it has none."""
    try:
        return libc.call("landlock_create_ruleset", None, 0, _CREATE_VERSION)
    except OSError:
        return 0


def only_change(fd: int) -> bool:
    """From now on, write only beneath the directory `fd` and to what is open. False: not available.

    The process must have no_new_privs.
    """
    abi = version()
    if not abi:
        return False
    rights = _WRITE_FILE | _REMOVE_AND_MAKE
    rights |= _REFER if abi >= 2 else 0
    rights |= _TRUNCATE if abi >= 3 else 0
    attributes = (ctypes.c_uint64 * 3)(rights, _NET if abi >= 4 else 0, _SCOPED if abi >= 6 else 0)
    ruleset = libc.call(
        "landlock_create_ruleset", ctypes.byref(attributes), ctypes.sizeof(attributes), 0
    )
    try:
        beneath = rights.to_bytes(8, "little") + fd.to_bytes(4, "little")
        libc.call("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, beneath, 0)
        libc.call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return True
