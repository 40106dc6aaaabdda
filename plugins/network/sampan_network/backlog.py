"""Room for bursts of connections at the ports of slirp4netns.

It listens with room for one connection that it has not accepted yet; of twenty that come at once some wait a second or
three until their first packet is sent again.  To listen once more on a socket changes its room, and whoever may trace
a process may share its sockets (pidfd_getfd(2), Linux 5.6).  Where that is forbidden it stays as it is.
"""

from __future__ import annotations

import _socket
import os

from sampan.linux import libc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sampan_network.helper import Helper

ROOM = 4096  # or net.core.somaxconn, if that is less


def widen(helper: Helper) -> None:
    """All sockets at which it listens to the network."""
    for number in _sockets(helper.pid):
        try:
            fd = libc.pidfd_getfd(helper.pidfd, number)
        except OSError:  # it is gone, or we may not
            return
        _widen(_socket.socket(fileno=fd))


def _widen(sock: _socket.socket) -> None:
    try:
        listening = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ACCEPTCONN)
        if listening and sock.family in (_socket.AF_INET, _socket.AF_INET6):
            sock.listen(ROOM)
    except OSError:
        return
    finally:
        sock.close()


def _sockets(pid: int) -> Iterator[int]:
    """The numbers of the descriptors that are sockets."""
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                yield int(name)
    except OSError:
        return
