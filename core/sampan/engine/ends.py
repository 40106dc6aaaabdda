"""The standard streams of a container: the ends that it gets, and ours, which the monitor pumps."""

from __future__ import annotations

import os

from sampan.engine.streams import Client, Streams
from sampan.linux import sockets
from sampan.model.contract import Io

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine.journal import JournalWriter
    from sampan.engine.logfile import LogWriter


class Ends:
    """For one run after another: `open` makes the container's ends, `streams` takes ours."""

    def __init__(self, client: list[int], kept: list[int], *, tty: bool, stdin: bool) -> None:
        """client: its stdin, stdout and stderr.  kept: further descriptors that the first run gets."""
        self._client, self._kept = client, tuple(kept)
        self._tty, self._stdin = tty, stdin
        self.master = -1  # of the terminal

    def open(self) -> Io:
        """The container's ends, which the caller closes."""
        keep, self._kept = self._kept, ()
        if self._tty:
            self._console, theirs = sockets.pair()
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            return Io(null, null, null, theirs.detach(), keep)
        self._out, out = os.pipe()
        self._err, err = os.pipe()
        if self._stdin:
            source, self._in = os.pipe()
        else:
            source, self._in = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), -1
        return Io(source, out, err, -1, keep)

    def streams(self, log: LogWriter | JournalWriter, attached: sockets.Socket | None) -> Streams:
        """attached: the connection of the client that has the first run's streams, if one has them."""
        if self._tty:
            _, (self.master,) = sockets.receive(self._console, 1)
            self._console.close()
            source = self.master if self._stdin else -1
            found = Streams({self.master: b"stdout"}, source, log, tty=True)
        else:
            ours = {self._out: b"stdout", self._err: b"stderr"}
            found = Streams(ours, self._in, log, tty=False)
        client, self._client = self._client, []
        if attached is not None:
            found.clients.append(Client(attached, client, self._stdin))
        else:
            for fd in client:
                os.close(fd)
        return found
