"""A server of several processes on one listening socket, a thread for each connection.

The parent holds the socket and no connection: it forks the workers, forks again for one that dies, and ends them.
A pipe whose write end the parent alone has tells the workers of its end, however it ends: they stop listening,
finish what they answer, and leave.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import ssl
import threading
import time
import traceback

from sampan.http.connection import Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.http.connection import Handler

GRACE = 10.0  # seconds that requests have to finish when the server ends
_BREATH = 0.5  # seconds before workers that did not live that long are replaced
_PAUSE = 0.05  # seconds before a worker that can take no connection looks again
_STACK = 512 << 10
_DESCRIPTORS = 1 << 16
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


class Server:
    """workers: processes; connections: at most so many in each.  `work` makes the handler, in each worker."""

    def __init__(
        self,
        listener: socket.socket,
        work: Callable[[], Handler],
        *,
        workers: int,
        connections: int,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._listener, self._work, self._context = listener, work, context
        self._workers, self._connections = workers, connections
        self._lifeline = self._held = -1

    def run(self, ready: Callable[[], object]) -> None:
        """Serve until SIGTERM or SIGINT; `ready` is called when connections are accepted."""
        _allow_descriptors()
        self._lifeline, self._held = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        children: dict[int, float] = {}
        try:
            for _ in range(self._workers):
                self._fork(children)
            ready()
            while signal.sigwait(_SIGNALS) == signal.SIGCHLD:
                self._replace(children)
        finally:
            self._listener.close()
            os.close(self._held)
            _await(children)
            os.close(self._lifeline)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _replace(self, children: dict[int, float]) -> None:
        begun = [children.pop(pid) for pid in _reaped(children)]
        if any(time.monotonic() - one < _BREATH for one in begun):
            time.sleep(_BREATH)
        for _ in begun:
            self._fork(children)

    def _fork(self, children: dict[int, float]) -> None:
        pid = os.fork()
        if pid:
            children[pid] = time.monotonic()
            return
        status = 1
        try:
            os.close(self._held)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            _Worker(self._listener, self._work(), self._context, self._connections).run(
                self._lifeline
            )
            status = 0
        except BaseException:
            traceback.print_exc()  # a fault of ours; the parent tries again
        finally:
            os._exit(status)


class _Worker:
    def __init__(
        self,
        listener: socket.socket,
        handler: Handler,
        context: ssl.SSLContext | None,
        connections: int,
    ) -> None:
        self._listener, self._handler, self._context = listener, handler, context
        self._free = threading.BoundedSemaphore(connections)
        self._open: set[Connection] = set()
        self._lock = threading.Lock()

    def run(self, lifeline: int) -> None:
        threading.stack_size(_STACK)
        self._listener.setblocking(False)
        poll = select.poll()
        poll.register(lifeline, select.POLLIN)
        poll.register(self._listener, select.POLLIN)
        while lifeline not in (ready := dict(poll.poll())):
            if self._listener.fileno() in ready:
                self._accept()
        self._listener.close()
        self._finish()

    def _accept(self) -> None:
        """Take one connection; a worker that has its fill leaves them to the others."""
        if not self._free.acquire(timeout=_PAUSE):
            return
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:  # another worker was first
            self._free.release()
            return
        except OSError:  # the client is gone already, or no descriptor is left
            self._free.release()
            time.sleep(_PAUSE)
            return
        threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        connection: Connection | None = None
        try:
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock.settimeout(10.0)
                sock = self._context.wrap_socket(sock, server_side=True)
            connection = Connection(sock)
            with self._lock:
                self._open.add(connection)
            connection.serve(self._handler)
        except OSError:
            sock.close()  # no TLS, or gone before it began
        finally:
            if connection is not None:
                with self._lock:
                    self._open.discard(connection)
            self._free.release()

    def _finish(self) -> None:
        until = time.monotonic() + GRACE
        while time.monotonic() < until:
            with self._lock:
                connections = list(self._open)
            if not connections:
                return
            for connection in connections:
                connection.end()
            time.sleep(0.02)


def _allow_descriptors() -> None:
    """Each connection takes a few descriptors; the soft limit is for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _reaped(children: dict[int, float]) -> list[int]:
    """The workers that have ended."""
    found: list[int] = []
    for pid in children:
        if os.waitpid(pid, os.WNOHANG)[0]:
            found.append(pid)
    return found


def _await(children: dict[int, float]) -> None:
    """Wait until the workers have left; those that do not are killed."""
    until = time.monotonic() + GRACE + 1
    while children:
        for pid in _reaped(children):
            del children[pid]
        if time.monotonic() > until:
            for pid in children:
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
