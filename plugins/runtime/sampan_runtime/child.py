"""What the processes of `create` and `exec` share: how they report, and how they place descriptors."""

from __future__ import annotations

import fcntl
import os

from sampan import jsontext
from sampan.errors import SampanError, from_report, to_report
from sampan.linux import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


LISTENER = b"listener"


def in_child(sock: sockets.Socket, action: Callable[[], object]) -> NoReturn:
    """Run the action, which executes a program; what goes wrong before is told over the socket."""
    try:
        action()
    except BaseException as error:
        tell(sock, error)
    finally:
        os._exit(125)


def tell(sock: sockets.Socket, error: BaseException) -> None:
    """Report an error over the socket."""
    sockets.send(sock, jsontext.dumps(to_report(error, "cannot make the container")).encode())


def told(data: bytes) -> SampanError:
    return from_report(jsontext.loads(data))


def expect_executed(sock: sockets.Socket, pid: int) -> int:
    """The socket closes when the program is executed; before that it tells why it could not be.

    Returns the listener of its seccomp filter, -1 if it has none.
    """
    listener = -1
    data, fds = sockets.receive(sock, 1)
    if data == LISTENER:
        listener = fds[0]
        data, _ = sockets.receive(sock)
    sock.close()
    if data:
        os.waitpid(pid, 0)
        raise told(data)
    return listener


def open_cgroup(linux: dict[str, Any]) -> int:
    """The directory in which the container's processes begin; -1 if the document names none."""
    path: str = linux.get("cgroupsPath") or ""
    if not path:
        return -1
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SampanError(
            f"cannot start in the cgroup {path}", error.strerror or "", "start the container again"
        ) from None


def place_streams(wanted: tuple[int, ...]) -> None:
    """Make the given descriptors 0, 1, 2, ...; none is overwritten before it was copied."""
    high = [move_up(fd, 3 + len(wanted)) for fd in wanted]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
        os.close(fd)


def move_up(fd: int, lowest: int) -> int:
    """A copy of the descriptor, close-on-exec, above what the program will get."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, lowest + 64)
