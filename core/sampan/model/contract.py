"""The values that cross the drivers' contracts; `drivers` gives them with the Protocols.

They stand apart because a Protocol needs `typing`, which the hot path of `run` does not import.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from sampan.linux.userns import IdMap


class DriverContext:
    """What a driver is made with.

    root_fd: the driver's own directory in the store (storage) or the store's root.  run_dir: an absolute path,
    0700, gone after a reboot.  idmap: the store's default map.  options: the plugin's configuration table.
    log: called with a line of text.
    """

    __slots__ = ("idmap", "log", "options", "root_fd", "run_dir")

    def __init__(
        self,
        root_fd: int,
        run_dir: str,
        idmap: IdMap,
        options: Mapping[str, Any],
        log: Callable[[str], None],
    ) -> None:
        self.root_fd, self.run_dir, self.idmap = root_fd, run_dir, idmap
        self.options, self.log = options, log


class Probe:
    """Whether a driver works here.  `rank` orders the usable ones for `auto`, the highest first.

    why: a text, or what finds it out when somebody asks: whether it works is asked more often.
    """

    __slots__ = ("_why", "fix", "rank", "usable")

    def __init__(
        self, usable: bool, why: str | Callable[[], str] = "", fix: str = "", rank: int = 0
    ) -> None:
        self.usable, self._why, self.fix, self.rank = usable, why, fix, rank

    @property
    def why(self) -> str:
        return self._why if isinstance(self._why, str) else self._why()


class Io:
    """Descriptors for a container's process; console: a socket that takes the pty's master, or -1.

    keep: further descriptors to pass as 3, 4, ... (--preserve-fds).
    """

    __slots__ = ("console", "keep", "stderr", "stdin", "stdout")

    def __init__(
        self, stdin: int, stdout: int, stderr: int, console: int = -1, keep: tuple[int, ...] = ()
    ) -> None:
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.console, self.keep = console, keep


class Process:
    """A created process: it waits for `start`.  pidfd is -1 where the runtime cannot give one.

    network: a socket in its network namespace, if that is its own; -1 otherwise, and where the runtime cannot give one.
    listener: once it is started, where the calls are answered that its seccomp filter asks about; -1 without any.
    """

    __slots__ = ("listener", "network", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid, self.pidfd = pid, pidfd
        self.network = self.listener = -1
