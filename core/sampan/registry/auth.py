"""Challenges, and where a credential may go to answer them.

Challenges are read as RFC 9110 (11.3) writes them, several in a header or several headers.  A
credential belongs to one registry.  It goes to that registry's own origin, and to a token service
only if that is reached by https and is the registry's host, or lies in the same domain
(auth.docker.io for registry-1.docker.io, gitlab.com for registry.gitlab.com).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from sampan.errors import CorruptError

HEADER_LIMIT = 8192
_TOKEN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~")


class Challenge(NamedTuple):
    """One way to authenticate: the scheme in lower case, parameters by lower-case name."""

    scheme: str
    parameters: Mapping[str, str]


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
