"""The registry: what the engine offers the server, and what the command line shows and removes."""

from __future__ import annotations

import os

from sampan.errors import NotFoundError, UsageError
from sampan.model import reference
from sampan.settings import LOG_LEVELS
from sampan.store import locks
from sampan.store.links import DIRECTORY
from sampan.store.repositories import Repositories

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from sampan.drivers import RegistryServer, ServeRequest
    from sampan.engine import Engine
    from sampan.store.repositories import Repository

DEFAULT = "distribution"
_TIDYING = "tidying"  # a file under ROOT/registry that is locked by whoever tidies


class Host(Repositories):
    """A `sampan.drivers.RegistryHost` over the engine's stores."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.blobs)
        self._engine = engine
        self._level = LOG_LEVELS.index(engine.settings.log_level)

    def tidy(self) -> None:
        """Drop links that nobody needs, and collect; one process at a time does so."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(_TIDYING, flags, 0o600, dir_fd=self.fd)
        try:
            if locks.try_lock(fd):
                self.prune()
                self._engine.images.collect()
        finally:
            os.close(fd)

    def log(self, level: str, text: str) -> None:
        if LOG_LEVELS.index(level) >= self._level:
            os.write(2, f"{text}\n".encode(errors="backslashreplace"))


def serve(
    engine: Engine, driver: str, request: ServeRequest, ready: Callable[[str], object]
) -> None:
    """Serve the registry in the foreground until a signal ends it."""
    server: RegistryServer = engine.driver("registry", driver)
    os.close(engine.blobs.directory())  # completes the layout in a new store
    server.serve(request, Host(engine), ready)


def listed(engine: Engine) -> list[dict[str, Any]]:
    """A row for each tag, and for each manifest without one; size: bytes of all that it is made of."""
    if not os.path.isdir(f"{engine.settings.root}/{DIRECTORY}"):
        return []
    rows: list[dict[str, Any]] = []
    host = Host(engine)
    for name in host.names():
        repository = host.repository(name)
        sizes = repository.sizes()
        tagged: set[str] = set()
        named = [(tag, digest) for tag in repository.tags() if (digest := repository.tag(tag))]
        tagged.update(digest for _, digest in named)
        untagged = [("", digest) for digest in repository.manifests() if digest not in tagged]
        rows += [
            {
                "Repository": name,
                "Tag": tag,
                "Digest": digest,
                "Size": sum(sizes.get(one, 0) for one in _closure(repository, digest)),
            }
            for tag, digest in (*named, *untagged)
        ]
    host.close()
    return rows


def remove(engine: Engine, words: str) -> Sequence[str]:
    """Remove NAME, NAME:TAG or NAME@DIGEST with all that nothing else needs; returns the blobs that went."""
    name, at, digest = words.partition("@")
    tag = ""
    if not at:
        name, _, tag = words.partition(":")
    host = Host(engine)
    repository = host.repository(name)
    if at and not reference.is_digest(digest):
        raise UsageError(f"invalid digest {digest[:80]!r}", "it is sha256: and 64 hex digits")
    if not at and not tag:
        there = name in [one.name for one in host.all()]
        if there:
            repository.discard()
    elif tag:
        there = _untag(repository, tag)
    else:
        there = repository.drop_manifest(digest)
    if not there:
        raise NotFoundError(
            f"the registry has no {words}", "", "sampan registry ls shows what it has"
        )
    repository.prune(0, float("inf"))
    host.close()
    return engine.images.collect()


def _untag(repository: Repository, tag: str) -> bool:
    """Remove a tag, and those of the manifests below it that nothing else refers to."""
    digest = repository.tag(tag)
    there = repository.drop_tag(tag)
    for one in _closure(repository, digest) if digest else ():
        if not _used(repository, one):
            repository.drop_manifest(one)
    return there


def _used(repository: Repository, digest: str) -> bool:
    """Whether a tag or another manifest refers to it."""
    if any(repository.tag(tag) == digest for tag in repository.tags()):
        return True
    return any(
        digest in repository.needs(other) for other in repository.manifests() if other != digest
    )


def _closure(repository: Repository, digest: str) -> list[str]:
    """A manifest and all that it refers to, through indexes, from above."""
    manifests = set(repository.manifests())
    found: dict[str, None] = {}
    todo = [digest]
    while todo:
        one = todo.pop()
        if one not in found:
            found[one] = None
            if one in manifests:
                todo += sorted(repository.needs(one))
    return list(found)
