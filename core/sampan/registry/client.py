"""A client of one registry for one repository: authentication and patience over `transport`.

The distribution-spec's requests all go through `Registry.get`.  It asks without a credential
first (a public image needs none), answers one challenge per request, and keeps the Authorization
for the next ones.  Tries are repeated when the registry says "later", and the user is told of
every wait.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from urllib3.exceptions import HTTPError

from sampan.errors import CorruptError, LimitError
from sampan.model.image import is_object
from sampan.registry import auth, credentials, waiting
from sampan.registry.access import Access, Credential
from sampan.registry.config import Endpoint
from sampan.registry.errors import (
    BODY_LIMIT,
    RegistryError,
    UnreachableError,
    explain,
    printable,
)
from sampan.registry.transport import (
    Answer,
    Response,
    Transport,
    is_loopback,
    origin_of,
    shown,
    unreachable,
)

TRIES = 5
TRIES_UNASKED = 3  # of a 5xx that does not say when to come back
TOKEN_LIMIT = 64 << 10
_LATER = frozenset((429, 500, 502, 503, 504))

Note = Callable[[str], None]
Body = Callable[[], "Iterator[bytes] | bytes"]  # made anew for each try


class Registry:
    """Requests to one endpoint. Safe for threads. actions: "pull" or "pull,push", for a token that names no scope."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        access: Access = Access(),
        actions: str = "pull",
        note: Note | None = None,
        sleep: Callable[[float], None] = time.sleep,
        read_seconds: float | None = None,
    ) -> None:
        self.endpoint = endpoint
        tls_verify = access.tls_verify
        insecure = tls_verify is False or (tls_verify is None and endpoint.insecure)
        seconds = {} if read_seconds is None else {"read_seconds": read_seconds}
        self.transport = Transport(
            verify=not insecure,
            plain=insecure,
            loopback=tls_verify is not True,
            cert_dir=access.cert_dir,
            **seconds,
        )
        self._access, self._actions = access, actions
        self.sleep = sleep
        self._note = note
        self._lock = threading.RLock()  # a token is asked for with the base in hand
        self._base = ""
        self._authorization: str | None = None

    @property
    def host(self) -> str:
        return self.endpoint.host

    def note(self, text: str) -> None:
        if self._note:
            self._note(text)

    def get(self, path: str, headers: Mapping[str, str], ok: Collection[int]) -> Response:
        """GET /v2/REPOSITORY/path. The body is unread; another status raises RegistryError."""
        return self.request("GET", path, headers, ok).response

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        ok: Collection[int],
        body: Body | None = None,
        *,
        patient: bool = True,
    ) -> Answer:
        """A request for /v2/REPOSITORY/path, or for a whole URL that this registry has given as a Location.

        The answer's body is unread; another status than those of `ok` raises RegistryError.  Waits and
        tries again on 429 and 5xx if `patient`; a mirror is not waited for, since another place has the
        image.
        """
        attempt = 0
        while True:
            answer = self._ask(method, path, headers, body)
            response = answer.response
            if response.status in ok:
                return answer
            text = read_body(response, BODY_LIMIT, cut=True)
            wait = self._wait(response, text, attempt) if patient else None
            if wait is None:
                raise self._refusal(answer, text)
            self.note(f"{self.host} answers {response.status}: trying again in {wait:.1f} s")
            self.sleep(wait)
            attempt += 1

    def base(self) -> str:
        """https://HOST, or http://HOST where that is allowed and spoken."""
        with self._lock:
            if not self._base:
                self._base = self._find_base()
            return self._base

    def _find_base(self) -> str:
        """Found out by a request without any credential, where both are allowed.

        Elsewhere https is tried first.  On this machine http is: it needs no defence there, and a
        server that waits for a line of text would leave a TLS greeting unanswered.
        """
        secure, plain = (f"{scheme}://{self.host}" for scheme in ("https", "http"))
        host = urlsplit(plain).hostname or ""
        if not self.transport.may_be_plain(host):
            return secure
        if is_loopback(host):
            return plain if self._speaks(plain) else secure
        return secure if self._speaks(secure) else plain

    def _speaks(self, base: str) -> bool:
        try:
            response = self.transport.send("GET", f"{base}/v2/", {})
        except UnreachableError:
            return False
        response.close()
        # 400 is what a TLS port says to plain text
        return response.status != 400

    def _ask(self, method: str, path: str, headers: Mapping[str, str], body: Body | None) -> Answer:
        """One request, and a second one with an answer to the challenge of the first."""
        url = path if "://" in path else f"{self.base()}/v2/{self.endpoint.path}/{path}"
        # A Location may lead to another host, which gets none of this registry's credentials.
        ours = origin_of(url) == origin_of(self.base())
        sent = self._authorization if ours else None
        answer = self._send(method, url, headers, sent, body)
        if answer.response.status != 401 or not answer.same_origin or not ours:
            return answer
        text = read_body(answer.response, BODY_LIMIT, cut=True)
        challenges = auth.parse_challenges(answer.response.headers.getlist("WWW-Authenticate"))
        with self._lock:  # one thread answers, the others use its answer
            if self._authorization == sent:
                self._authorization = self._respond(auth.choose(challenges), answer, text)
            authorization = self._authorization
        return self._send(method, url, headers, authorization, body)

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None,
        body: Body | None,
    ) -> Answer:
        if method in ("GET", "HEAD"):
            return self.transport.get(url, headers, authorization, method)
        sent = dict(headers)
        if authorization is not None:
            sent["Authorization"] = authorization
        response = self.transport.send(method, url, sent, None if body is None else body())
        return Answer(response, url, True)

    def _wait(self, response: Response, body: bytes, attempt: int) -> float | None:
        """Seconds to wait before the next try, None if there is none."""
        if response.status not in _LATER or self.endpoint.mirror:
            return None
        text = body.decode(errors="replace")
        wanted = waiting.asked(response.headers.get("Retry-After"), text)
        if wanted is not None and wanted > waiting.CAP:
            raise RegistryError(
                f"{self.host} asks to wait {wanted:.0f} s",
                f"{response.status}, {explain(body)}",
                "log in for a higher limit, use a mirror, or try later",
                status=response.status,
            )
        tries = TRIES if response.status == 429 or wanted is not None else TRIES_UNASKED
        return waiting.pause(attempt, wanted) if attempt + 1 < tries else None

    def _refusal(self, answer: Answer, body: bytes) -> RegistryError:
        status = answer.response.status
        hint = ""
        if status in (401, 403):
            hint = "check the name, or log in if it is private"
        elif status == 429:
            hint = "log in for a higher limit, use a mirror, or try later"
        why = explain(body)
        return RegistryError(f"{shown(answer.url)} answers {status}", why, hint, status=status)

    def _respond(self, challenge: auth.Challenge | None, answer: Answer, body: bytes) -> str:
        """The Authorization that answers a challenge. RegistryError if there is none to give."""
        credential = self._credential()
        if challenge is None:
            raise self._refusal(answer, body)
        if challenge.scheme == "basic":
            if credential is None or not credential.user:
                raise self._refusal(answer, body)
            return credential.basic()
        return f"Bearer {self._token(challenge, credential)}"

    def _scope(self) -> str:
        """What a token is asked for when the challenge does not say; "" to log in."""
        return f"repository:{self.endpoint.path}:{self._actions}" if self.endpoint.path else ""

    def _credential(self) -> Credential | None:
        if self._access.credential is not None:
            return None if self.endpoint.mirror else self._access.credential
        return credentials.lookup(self.endpoint.name, self.endpoint.path, self._access.authfile)

    def _token(self, challenge: auth.Challenge, credential: Credential | None) -> str:
        """A token of the registry's token service (distribution, token authentication)."""
        realm = challenge.parameters["realm"]
        parts = urlsplit(realm)
        if parts.scheme != "https" and not (
            parts.scheme == "http" and self.transport.may_be_plain(parts.hostname or "")
        ):
            raise RegistryError(
                f"cannot authenticate with {self.host}",
                f"its token service {printable(realm)} is not reached by https",
            )
        if credential is not None and not auth.may_send(self.base(), realm):
            if not self.endpoint.path:
                raise RegistryError(
                    f"cannot log in to {self.host}",
                    f"its token service {shown(realm)} is in another domain, where its password does not go",
                    f"log in to {parts.netloc} instead",
                )
            # The realm's own credential is another matter: it was given for that host.
            credential = credentials.lookup(parts.netloc, "", self._access.authfile)
        scope = challenge.parameters.get("scope") or self._scope()
        fields = {"service": challenge.parameters.get("service", ""), "scope": scope}
        fields = {key: value for key, value in fields.items() if value}
        if credential is not None and credential.identity_token:
            return _read_token(self._post_token(realm, fields, credential), realm)
        separator = "&" if parts.query else "?"
        url = f"{realm}{separator}{urlencode(fields)}"
        sent = None if credential is None else credential.basic()
        return _read_token(self.transport.get(url, {}, sent).response, realm)

    def _post_token(
        self, realm: str, fields: Mapping[str, str], credential: Credential
    ) -> Response:
        form = {
            **fields,
            "grant_type": "refresh_token",
            "refresh_token": credential.identity_token,
            "client_id": "sampan",
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.transport.send("POST", realm, headers, urlencode(form).encode())


def read_body(response: Response, limit: int, *, cut: bool = False) -> bytes:
    """The whole body. LimitError beyond `limit`, or the beginning of it with `cut`."""
    chunks: list[bytes] = []
    left = limit + 1
    try:
        while left > 0 and (chunk := response.read(min(left, 1 << 18))):
            chunks.append(chunk)
            left -= len(chunk)
    except HTTPError as error:
        response.close()
        raise unreachable("an answer did not end", error) from error
    if left <= 0:
        response.close()
        if not cut:
            raise LimitError("an answer is refused", f"more than {limit} bytes")
    else:
        response.release_conn()
    return b"".join(chunks)[:limit]


def _read_token(response: Response, realm: str) -> str:
    body = read_body(response, TOKEN_LIMIT)
    if response.status != 200:
        raise RegistryError(
            f"the token service {shown(realm)} answers {response.status}",
            explain(body),
            "check the name, or log in if it is private",
            status=response.status,
        )
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    token = (document.get("token") or document.get("access_token")) if is_object(document) else None
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise CorruptError(f"the token service {shown(realm)} gave no token", printable(str(body)))
    return token
