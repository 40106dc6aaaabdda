"""What lies in the holder's directory: its socket, its lock, and what it has written down of its members.

The latter is for a holder that comes after one that was killed: members that still run keep their addresses.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from sampan import files, jsontext
from sampan.errors import InUseError, SampanError
from sampan.linux import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from typing import Any

SOCKET, LOCK, MEMBERS, PID = "holder", ".lock", "members", "pid"
PATIENCE = 20.0  # seconds that another command may take to start a holder


@contextlib.contextmanager
def locked(directory: int, patience: float = PATIENCE) -> Generator[None]:
    """Held while it is settled whether a holder is there. InUseError: somebody has it, and stands still."""
    fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        until = time.monotonic() + patience
        while not _lock(fd):
            if time.monotonic() > until:
                raise InUseError(
                    "cannot connect the container with its network",
                    f"another process has locked the bridge networks for {patience:.0f} s",
                    "ps -u $USER shows commands of sampan that are stopped (T): let them go on or end them",
                )
            time.sleep(0.002)
        yield
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def note(directory: int, member: str, pid: int, addresses: Mapping[str, list[str]]) -> None:
    """pid: of the member's first process.  addresses: by network."""
    row = {"pid": pid, "start_time": processes.start_time(pid), "addresses": addresses}
    members = files.open_directory(MEMBERS, dir_fd=directory)
    files.write_atomic(members, member, jsontext.dumps(row).encode(), sync=False)
    os.close(members)


def reserved(directory: int) -> dict[str, dict[str, list[str]]]:
    """The addresses of members that still run: {member: {network: addresses}}. The others are forgotten."""
    found: dict[str, dict[str, list[str]]] = {}
    members = files.open_directory(MEMBERS, dir_fd=directory, create=True)
    for name in os.listdir(members):
        row = read_member(members, name)
        if row is not None:
            found[name] = row["addresses"]
        else:
            files.unlink(members, name)
    os.close(members)
    return found


def read_member(members: int, name: str) -> dict[str, Any] | None:
    """What a holder has written down of a member that still runs; None if it does not."""
    try:
        row: dict[str, Any] = jsontext.loads(files.read(members, name))
        pidfd = processes.open_if_same(row["pid"], row["start_time"])
    except (OSError, SampanError, ValueError, KeyError, TypeError):
        return None
    if pidfd is None:
        return None
    os.close(pidfd)
    return row
