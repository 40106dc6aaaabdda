"""Credentials and challenges.

Challenges are read as RFC 9110 (11.3) writes them, several in a header or several headers.  A
credential belongs to one registry.  It goes to that registry's own origin, and to a token service
only if that is reached by https and is the registry's host, or lies in the same domain
(auth.docker.io for registry-1.docker.io, gitlab.com for registry.gitlab.com).  Files are read and
never written here.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sampan.errors import CorruptError
from sampan.model.image import is_object

FILE_LIMIT = 1 << 20
HEADER_LIMIT = 8192
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~")
_DOCKER_KEYS = (
    "docker.io",
    "https://index.docker.io/v1/",
    "index.docker.io",
    "registry-1.docker.io",
)


class Challenge(NamedTuple):
    """One way to authenticate: the scheme in lower case, parameters by lower-case name."""

    scheme: str
    parameters: Mapping[str, str]


class Credential(NamedTuple):
    """A name and password, or an identity token for an OAuth2 token service."""

    user: str
    password: str
    identity_token: str = ""

    def __repr__(self) -> str:  # never in a log or a traceback
        return "Credential(...)"

    def basic(self) -> str:
        raw = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(raw).decode()}"


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """The challenges of WWW-Authenticate headers. CorruptError quotes the header."""
    found: list[Challenge] = []
    for header in headers:
        if len(header) > HEADER_LIMIT:
            raise CorruptError("a WWW-Authenticate header is refused", f"{len(header)} bytes")
        found.extend(_Reader(header).challenges())
    return found


class _Reader:
    """A cursor over one header."""

    def __init__(self, header: str) -> None:
        self.text, self.at = header, 0

    def challenges(self) -> list[Challenge]:
        found: list[tuple[str, dict[str, str]]] = []
        while self._skip(", \t"):
            word = self._word()
            more = self._skip(" \t")
            if more and self.text[self.at] == "=" and found:
                self.at += 1
                if not self._skip(" \t") or self.text[self.at] in "=,":
                    self._skip("=")  # it was the padding of a token68, as Negotiate has
                    continue
                found[-1][1][word.lower()] = self._value()
            else:
                found.append((word.lower(), {}))
        return [Challenge(scheme, parameters) for scheme, parameters in found]

    def _skip(self, characters: str) -> bool:
        """Go over such characters; whether something is left."""
        while self.at < len(self.text) and self.text[self.at] in characters:
            self.at += 1
        return self.at < len(self.text)

    def _word(self) -> str:
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] in _TOKEN:
            self.at += 1
        if begin == self.at:
            raise CorruptError(
                "a WWW-Authenticate header is refused",
                f"a word is expected at character {begin + 1} of {self.text[:300]!r}",
            )
        return self.text[begin : self.at]

    def _value(self) -> str:
        if self.at >= len(self.text) or self.text[self.at] != '"':
            begin = self.at  # some leave a URL unquoted
            while self.at < len(self.text) and self.text[self.at] not in ', \t"':
                self.at += 1
            return self.text[begin : self.at]
        value: list[str] = []
        self.at += 1
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character == '"':
                return "".join(value)
            if character == "\\" and self.at < len(self.text):
                character = self.text[self.at]
                self.at += 1
            value.append(character)
        raise CorruptError(
            "a WWW-Authenticate header is refused", f"a quote is not closed in {self.text[:300]!r}"
        )


def choose(challenges: Sequence[Challenge]) -> Challenge | None:
    """Bearer if there is one with a realm, else Basic."""
    for challenge in challenges:
        if challenge.scheme == "bearer" and challenge.parameters.get("realm"):
            return challenge
    return next((one for one in challenges if one.scheme == "basic"), None)


def may_send(registry_url: str, realm_url: str) -> bool:
    """Whether a registry's credential may go to its token service."""
    registry, realm = urlsplit(registry_url), urlsplit(realm_url)
    if registry.netloc.lower() == realm.netloc.lower():
        return registry.scheme == realm.scheme
    if registry.scheme != "https" or realm.scheme != "https":
        return False
    if registry.port not in (None, 443) or realm.port not in (None, 443):
        return False
    host, other = registry.hostname or "", realm.hostname or ""
    if _is_address(host) or _is_address(other):
        return False
    parent = host.partition(".")[2]
    if host == other:
        return True
    return _is_domain(parent) and (other == parent or other.endswith(f".{parent}"))


def _is_domain(name: str) -> bool:
    """Whether it is somebody's domain; `io` and `co.uk` are registries of domains."""
    labels = name.split(".")
    short = len(labels[-1]) == 2 and len(labels[-2:][0]) <= 3
    return len(labels) >= (3 if short else 2)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def files() -> list[str]:
    """Where credentials are looked for, the first that has one wins."""
    environment = os.environ
    chosen = environment.get("REGISTRY_AUTH_FILE")
    if chosen:
        return [chosen]
    run = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    config = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    docker = environment.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    return [
        f"{run}/containers/auth.json",
        f"{config}/containers/auth.json",
        f"{docker}/config.json",
    ]


def lookup(registry: str, path: str, sources: Sequence[str] | None = None) -> Credential | None:
    """The credential for a repository: the longest key of REGISTRY/PATH that a file has."""
    words = [registry, *path.split("/")]
    keys = ["/".join(words[:count]) for count in range(len(words), 0, -1)]
    if registry == "docker.io":
        keys.extend(_DOCKER_KEYS[1:])
    keys.extend(f"{scheme}://{registry}" for scheme in ("https", "http"))
    for source in files() if sources is None else sources:
        entries = _read(source)
        for key in keys:
            entry = entries.get(key)
            if is_object(entry):
                found = _credential(entry, source)
                if found:
                    return found
    return None


def _read(path: str) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    try:
        document: Any = json.loads(data)
    except ValueError as error:
        raise CorruptError(f"cannot read {path}", "bad JSON", "log in again") from error
    entries = document.get("auths") if is_object(document) else None
    return entries if is_object(entries) else {}


def _credential(entry: Mapping[str, Any], source: str) -> Credential | None:
    token = entry.get("identitytoken")
    raw = entry.get("auth")
    user, password = entry.get("username"), entry.get("password")
    if isinstance(raw, str) and raw:
        try:
            user, _, password = base64.b64decode(raw, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            # `from None`: the context would carry the credential into a traceback
            raise CorruptError(f"cannot read {source}", "an entry's auth is not base64") from None
    if isinstance(token, str) and token:
        return Credential(str(user or ""), "", token)
    if isinstance(user, str) and isinstance(password, str) and user:
        return Credential(user, password.rstrip("\0"))
    return None
