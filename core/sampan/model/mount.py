"""What a storage driver plans and the monitor executes: mounts and helper processes as data.

These are JSON values: they travel over the pipe to the monitor.  All paths are relative to `directory`, and
nothing here is kept on disk, so a store may be moved.
"""

from __future__ import annotations

from typing import TypedDict


class MountOperation(TypedDict):
    """One mount.  `fstype` "overlay" uses lower/upper/work, "bind" uses source.

    lower: layer directories, topmost first.  options: (key, value) pairs for fsconfig(2); None is a flag.
    """

    fstype: str
    source: str
    lower: list[str]
    upper: str
    work: str
    options: list[tuple[str, str | None]]


class HelperOperation(TypedDict):
    """A program that serves a FUSE file system, mounted before the mounts.

    It runs in the foreground with `directory` as its working directory, is given the connection as its last
    argument (/dev/fd/N, libfuse's form), and dies with the process that mounted it.
    """

    argv: list[str]


class Snapshot(TypedDict):
    """A writable (or read-only) root file system, ready to be mounted."""

    driver: str
    key: str
    directory: str
    mounts: list[MountOperation]
    helpers: list[HelperOperation]
    readonly: bool
