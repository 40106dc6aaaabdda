"""The caller's side of `unpack`: submit blobs from any thread, then wait for the layers."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading

from sampan import jsontext
from sampan.errors import SampanError
from sampan.store import records, unpack, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from sampan.store.jobs import Plan

PATIENCE = 60.0  # seconds for a worker to take back what is half made

NOTICES = {
    "owners": "{n} files of other owners are shown as root's; the owners are kept on record",
    "devices": "{n} device nodes were not made; they are kept on record",
    "attributes": "{n} files have attributes that cannot be set here; they are kept on record",
    "duplicates": "{n} entries of a layer replaced earlier ones of the same name",
    "trailing": "{n} blobs have bytes after their compressed data, which were not read",
}


class Unpacker:
    """`with store.unpacker(chain) as unpacker: unpacker.submit(0, fd); ...; unpacker.finish()`.

    Left without `finish`, or with an error, the layers that were not complete are gone.
    """

    def __init__(self, plan: Plan, on_done: Callable[[int], None] | None) -> None:
        self._plan, self._on_done = plan, on_done
        self._lock = threading.Lock()
        self._socket: socket.socket
        self._pid = self._pidfd = -1
        self._counts = dict.fromkeys(NOTICES, 0)
        self._ended = False

    def __enter__(self) -> Unpacker:
        records.sweep(self._plan.directory)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                self._socket.close()
                unpack.serve(self._plan, theirs)
                status = 0
            finally:
                os._exit(status)
        theirs.close()
        self._pidfd = os.pidfd_open(self._pid)
        return self

    def submit(self, index: int, fd: int, span: tuple[int, int] | None = None) -> None:
        """Unpack the layer `index` of the chain from the blob `fd`, which may be closed afterwards.

        span: (offset, size) of the blob within the file.  Raises what a layer before has failed with.
        """
        message = jsontext.dumps({"submit": index, "span": span}).encode()
        with self._lock:
            while _ready(self._socket.fileno(), 0):
                self._hear()
            try:
                socket.send_fds(self._socket, [message], [fd])
            except (BrokenPipeError, ConnectionResetError):
                self._hear_all()

    def finish(self) -> list[str]:
        """Wait for all that was submitted; lines to tell the user. Raises the first failure."""
        with self._lock:
            try:
                self._socket.send(b'{"finish": true}')
            except (BrokenPipeError, ConnectionResetError):
                pass
            self._hear_all()
        return [
            text.format(n=self._counts[key]) for key, text in NOTICES.items() if self._counts[key]
        ]

    def _hear_all(self) -> None:
        while not self._ended:
            self._hear()

    def _hear(self) -> None:
        try:
            data = self._socket.recv(wire.MESSAGE)
        except ConnectionResetError:
            data = b""
        if not data:
            raise SampanError("cannot unpack the image", "the process that unpacks it died")
        message = jsontext.loads(data)
        if "error" in message:
            raise wire.revive(message["error"])
        if "done" in message:
            for key, count in message["notices"].items():
                self._counts[key] += count
            if self._on_done is not None:
                self._on_done(int(message["done"]))
        self._ended = self._ended or "end" in message

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()  # the worker sees it, and cleans up
        if not _ready(self._pidfd, PATIENCE):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._pidfd)


def _ready(fd: int, seconds: float) -> bool:
    """Whether the descriptor can be read within that time."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
