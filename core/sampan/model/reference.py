"""Image names, as Docker's `distribution/reference` reads them.

    [DOMAIN/]PATH[:TAG][@DIGEST]      debian, localhost:5000/a/b:1, quay.io/x/y@sha256:...

What is missing is filled in: the domain docker.io, `library/` for one-word names there, and the
tag latest where neither a tag nor a digest is given.  A digest beside a tag wins: it selects the
image, and the tag is kept as a record of what was asked.  The grammar is small enough to be read
by hand, which keeps `re` off the way to `run`.
"""

from __future__ import annotations

from sampan.errors import UsageError

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255  # distribution/reference: NameTotalLengthMax
TAG_LIMIT = 128

_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALNUM = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HEX = frozenset("0123456789abcdef")
_DIGITS = frozenset("0123456789")


class Reference:
    """A name that selects an image; `tag` and `digest` are None where they were not given."""

    __slots__ = ("digest", "domain", "path", "tag")

    def __init__(self, domain: str, path: str, tag: str | None, digest: str | None = None) -> None:
        self.domain, self.path, self.tag, self.digest = domain, path, tag, digest

    @property
    def repository(self) -> str:
        """`docker.io/library/debian`."""
        return f"{self.domain}/{self.path}"

    @property
    def selector(self) -> str:
        """What the registry is asked for: the digest if there is one, else the tag."""
        return self.digest or self.tag or DEFAULT_TAG

    @property
    def familiar(self) -> str:
        """The short form that Docker prints: `debian:latest`."""
        return str(self).removeprefix(f"{DEFAULT_DOMAIN}/").removeprefix("library/")

    def __str__(self) -> str:
        text = self.repository
        if self.tag:
            text = f"{text}:{self.tag}"
        return f"{text}@{self.digest}" if self.digest else text

    def __repr__(self) -> str:
        return f"Reference({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


def parse(text: str) -> Reference:
    """Read a name and fill in what is missing. UsageError says which part is wrong."""
    if len(text) == 64 and _HEX.issuperset(text):
        raise _refused(text, "64 hexadecimal digits are an image's id, not a name")
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _refused(text, f'"{digest[:80]}" is not sha256: and 64 lower-case hexadecimal digits')
    name, tag = _split_tag(rest)
    if tag is not None and not is_tag(tag):
        raise _refused(text, f'the tag "{tag[:140]}" may have 128 letters, digits, _ . -')
    domain, path = _split_domain(name)
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = f"library/{path}"
    _check_name(text, domain, path)
    if tag is None and not digest:
        tag = DEFAULT_TAG
    return Reference(domain, path, tag, digest or None)


def has_domain(text: str) -> bool:
    """Whether the name says which registry it is of; else the search list decides."""
    first, slash, _ = text.partition("/")
    return bool(slash) and _is_domain_word(first)


def has_tag(text: str) -> bool:
    """Whether the name says a tag itself."""
    return _split_tag(text.partition("@")[0])[1] is not None


def is_digest(text: object) -> bool:
    """Whether it is `sha256:` and 64 lower-case hex digits: then it may be part of a path."""
    return (
        isinstance(text, str)
        and len(text) == 71
        and text.startswith("sha256:")
        and _HEX.issuperset(text[7:])
    )


def is_repository(text: str) -> bool:
    """Whether it is a repository's name within a registry (distribution-spec, pulling manifests)."""
    return len(text) <= NAME_LIMIT and all(_is_component(part) for part in text.split("/"))


def is_tag(text: str) -> bool:
    """Whether it is a tag: 128 letters, digits, _ . - of which the first is none of the last two."""
    if not text or len(text) > TAG_LIMIT or text[0] in ".-":
        return False
    return all(character in _ALNUM or character in "_.-" for character in text)


def _refused(text: str, why: str, hint: str = "") -> UsageError:
    shown = text if len(text) <= 200 else f"{text[:200]}..."
    return UsageError(f'invalid image name "{shown}"', why, hint)


def _split_tag(rest: str) -> tuple[str, str | None]:
    """The last colon begins a tag unless a slash follows: then it began a port."""
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        return rest, None
    return name, tag


def _is_domain_word(word: str) -> bool:
    return "." in word or ":" in word or word == "localhost" or word.lower() != word


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if not slash or not _is_domain_word(first):
        return DEFAULT_DOMAIN, name
    if first == "index.docker.io":
        first = DEFAULT_DOMAIN
    return first, rest


def _check_name(text: str, domain: str, path: str) -> None:
    if not _is_domain(domain):
        raise _refused(text, f'"{domain}" is not a registry (HOST or HOST:PORT)')
    if path.lower() != path:
        raise _refused(
            text, "a repository's name is lower case", f'perhaps "{text.lower()}" is meant'
        )
    if len(path) > NAME_LIMIT:
        raise _refused(text, f"a repository's name has at most {NAME_LIMIT} characters")
    for component in path.split("/"):
        if not _is_component(component):
            raise _refused(
                text,
                f'"{component}" is no part of a repository\'s name',
                "parts are lower-case letters and digits, joined by single . _ __ or hyphens",
            )


def _is_domain(domain: str) -> bool:
    host, port = domain, ""
    if domain.startswith("["):  # an IPv6 address
        host, bracket, rest = domain[1:].partition("]")
        if not bracket or not host or not frozenset("0123456789abcdefABCDEF:").issuperset(host):
            return False
        return not rest or (rest[0] == ":" and rest[1:] != "" and _DIGITS.issuperset(rest[1:]))
    if ":" in domain:
        host, _, port = domain.partition(":")
        if not port or not _DIGITS.issuperset(port) or int(port) > 65535:
            return False
    return all(
        label and _ALNUM.issuperset(label.replace("-", "a")) and label[0] != "-" != label[-1]
        for label in host.split(".")
    )


def _is_component(component: str) -> bool:
    """[a-z0-9]+ joined by one `.`, one or two `_`, or any number of hyphens."""
    separator = ""
    if not component or component[0] not in _LOWER or component[-1] not in _LOWER:
        return False
    for character in component:
        if character in _LOWER:
            separator = ""
            continue
        separator += character
        if separator not in (".", "_", "__") and separator.strip("-"):
            return False
    return True
