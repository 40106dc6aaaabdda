"""Messages between the caller, the worker and its children: JSON, and errors in it."""

from __future__ import annotations

from sampan import errors, jsontext
from sampan.errors import SampanError, from_os_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

MESSAGE = 1 << 18  # bytes of the longest
FDS = 200  # descriptors a message: SCM_MAX_FD is 253


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    channel.send(jsontext.dumps(message).encode())


def describe(error: BaseException) -> list[Any]:
    """An error as data for another process."""
    if isinstance(error, SampanError):
        return [type(error).__name__, error.what, error.why, error.hint, error.exit_status]
    if isinstance(error, MemoryError):
        return ["LimitError", "cannot unpack the layer", "it needs too much memory", "", 125]
    if isinstance(error, OSError):
        told = from_os_error("cannot unpack the layer", error)
        return ["SampanError", told.what, told.why[:500], told.hint, told.exit_status]
    text = f"{type(error).__name__}: {error}"[:500]
    return ["SampanError", "cannot unpack the layer", text, "", 125]


def revive(told: list[Any]) -> SampanError:
    """The error that `describe` wrote down."""
    kind, what, why, hint, status = told
    found = getattr(errors, str(kind), SampanError)
    if not (isinstance(found, type) and issubclass(found, SampanError)):
        found = SampanError
    return found(what, why, hint, exit_status=status)
