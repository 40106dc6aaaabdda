"""The command's side of an attached container: terminal, signals, and the wait for the end.

Output needs nothing from us, since the monitor writes to our descriptors.  Input from a terminal is read here,
so that job control applies to the reader; any other input the monitor reads itself.
"""

from __future__ import annotations

import os
import select

from sampan.engine import terminal
from sampan.errors import SampanError
from sampan.linux import messages, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine.spawn import Spawned

PROXIED = (
    signals.SIGHUP,
    signals.SIGINT,
    signals.SIGQUIT,
    signals.SIGUSR1,
    signals.SIGUSR2,
    signals.SIGALRM,
    signals.SIGTERM,
)


class Attached:
    """Descriptors to hand to the monitor, and the pump between a terminal and the container."""

    def __init__(self, *, tty: bool, stdin: bool, detach_keys: bytes = b"\x10\x11") -> None:
        self.tty, self._keys = tty, detach_keys
        self._saved: list[Any] | None = None
        self._pump = -1
        self._matched = b""
        self._signalled = -1
        source = 0
        if stdin and os.isatty(0):
            source, self._pump = os.pipe()
        self.fds = [source, 1, 2]

    def __enter__(self) -> Attached:
        if self.tty and self._pump >= 0:
            import termios
            import tty

            signals.ignore(signals.SIGTTOU)
            self._saved = termios.tcgetattr(0)
            tty.setraw(0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            self._saved = None
        if self._pump >= 0:
            os.close(self._pump)
            self._pump = -1

    def only(self, streams: list[str]) -> None:
        """Leave out what is not among `streams`: it goes to the log alone."""
        for fd, name in ((1, "stdout"), (2, "stderr")):
            if name not in streams:
                self.fds[fd] = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)

    def handed_over(self) -> None:
        """The monitor has its copies."""
        for fd in self.fds:
            if fd > 2:
                os.close(fd)

    def forward_signals(self, spawned: Spawned, *, proxy: bool = True) -> None:
        """From now on signals go to the container, which is stopped by them and not we."""

        def forward(number: int, _: object) -> None:
            _quietly(spawned, {"kind": "signal", "number": number})

        def resize(_: int, __: object) -> None:
            if size := terminal.size():
                _quietly(spawned, {"kind": "resize", "rows": size[0], "columns": size[1]})

        if self._signalled >= 0:
            return
        self._signalled = signals.wakeup()
        if proxy:
            for number in PROXIED:
                signals.handle(number, forward)
        if self.tty:
            signals.handle(signals.SIGWINCH, resize)

    def wait(self, spawned: Spawned) -> int | None:
        """The container's exit code; None if the user detached."""
        poll = select.poll()
        poll.register(spawned.sock.fileno(), select.POLLIN)
        if self._pump >= 0:
            poll.register(0, select.POLLIN)
        if self._signalled >= 0:
            poll.register(self._signalled, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._signalled:
                    os.read(fd, 512)  # the handler has run by now
                    continue
                if fd == 0:
                    if self._take_input(poll):
                        return None
                    continue
                message = spawned.receive()
                if message is None:
                    raise SampanError(
                        "the container's monitor ended unexpectedly",
                        "it was killed, and the container with it",
                        "sampan ps -a shows its state",
                    )
                if message["kind"] == "exit":
                    return int(message["code"])
                if message["kind"] == "broken":
                    self.__exit__()
                    signals.default(signals.SIGPIPE)
                    os.kill(os.getpid(), signals.SIGPIPE)

    def _take_input(self, poll: select.poll) -> bool:
        """Move what was typed; True if it was the detach keys."""
        try:
            data = os.read(0, 4096)
        except OSError:
            data = b""
        if data and self.tty and self._keys:
            data, detached = self._scan(data)
            if detached:
                return True
            if not data:
                return False
        try:
            if data:
                os.write(self._pump, data)
                return False
        except OSError:  # the container is gone; its end is on the way
            pass
        poll.unregister(0)
        if not self.tty:
            os.close(self._pump)
            self._pump = -1
        return False

    def _scan(self, data: bytes) -> tuple[bytes, bool]:
        """Hold back what may be the beginning of the detach keys."""
        data, self._matched = self._matched + data, b""
        if self._keys in data:
            return b"", True
        for length in range(len(self._keys) - 1, 0, -1):
            if data.endswith(self._keys[:length]):
                self._matched = data[-length:]
                return data[:-length], False
        return data, False


def _quietly(spawned: Spawned, message: dict[str, Any]) -> None:
    """If the monitor is gone its last message is on the way: that one is `wait`'s to read."""
    messages.send(spawned.sock, message)


def parse_keys(text: str) -> bytes:
    """The bytes of `ctrl-p,ctrl-q` or `a,b`; an empty text means none."""
    keys = b""
    for part in text.split(",") if text else ():
        if (
            part.startswith("ctrl-")
            and len(part) == 6
            and ("a" <= part[5] <= "z" or part[5] in "@[\\]^_")
        ):
            keys += bytes([ord(part[5].upper()) & 0x1F])
        elif len(part) == 1:
            keys += part.encode()
        else:
            raise SampanError(
                f"invalid detach keys {text!r}", "", "letters and ctrl-LETTER, with commas"
            )
    return keys
