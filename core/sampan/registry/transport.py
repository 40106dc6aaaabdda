"""HTTP between us and one registry: TLS, proxies, redirects, and where a credential may travel.

A redirect is followed by hand, because each hop is a question of trust: the Authorization header
ends where the origin (scheme, host, port) changes, https never becomes http, and only http and
https are followed.  Plain http needs a reason: the registry is marked insecure, verification is
off, or the host is this machine.
"""

from __future__ import annotations

import glob
import ipaddress
import os
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    HTTPError,
    InsecureRequestWarning,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    SSLError,
    TimeoutError,
)

from sampan.registry.errors import RegistryError, UnreachableError
from sampan.registry.proxy import proxy_for

REDIRECTS = 10
CONNECT_SECONDS = 15.0
READ_SECONDS = 18.0  # without a byte; then it is tried again, for less than a minute in all
_REDIRECTED = frozenset((301, 302, 303, 307, 308))
_AGENT = "sampan"

Response = urllib3.BaseHTTPResponse


class Answer(NamedTuple):
    """A response, and whether it came from the origin that was asked."""

    response: Response
    url: str
    same_origin: bool


class Transport:
    """Sends requests. Safe for threads.

    verify: TLS certificates are checked; plain: http is accepted on any host; loopback: on this
    machine.
    """

    def __init__(
        self,
        *,
        verify: bool,
        plain: bool,
        loopback: bool,
        cert_dir: str = "",
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self.verify, self.plain, self.loopback = verify, plain, loopback
        self._cert_dir = cert_dir
        self._timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds)
        self._pools: dict[str, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def may_be_plain(self, host: str) -> bool:
        return self.plain or (self.loopback and is_loopback(host))

    def get(
        self,
        url: str,
        headers: Mapping[str, str],
        authorization: str | None = None,
        method: str = "GET",
    ) -> Answer:
        """GET or HEAD with redirects. The body is not read yet. UnreachableError, RegistryError."""
        origin, at, seen = origin_of(url), url, {url}
        for _ in range(REDIRECTS + 1):
            sent = dict(headers)
            if authorization is not None:
                sent["Authorization"] = authorization
            response = self.send(method, at, sent)
            location = response.headers.get("Location")
            if response.status not in _REDIRECTED or not location:
                return Answer(response, at, origin_of(at) == origin)
            response.close()
            at = self.target(at, location)
            if at in seen:
                raise RegistryError(f"cannot follow {shown(url)}", "its redirects go in a circle")
            seen.add(at)
            if origin_of(at) != origin:
                authorization = None  # not given back either, should a later hop return
        raise RegistryError(f"cannot follow {shown(url)}", f"more than {REDIRECTS} redirects")

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Iterator[bytes] | bytes | None = None,
    ) -> Response:
        """One request without redirects. Chunks as body want a Content-Length."""
        try:
            return self._pool(url).request(
                method,
                url,
                body=body,
                headers={"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=self._timeout,
            )
        except HTTPError as error:
            raise unreachable(f"no answer from {shown(url)}", error) from error

    def target(self, at: str, location: str) -> str:
        """Where a Location leads, if it may be followed. RegistryError."""
        target = urljoin(at, location)
        try:
            parts = urlsplit(target)
            host = parts.hostname or ""
        except ValueError:
            parts, host = urlsplit(""), ""
        what = f"cannot follow the Location of {shown(at)}"
        if parts.scheme not in ("http", "https") or not host:
            raise RegistryError(what, f"it leads to {parts.scheme or 'nothing'}:, not to http(s)")
        if parts.scheme == "http" and urlsplit(at).scheme == "https":
            raise RegistryError(what, f"it leads from https to http on {host}")
        if parts.scheme == "http" and not self.may_be_plain(host):
            raise RegistryError(what, f"it leads to plain http on {host}")
        return target

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        with self._lock:
            key = f"{parts.scheme}://{parts.netloc}"
            if key not in self._pools:
                self._pools[key] = self._make(parts.scheme, parts.netloc)
            return self._pools[key]

    def _make(self, scheme: str, netloc: str) -> urllib3.PoolManager:
        options: dict[str, Any] = {"maxsize": 4, "ssl_context": self._context(netloc)}
        proxy = proxy_for(scheme, netloc)
        if proxy:
            return urllib3.ProxyManager(proxy, **options)
        return urllib3.PoolManager(**options)

    def _context(self, netloc: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if not self.verify:
            urllib3.disable_warnings(InsecureRequestWarning)  # the user asked for it
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        given = [self._cert_dir] if self._cert_dir else _certificate_directories(netloc)
        for directory in given:
            for authority in sorted(glob.glob(f"{glob.escape(directory)}/*.crt")):
                context.load_verify_locations(authority)
            for certificate in sorted(glob.glob(f"{glob.escape(directory)}/*.cert")):
                context.load_cert_chain(certificate, f"{certificate[:-5]}.key")
        return context


def _certificate_directories(netloc: str) -> list[str]:
    """containers-certs.d(5)"""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    places = (f"{home}/containers", "/etc/containers", "/etc/docker")
    return [f"{place}/certs.d/{netloc}" for place in places if "/" not in netloc]


def is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a credential is bound to."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, (parts.hostname or "").lower(), port or default


def shown(url: str) -> str:
    """A URL for a message, without a query: that may be a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def unreachable(what: str, error: HTTPError) -> UnreachableError:
    """The library's error in a few words."""
    reason: BaseException = error
    if isinstance(error, MaxRetryError) and error.reason is not None:
        reason = error.reason
    if isinstance(reason, SSLError):
        return UnreachableError(what, f"TLS: {reason}", "is it a registry with plain http?")
    if isinstance(reason, NewConnectionError):
        return UnreachableError(what, str(reason).rpartition(": ")[2])
    if isinstance(reason, TimeoutError):
        return UnreachableError(what, "nothing came in time", again=True)
    if isinstance(reason, ProtocolError):
        return UnreachableError(what, "the connection broke", again=True)
    return UnreachableError(what, str(reason))
