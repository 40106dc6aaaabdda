"""The sets of capabilities of a process (capabilities(7))."""

from __future__ import annotations

import ctypes

from sampan.linux import libc


def drop_bounding(keep: int) -> None:
    """Drop from the bounding set what is not kept."""
    for number in range(64):
        if not keep >> number & 1:
            try:
                libc.prctl(libc.PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno == 22:  # EINVAL: past the last one that this kernel knows
                    return
                raise


def permitted() -> int:
    """This process's permitted set."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.call("capget", header, data)
    return data[1] | data[4] << 32


def set_sets(effective: int, permitted: int, inheritable: int) -> None:
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    low, high = 0xFFFFFFFF, 32
    data = (ctypes.c_uint32 * 6)(
        effective & low,
        permitted & low,
        inheritable & low,
        effective >> high,
        permitted >> high,
        inheritable >> high,
    )
    libc.call("capset", header, data)


def clear_ambient() -> None:
    libc.prctl(libc.PR_CAP_AMBIENT, 4)  # PR_CAP_AMBIENT_CLEAR_ALL


def raise_ambient(bits: int) -> None:
    for number in range(64):
        if bits >> number & 1:
            libc.prctl(libc.PR_CAP_AMBIENT, 2, number)
