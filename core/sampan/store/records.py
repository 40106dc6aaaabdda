"""One file a layer: what is unpacked.  It is written after the driver has committed the directory.

The records of a driver's layers stand in `layers/<driver>/`, with one lock file for all of them: a
layer's lock is one byte of it, at the position that its key gives (open file description locks,
fcntl(2)).  The kernel lets go of it when the last process that has it open is gone, and nothing is
left to tidy up.
"""

from __future__ import annotations

import errno
import os

from sampan import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

LOCK = "lock"
SUFFIX = ".json"


def open_directory(root_fd: int, driver: str) -> int:
    """The directory of a driver's records, made if it is missing."""
    try:
        return files.open_directory(f"layers/{driver}", dir_fd=root_fd)
    except FileNotFoundError:
        os.close(files.open_directory("layers", dir_fd=root_fd, create=True))
        return files.open_directory(f"layers/{driver}", dir_fd=root_fd, create=True)


def exists(directory: int, key: str) -> bool:
    try:
        os.stat(key + SUFFIX, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def write(directory: int, key: str, record: Mapping[str, Any], *, sync: bool) -> None:
    from sampan import jsontext

    data = jsontext.dumps(record).encode() + b"\n"
    files.write_atomic(directory, key + SUFFIX, data, sync=sync)


def read(directory: int, key: str) -> dict[str, Any]:
    """The record of a layer.

    FileNotFoundError: not unpacked. CorruptError: not what was written.
    """
    from sampan import jsontext
    from sampan.errors import CorruptError

    data = files.read(directory, key + SUFFIX)
    try:
        record = jsontext.loads(data)
        if not isinstance(record, dict) or not isinstance(record["diff_id"], str):
            raise ValueError
    except (ValueError, KeyError):
        raise CorruptError(
            f"cannot read the record of layer {key}",
            "it is damaged",
            "remove the image and pull it again",
        ) from None
    return record  # pyright: ignore[reportUnknownVariableType]


def keys(directory: int) -> list[str]:
    """The keys of all layers."""
    names = sorted(os.listdir(directory))
    return [
        name[: -len(SUFFIX)]
        for name in names
        if name.endswith(SUFFIX) and not name.startswith(files.TEMPORARY)
    ]


def remove(directory: int, key: str) -> None:
    """Forget a layer; the record goes first, for it says that all is there."""
    files.unlink(directory, key + SUFFIX)
    files.unlink(directory, key + ".sidecar")


def open_lock(directory: int) -> int:
    return os.open(
        LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory
    )


def lock(fd: int, key: str, *, wait: bool = True) -> bool:
    """Lock a layer for as long as the descriptor, or a copy of it, is open.

    False: another one has it.
    """
    import fcntl
    import struct

    position = int(key[:15] or "0", 16) if _is_hex(key) else sum(key.encode())
    request = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, position, 1, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK, request)
    except OSError as error:
        if not wait and error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _is_hex(key: str) -> bool:
    return all(character in "0123456789abcdef" for character in key[:15])


def sweep(directory: int) -> None:
    """Remove temporary files whose maker is gone."""
    for name in os.listdir(directory):
        if files.is_abandoned(name):
            files.unlink(directory, name)
