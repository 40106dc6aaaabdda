"""Messages with descriptors between processes: SOCK_SEQPACKET keeps their borders (unix(7)).

`_socket` is used as it is: the `socket` module's import takes as long as making a user namespace.
"""

from __future__ import annotations

import _socket
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

Socket = _socket.socket
SEQPACKET = getattr(_socket, "SOCK_SEQPACKET", 5)
MAXIMUM = 160 << 10  # below the default send buffer


def pair() -> tuple[Socket, Socket]:
    a, b = _socket.socketpair(_socket.AF_UNIX, SEQPACKET, 0)
    return a, b


def of(fd: int) -> Socket:
    """The socket of a descriptor, which it now owns."""
    return _socket.socket(_socket.AF_UNIX, SEQPACKET, 0, fd)


def send(sock: Socket, data: bytes, fds: Sequence[int] = ()) -> None:
    ancillary = []
    if fds:
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]
    sock.sendmsg([data], ancillary, _socket.MSG_NOSIGNAL)


def receive(sock: Socket, maximum_fds: int = 0) -> tuple[bytes, list[int]]:
    """A message and its descriptors (close-on-exec); b"" at the end."""
    space = _socket.CMSG_SPACE(4 * maximum_fds) if maximum_fds else 0
    data, ancillary, _, _ = sock.recvmsg(MAXIMUM, space, 0x40000000)  # MSG_CMSG_CLOEXEC
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            count = len(content) // 4
            fds += struct.unpack(f"{count}i", content[: count * 4])
    return data, fds


def listen(directory_fd: int, name: str) -> Socket:
    """A listening path socket in the directory, whatever the length of its path."""
    sock = _socket.socket(_socket.AF_UNIX, SEQPACKET, 0)
    try:
        os.unlink(name, dir_fd=directory_fd)
    except FileNotFoundError:
        pass
    sock.bind(f"/proc/self/fd/{directory_fd}/{name}")
    sock.listen(16)
    return sock


def connect(directory_fd: int, name: str) -> Socket:
    sock = _socket.socket(_socket.AF_UNIX, SEQPACKET, 0)
    sock.connect(f"/proc/self/fd/{directory_fd}/{name}")
    return sock


def accept(sock: Socket) -> Socket:
    return of(sock._accept()[0])  # type: ignore[attr-defined]  # pyright: ignore
