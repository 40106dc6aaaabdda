"""What a layer's directory could not hold: owners outside the map, devices, refused attributes.

With one uid every file belongs to the user, and without privilege no device can be made.  Nothing
is lost: it stands in a file beside the layer's record, one JSON object a line, so that a commit or
push reproduces the layer.  Paths are UTF-8 with other bytes as lone surrogates (\\udcXX), as
Python's surrogateescape makes them; the file itself is ASCII.  Of two lines with one path the last
one counts; {"path": P} alone takes it back.
"""

from __future__ import annotations

import base64
import json
import os

from sampan import files
from sampan.errors import CorruptError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SIZE = 1 << 30
FLUSH = 1 << 16


class Extra:
    """The true metadata of one path; None is what the directory tells rightly."""

    __slots__ = ("gid", "major", "minor", "mode", "type", "uid", "xattrs")

    def __init__(
        self,
        kind: str,
        uid: int,
        gid: int,
        mode: int,
        major: int,
        minor: int,
        xattrs: dict[bytes, bytes],
    ) -> None:
        self.type, self.uid, self.gid, self.mode = kind, uid, gid, mode
        self.major, self.minor, self.xattrs = major, minor, xattrs


def encode_path(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def decode_path(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class SidecarWriter:
    """Appends records to a descriptor; `count` of them were written."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pending: list[str] = []
        self._size = 0
        self.count = 0

    def add(
        self,
        path: bytes,
        *,
        kind: str,
        uid: int,
        gid: int,
        mode: int,
        major: int = 0,
        minor: int = 0,
        xattrs: Mapping[bytes, bytes] | None = None,
    ) -> None:
        record: dict[str, object] = {
            "path": encode_path(path), "type": kind, "uid": uid, "gid": gid, "mode": mode
        }  # fmt: skip
        if major or minor:
            record["dev"] = [major, minor]
        if xattrs:
            record["xattrs"] = {
                encode_path(key): base64.b64encode(value).decode() for key, value in xattrs.items()
            }
        self._write(record)

    def add_extra(self, path: bytes, extra: Extra) -> None:
        """Write again what was read."""
        self.add(
            path, kind=extra.type, uid=extra.uid, gid=extra.gid, mode=extra.mode,
            major=extra.major, minor=extra.minor, xattrs=extra.xattrs,
        )  # fmt: skip

    def forget(self, path: bytes) -> None:
        """The path was replaced by a later entry of the layer."""
        if self.count:
            self._write({"path": encode_path(path)})

    def _write(self, record: dict[str, object]) -> None:
        line = json.dumps(record, separators=(",", ":")) + "\n"
        self._pending.append(line)
        self._size += len(line)
        self.count += 1
        if self._size >= FLUSH:
            self.flush()

    def flush(self) -> None:
        files.write_all(self._fd, "".join(self._pending).encode("ascii"))
        self._pending.clear()
        self._size = 0


def read(dir_fd: int, name: str) -> dict[bytes, Extra]:
    """The records of a sidecar file by path."""
    return parse(files.read(dir_fd, name, MAX_SIZE), name)


def parse(data: bytes, name: str) -> dict[bytes, Extra]:
    found: dict[bytes, Extra] = {}
    for line in data.splitlines():
        try:
            record = json.loads(line)
            path = decode_path(record["path"])
            if "type" not in record:
                found.pop(path, None)
                continue
            major, minor = record.get("dev", (0, 0))
            attributes = {
                decode_path(key): base64.b64decode(value)
                for key, value in record.get("xattrs", {}).items()
            }
            found[path] = Extra(
                str(record["type"]), int(record["uid"]), int(record["gid"]), int(record["mode"]),
                int(major), int(minor), attributes,
            )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CorruptError(
                f"cannot read {name}", "a line of it is malformed", "pull the image again"
            ) from None
    return found


def create(dir_fd: int) -> tuple[int, str]:
    """A descriptor and the temporary name of a new sidecar."""
    name = files.temporary_name()
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=dir_fd), name
