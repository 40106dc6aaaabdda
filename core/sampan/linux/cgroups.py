"""The cgroup file systems of this machine, as they are found (cgroups(7), Documentation/admin-guide/cgroup-v2.rst)."""

from __future__ import annotations

import os

ROOT = "/sys/fs/cgroup"


def layout(root: str = ROOT) -> str:
    """`v2`; `hybrid`: version 1 with an own tree of version 2 for systemd; `v1`; or `none`.

    Version 2 can be used only where it is the one tree: controllers that version 1 holds are not in the other.
    """
    if os.path.exists(f"{root}/cgroup.controllers"):
        return "v2"
    if os.path.exists(f"{root}/unified/cgroup.controllers"):
        return "hybrid"
    try:
        names = os.listdir(root)
    except OSError:
        return "none"
    return "v1" if names else "none"


def own(table: str | None = None, root: str = ROOT) -> str:
    """The directory of this process's cgroup of version 2; "" if it has none, or one outside of what is mounted.

    table: what /proc/PID/cgroup holds.
    """
    if table is None:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            table = file.read()
    for line in table.splitlines():
        if line.startswith("0::/"):
            path = line[3:].removesuffix(" (deleted)")
            return "" if path.startswith("/..") else root + path.rstrip("/")
    return ""


def read(directory: str, name: str) -> str | None:
    """What a file says; None if it is not there."""
    try:
        fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        data = b""
        while piece := os.read(fd, 1 << 16):
            data += piece
        return data.decode().strip()
    except OSError:  # ENODEV: it was removed
        return None
    finally:
        os.close(fd)


def controllers(directory: str) -> frozenset[str]:
    """The controllers that can be used in the directory."""
    return frozenset((read(directory, "cgroup.controllers") or "").split())


def counters(directory: str, name: str) -> dict[str, int]:
    """A file of lines `NAME NUMBER`."""
    rows = [line.split() for line in (read(directory, name) or "").splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
