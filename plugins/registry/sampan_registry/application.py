"""From a request to its answer: who asks, what is asked of which repository, and what went wrong."""

from __future__ import annotations

import errno
import re
import time

from sampan.errors import SampanError, UsageError
from sampan.http.connection import GoneError, Response
from sampan.http.listen import UNIX, names_loopback
from sampan_registry import blobs, manifests
from sampan_registry.answers import Call, RefusedError, document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.drivers import RegistryHost, ServeRequest
    from sampan.http.basic import Htpasswd
    from sampan.http.connection import Request

    Action = Callable[[Call], Response]

ROUTES: tuple[tuple[re.Pattern[str], dict[str, Action]], ...] = (
    (re.compile(r"/v2/(.+)/blobs/uploads/?"), {"POST": blobs.begin}),
    (
        re.compile(r"/v2/(.+)/blobs/uploads/([^/]+)"),
        {"GET": blobs.status, "PATCH": blobs.chunk, "PUT": blobs.finish, "DELETE": blobs.cancel},
    ),
    (
        re.compile(r"/v2/(.+)/blobs/([^/]+)"),
        {"GET": blobs.get, "HEAD": blobs.get, "DELETE": blobs.delete},
    ),
    (
        re.compile(r"/v2/(.+)/manifests/([^/]+)"),
        {
            "GET": manifests.get,
            "HEAD": manifests.get,
            "PUT": manifests.put,
            "DELETE": manifests.delete,
        },
    ),
    (re.compile(r"/v2/(.+)/tags/list"), {"GET": manifests.tags, "HEAD": manifests.tags}),
    (
        re.compile(r"/v2/(.+)/referrers/([^/]+)"),
        {"GET": manifests.referrers, "HEAD": manifests.referrers},
    ),
)
WRITES = ("POST", "PUT", "PATCH", "DELETE")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Application:
    """The handler of a worker. `changed` is called after what may have left space to be given back."""

    def __init__(
        self,
        host: RegistryHost,
        options: ServeRequest,
        users: Htpasswd | None,
        changed: Callable[[], object],
    ) -> None:
        self._host, self._options, self._users = host, options, users
        self._changed = changed
        # A web page may have a name of its own point here, and its reader's browser would let it read the answers.
        self._guarded_names = (
            users is None and not options.insecure and not options.listen.startswith(UNIX)
        )

    def __call__(self, request: Request) -> Response:
        begun = time.monotonic()
        try:
            response = self._guarded(request)
        except GoneError as error:
            self._host.log("debug", f"{_shown(request)}: the client has gone: {error}")
            raise
        response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        milliseconds = (time.monotonic() - begun) * 1000
        line = f"{_shown(request)} {response.status} {len(response.body)} {milliseconds:.1f}ms"
        self._host.log("debug", line)
        return response

    def _guarded(self, request: Request) -> Response:
        try:
            return self._answer(request)
        except RefusedError as error:
            return error.response()
        except OSError as error:
            self._host.log("error", f"Error: {_shown(request)}: {error}")
            status, why = (
                (507, "no space is left") if error.errno in _NO_SPACE else (500, "it failed")
            )
            return RefusedError(
                status, "UNSUPPORTED", f"{why}; the server's log has more"
            ).response()
        except GoneError:
            raise
        except Exception as error:  # one request that fails must not take the others with it
            kind = "" if isinstance(error, SampanError) else f"{type(error).__name__}: "
            self._host.log("error", f"Error: {_shown(request)}: {kind}{error}")
            return RefusedError(
                500, "UNSUPPORTED", "it failed; the server's log has more"
            ).response()

    def _answer(self, request: Request) -> Response:
        self._admit(request)
        if request.path in ("/v2/", "/v2"):
            return document({})
        if request.path == "/v2/_catalog":
            found, headers = manifests.page(request, self._host.names(), "/v2/_catalog")
            return document({"repositories": found}, headers=headers)
        for pattern, actions in ROUTES:
            if match := pattern.fullmatch(request.path):
                return self._routed(request, actions, *match.groups())
        raise RefusedError(404, "NAME_INVALID", "there is nothing at this path")

    def _routed(
        self, request: Request, actions: dict[str, Action], name: str, *words: str
    ) -> Response:
        if request.method not in actions:
            allowed = {"Allow": ", ".join(actions)}
            raise RefusedError(
                405, "UNSUPPORTED", f"{request.method} is not for this path", allowed
            )
        if self._options.read_only and request.method in WRITES:
            raise RefusedError(405, "UNSUPPORTED", "this registry is served for reading only")
        try:
            repository = self._host.repository(name)
        except UsageError as error:
            raise RefusedError(400, "NAME_INVALID", str(error)) from None
        call = Call(request, repository, self._options, words)
        response = actions[request.method](call)
        if call.changed:
            self._changed()
        return response

    def _admit(self, request: Request) -> None:
        if self._guarded_names and not names_loopback(request.headers.get("host", "localhost")):
            why = (
                "without --htpasswd this registry answers to localhost and loopback addresses alone"
            )
            raise RefusedError(421, "DENIED", why)
        if self._users is None or self._users.admits(request.headers.get("authorization", "")):
            return
        challenge = {"WWW-Authenticate": 'Basic realm="sampan"'}
        raise RefusedError(401, "UNAUTHORIZED", "name and password are needed", challenge)


def _shown(request: Request) -> str:
    """The request for the log; what a stranger wrote cannot begin a line of its own."""
    path = request.path if request.path.isprintable() else ascii(request.path)
    return f"{request.method} {path[:512]}"
