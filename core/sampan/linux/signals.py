"""Signal dispositions without the `signal` module, whose enumerations take a millisecond to make."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found,unused-ignore]  # pyright: ignore[reportMissingImports]
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SIGALRM, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT = 14, 1, 2, 9, 13, 3
SIGTERM, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH = 15, 22, 10, 12, 28
_UNCHANGEABLE = (9, 19, 32, 33)  # KILL, STOP, and the C library's own

_get: Callable[[int], Any] = _signal.getsignal  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_set: Callable[[int, Any], Any] = _signal.signal  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_mask: Callable[[int, tuple[int, ...]], Any] = _signal.pthread_sigmask  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_SIG_SETMASK = 2
_DEFAULT, _IGNORE = 0, 1


def handle(number: int, handler: Callable[[int, object], None]) -> None:
    _set(number, handler)


def wakeup() -> int:
    """A descriptor that can be read when a signal has come.

    A handler runs between two steps of the interpreter: for a signal that comes just before poll(2) is entered,
    that would be when poll returns.  So whoever waits in poll for signals, too, watches this (signal.set_wakeup_fd).
    """
    readable, writable = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    _signal.set_wakeup_fd(writable, warn_on_full_buffer=False)  # pyright: ignore[reportUnknownMemberType]
    return readable


def ignore(number: int) -> None:
    _set(number, _IGNORE)


def default(number: int) -> None:
    _set(number, _DEFAULT)


def reset_all() -> None:
    """Default dispositions and an empty mask, as an executed program expects.

    Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays so across exec.
    """
    for number in range(1, 65):
        if number not in _UNCHANGEABLE and _get(number) != _DEFAULT:
            _set(number, _DEFAULT)
    _mask(_SIG_SETMASK, ())
