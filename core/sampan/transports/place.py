"""TRANSPORT:PATH[:NAME], as containers-transports(5) writes it."""

from __future__ import annotations

from typing import NamedTuple

from sampan.errors import UnsupportedError, UsageError

DOCKER = "docker://"
FILES = ("oci", "oci-archive", "docker-archive", "dir")
_OTHERS = ("containers-storage", "docker-daemon", "ostree", "sif", "tarball")


class Place(NamedTuple):
    """transport: one of FILES; name: of the image there, "" if none is said."""

    transport: str
    path: str
    name: str

    def __str__(self) -> str:
        return f"{self.transport}:{self.path}{f':{self.name}' if self.name else ''}"


def parse(text: str) -> Place | None:
    """The place; None for the name of an image in a registry, with docker:// or without."""
    transport, colon, rest = text.partition(":")
    if not colon or text.startswith(DOCKER):
        return None
    if transport in _OTHERS:
        raise UnsupportedError(
            f"cannot use {text}",
            f"{transport}: is not a place that sampan knows",
            f"docker://, {':, '.join(FILES)}: are",
        )
    if transport not in FILES:
        return None
    path, _, name = rest.partition(":") if transport != "dir" else (rest, "", "")
    if not path:
        raise UsageError(f"cannot use {text}", "it names no path", f"{transport}:PATH")
    return Place(transport, path, name)


def bare(text: str) -> str:
    """A name without docker://."""
    return text.removeprefix(DOCKER)
