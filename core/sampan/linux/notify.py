"""System calls that another process is asked about: seccomp's user notification (seccomp_unotify(2))."""

from __future__ import annotations

import fcntl
import os
import struct

from sampan.linux import libc
from sampan.linux.paths import O_PATH, RESOLVE_IN_ROOT, openat2

_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # struct seccomp_notif has 80 bytes, the answer 24
_NOTICE = struct.Struct("<QIIiIQ6Q")  # id, pid, flags; number, architecture, instruction, arguments
_ANSWER = struct.Struct("<QqiI")
_NUMBERS = (
    {92: "chown", 93: "fchown", 94: "lchown", 260: "fchownat"}
    if os.uname().machine == "x86_64"
    else {54: "fchownat", 55: "fchown"}
)
_AT_FDCWD = 0xFFFFFF9C
_NOFOLLOW, _EMPTY_PATH = 0x100, 0x1000
_PATH_MAX, _PAGE = 4096, 4096
_BIRTH = 0x800


class Chown:
    """A call of chown(2) or one of its like, whose caller waits. uid, gid: -1 leaves it."""

    __slots__ = ("_name", "_number", "arguments", "gid", "pid", "uid")

    def __init__(self, number: int, pid: int, name: str, arguments: tuple[int, ...]) -> None:
        self._number, self.pid, self._name, self.arguments = number, pid, name, arguments
        first = 2 if name == "fchownat" else 1
        self.uid, self.gid = (_signed(one) for one in arguments[first : first + 2])

    def open(self) -> int:
        """A descriptor (O_PATH) of what it is about, resolved as the caller would. OSError is the call's."""
        directory, address, flags = _AT_FDCWD, self.arguments[0], 0
        if self._name == "fchown":
            return self._of_process(f"fd/{_signed(self.arguments[0])}")
        if self._name == "lchown":
            flags = _NOFOLLOW
        elif self._name == "fchownat":
            directory, address = self.arguments[0] & 0xFFFFFFFF, self.arguments[1]
            flags = self.arguments[4]
        path = self._text(address)
        if not path and flags & _EMPTY_PATH:
            return self._of_process(f"fd/{directory}")
        if not path.startswith(b"/"):
            base = "cwd" if directory == _AT_FDCWD else f"fd/{_signed(directory)}"
            path = os.readlink(f"/proc/{self.pid}/{base}".encode()) + b"/" + path
        root = self._of_process("root")
        try:
            follow = os.O_NOFOLLOW if flags & _NOFOLLOW else 0
            return openat2(root, path, O_PATH | follow, RESOLVE_IN_ROOT)
        finally:
            os.close(root)

    def answer(self, listener: int, error: int = 0) -> None:
        """Let the caller go on; error: an errno. It may be gone."""
        try:
            fcntl.ioctl(listener, _SEND, bytearray(_ANSWER.pack(self._number, 0, -error, 0)))
        except FileNotFoundError:
            pass

    def _of_process(self, name: str) -> int:
        return os.open(f"/proc/{self.pid}/{name}", O_PATH)

    def _text(self, address: int) -> bytes:
        """The C string at an address of the caller."""
        memory = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = b""
            while b"\0" not in found and len(found) < _PATH_MAX:
                at = address + len(found)
                found += os.pread(memory, _PAGE - at % _PAGE, at)
            return found.partition(b"\0")[0]
        finally:
            os.close(memory)


def receive(listener: int) -> Chown | None:
    """The next call; None if its caller is gone, or it is another call."""
    buffer = bytearray(_NOTICE.size)
    try:
        fcntl.ioctl(listener, _RECEIVE, buffer)
    except FileNotFoundError:
        return None
    number, pid, _, call, _, _, *arguments = _NOTICE.unpack(buffer)
    return Chown(number, pid, _NUMBERS.get(call, "fchown"), tuple(arguments))


def birth(fd: int, path: bytes = b"") -> tuple[int, int]:
    """(inode, nanoseconds of its birth): what no later file has, too (statx(2))."""
    import ctypes

    buffer = ctypes.create_string_buffer(256)
    flags = _NOFOLLOW | (0 if path else _EMPTY_PATH)
    libc.call("statx", fd, path, flags, 0x7FF | _BIRTH, ctypes.byref(buffer), path=path)
    inode = struct.unpack_from("<Q", buffer, 32)[0]
    seconds, nanoseconds = struct.unpack_from("<qI", buffer, 80)
    return inode, seconds * 10**9 + nanoseconds


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value == 0xFFFFFFFF else value
