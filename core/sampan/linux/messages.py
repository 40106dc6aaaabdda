"""The words between processes of sampan: one JSON object a message, with descriptors."""

from __future__ import annotations

from sampan import jsontext
from sampan.linux import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def send(sock: sockets.Socket, message: dict[str, Any], fds: Sequence[int] = ()) -> bool:
    """Tell the other side; False if it is gone."""
    try:
        sockets.send(sock, jsontext.dumps(message).encode(), fds)
    except OSError:
        return False
    return True


def receive(sock: sockets.Socket, fds: int = 0) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message with its descriptors; None when the other side is gone."""
    try:
        data, received = sockets.receive(sock, fds)
    except ConnectionResetError:  # it left our last message unread; its own may still be here
        try:
            data, received = sockets.receive(sock, fds)
        except ConnectionResetError:
            return None, []
    return (jsontext.loads(data) if data else None), received
