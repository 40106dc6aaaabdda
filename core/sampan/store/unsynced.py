"""Layers that may not survive a power cut yet, and how they come to.

Waiting for the disk would double the time of a pull.  So before a worker commits its first layer,
the keys of all that it may commit are written down, and synced: a marker.  When it is done a
process of its own flushes the file system and then removes the marker.  A marker of another boot
says that the machine went down in between: its layers are removed, and unpacked again from their
blobs, which are always synced.
"""

from __future__ import annotations

import os

from sampan import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PLACE = "unsynced"


def begin(directory: int, keys: Sequence[str]) -> str:
    """Write down that these layers are going to be made; the marker's name."""
    from sampan import jsontext
    from sampan.linux.processes import boot_id

    place = files.open_directory(PLACE, dir_fd=directory, create=True)
    try:
        name = f"{os.getpid()}-{os.urandom(4).hex()}"
        marker = {"boot": boot_id(), "keys": list(keys)}
        files.write_atomic(place, name, jsontext.dumps(marker).encode())
    finally:
        os.close(place)
    return name


def settle(directory: int, name: str) -> None:
    """Flush the file system and remove the marker, in a process that nobody waits for."""
    if os.fork():
        return
    status = 1
    try:
        os.setsid()
        _detach(directory)
        flush(directory, name)
        status = 0
    finally:
        os._exit(status)


def flush(directory: int, name: str) -> None:
    """Flush, then remove the marker and those of workers of this boot that are gone."""
    from sampan.linux import libc

    place = files.open_directory(PLACE, dir_fd=directory)
    gone = [other for other in os.listdir(place) if other == name or not _lives(other)]
    here = [other for other in gone if not _foreign(place, other)]
    libc.call("syncfs", directory)
    for marker in here:
        files.unlink(place, marker)


def forget(directory: int, name: str) -> None:
    """Remove the marker of a worker that committed nothing."""
    files.unlink(directory, f"{PLACE}/{name}")


def lost(directory: int) -> dict[str, list[str]]:
    """Markers of another boot, with the keys of the layers that cannot be trusted."""
    try:
        place = files.open_directory(PLACE, dir_fd=directory)
    except FileNotFoundError:
        return {}
    try:
        found = {name: _foreign(place, name) for name in os.listdir(place)}
    finally:
        os.close(place)
    return {name: keys for name, keys in found.items() if keys}


def any_lost(root_fd: int, driver: str) -> bool:
    """Whether a power cut may have caught layers half written; quick, for `run` asks each time."""
    try:
        place = files.open_directory(f"layers/{driver}/{PLACE}", dir_fd=root_fd)
    except FileNotFoundError:
        return False
    try:
        return any(_foreign(place, name) for name in os.listdir(place))
    finally:
        os.close(place)


def _foreign(place: int, name: str) -> list[str]:
    """The keys of a marker of another boot; of this boot none."""
    from sampan import jsontext
    from sampan.linux.processes import boot_id

    if name.startswith(files.TEMPORARY):
        return []
    try:
        marker = jsontext.loads(files.read(place, name))
        return [] if marker["boot"] == boot_id() else [str(key) for key in marker["keys"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def _lives(name: str) -> bool:
    return not files.is_abandoned(files.TEMPORARY + name.removeprefix(files.TEMPORARY))


def _detach(directory: int) -> None:
    """Hold nothing of the caller: a pipe that stays open would keep its reader waiting."""
    from sampan.linux import libc

    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    if directory > 3:
        libc.close_range(3, directory - 1)
    libc.close_range(max(3, directory + 1))
    os.chdir("/")
