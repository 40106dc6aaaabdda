"""Capabilities: names and the four sets of a process (capabilities(7))."""

from __future__ import annotations

import ctypes

from sampan.linux import libc

NAMES = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]
NUMBERS = {f"CAP_{name}": number for number, name in enumerate(NAMES)}


def mask(names: list[str]) -> int:
    """The bits of a list of OCI names (CAP_...); names of a newer kernel are left out."""
    bits = 0
    for name in names:
        bits |= 1 << NUMBERS[name] if name in NUMBERS else 0
    return bits


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
