"""Basic authentication against an htpasswd file whose hashes are bcrypt's (RFC 7617)."""

from __future__ import annotations

import base64
import hmac
import os
import threading
import time

import bcrypt

from sampan import files
from sampan.errors import SampanError

LIMIT = 4 << 20
KNOWN = 1024  # checked pairs that are remembered
SECONDS = 60.0  # for so long
_AT_ONCE = 2  # hashes are slow on purpose: more at once would starve the transfers
_WIDEST = 72  # bytes of a password that bcrypt reads
_COSTS = range(4, 17)


class Htpasswd:
    """Names and passwords of a file, which is read again when it changes."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._key = os.urandom(32)
        self._known: dict[bytes, float] = {}
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(_AT_ONCE)
        self._stamp: tuple[int, int, int] | None = None
        self._hashes: dict[str, bytes] = {}
        # Checked for an unknown name, which so takes as long as a wrong password.
        self._nobodys = b""
        self._refresh()

    def admits(self, authorization: str) -> bool:
        """Whether the value of an Authorization header names a user with the right password."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            name, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
            user = name.decode()
        except ValueError:
            return False
        self._refresh()
        # Only a keyed digest is kept, and looked up by it: no comparison tells of a password.  Each reading of
        # the file has a key of its own, so what is checked against an earlier one is not remembered for this.
        seen = hmac.digest(self._key, name + b":" + password, "sha256")
        with self._lock:
            if self._known.get(seen, 0.0) > time.monotonic():
                return True
        hashed = self._hashes.get(user)
        with self._slots:
            right = bcrypt.checkpw(password[:_WIDEST], hashed or self._nobodys)
        if not (colon and right and hashed):
            return False
        with self._lock:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[seen] = time.monotonic() + SECONDS
        return True

    def _refresh(self) -> None:
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino, status.st_size)
            if stamp == self._stamp:
                return
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = files.read_fd(fd, self._path, LIMIT)
            finally:
                os.close(fd)
        except OSError as error:
            raise SampanError(f"cannot read {self._path}", error.strerror or str(error)) from None
        hashes = parse(data.decode(errors="replace"), self._path)
        cost = max((int(hashed.split(b"$")[2]) for hashed in hashes.values()), default=_COSTS[0])
        nobodys = bcrypt.hashpw(os.urandom(16), bcrypt.gensalt(cost))
        with self._lock:
            self._hashes, self._nobodys, self._stamp = hashes, nobodys, stamp
            self._key = os.urandom(32)
            self._known.clear()


def parse(text: str, path: str) -> dict[str, bytes]:
    """NAME:HASH lines; a hash that is not bcrypt's is refused, for the others can be guessed."""
    found: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, hashed = line.strip().partition(":")
        parts = hashed.split("$")
        if (
            len(hashed) != 60
            or not hashed.isascii()
            or parts[1] not in ("2a", "2b", "2y")
            or not parts[2].isdigit()
            or int(parts[2]) not in _COSTS
        ):
            raise SampanError(
                f"{path}, line {number}",
                f"the password of {name!r} is not hashed with bcrypt at a cost of 4 to 16",
                f"htpasswd -B {path} {name}",
            )
        found[name] = hashed.encode()
    return found
