"""The plugin `distribution`: the registry's server; see `sampan.drivers.RegistryServer`."""

from __future__ import annotations

import threading
import time

from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.drivers import DriverContext, Probe, RegistryHost, ServeRequest
    from sampan.http.connection import Handler

TIDY_SECONDS = 600.0
_SETTLE = 1.0  # seconds after a deletion: more of them may follow


class Distribution:
    """The registry's server."""

    name = "distribution"

    def serve(
        self, request: ServeRequest, host: RegistryHost, ready: Callable[[str], object]
    ) -> None:
        from sampan.http import listen
        from sampan.http.basic import Htpasswd
        from sampan.http.server import Server

        _check(request)
        context = listen.tls(*request.tls) if request.tls else None
        users = Htpasswd(request.htpasswd) if request.htpasswd else None
        listener = listen.listen(request.listen)

        def work() -> Handler:
            from sampan_registry.application import Application

            return Application(host, request, users, _Tidying(host).soon)

        Server(
            listener,
            work,
            workers=request.workers,
            connections=request.connections,
            context=context,
        ).run(lambda: ready(listen.shown(listener)))


class _Tidying(threading.Thread):
    """Gives space back from time to time, and soon after deletions; the host sees to it that one process does."""

    def __init__(self, host: RegistryHost) -> None:
        super().__init__(daemon=True)
        self._host, self._wanted = host, threading.Event()
        self.start()

    def soon(self) -> None:
        self._wanted.set()

    def run(self) -> None:
        while True:
            if self._wanted.wait(TIDY_SECONDS):
                self._wanted.clear()
                time.sleep(_SETTLE)
            try:
                self._host.tidy()
            except Exception as error:  # the next round tries again
                self._host.log("error", f"Error: cannot give space back: {error}")


def _check(request: ServeRequest) -> None:
    """Who can reach the registry and do everything in it has to be meant."""
    from sampan.http.listen import is_local

    if request.insecure or is_local(request.listen) or (request.tls and request.htpasswd):
        return
    lacking = [
        *(["--tls-cert and --tls-key"] if not request.tls else []),
        *(["--htpasswd"] if not request.htpasswd else []),
    ]
    raise UsageError(
        f"cannot listen on {request.listen}",
        "other machines could read and change everything, or listen in",
        f"give {' and '.join(lacking)}, or say --insecure-listen",
    )


def sampan_registry(context: DriverContext) -> Distribution:
    return Distribution()


def sampan_probe(context: DriverContext) -> Probe:
    from sampan.model.contract import Probe

    return Probe(True, "needs nothing", rank=1)
