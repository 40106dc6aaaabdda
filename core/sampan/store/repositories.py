"""Repositories of the registry: names for blobs of the store, as links in `registry/repositories/NAME/`.

    blobs/HEX               an empty document; its time tells when a client last asked whether it is there
    manifests/HEX           the media type under which it was pushed
    tags/TAG                the digest of the manifest
    referrers/SUBJECT/HEX   the descriptor of a manifest that says something about another one
    uploads/ID              `sampan.store.uploads`

A blob of the store is visible in a repository only where a link says that it was pushed or mounted there: local
images are not.  The links are what a collection sees (`sampan.store.tags`), so they also keep the blobs.  Whoever
changes manifests and tags holds the repository's lock; readers take none.
"""

from __future__ import annotations

import os

from sampan import files
from sampan.errors import CorruptError, NotFoundError, UsageError
from sampan.model import artifact, reference
from sampan.model.image import MANIFEST_LIMIT
from sampan.store import leases, uploads
from sampan.store.links import BLOBS, DIRECTORY, MANIFESTS, TAGS, Links
from sampan.store.links import repositories as listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from sampan.store.blobs import BlobStore

REFERRERS = "referrers"
UNREFERENCED_SECONDS = 3600.0  # how long a blob that no manifest refers to is kept
UPLOAD_SECONDS = 86400.0  # how long an upload that was cut may be resumed


class Repositories:
    """All repositories over one blob store. It holds a descriptor of `registry/` and no other state."""

    def __init__(self, blobs: BlobStore) -> None:
        self.blobs = blobs
        self.fd = files.open_directory(DIRECTORY, dir_fd=blobs.root_fd, create=True)

    def close(self) -> None:
        os.close(self.fd)

    def names(self) -> list[str]:
        """Those that have a manifest, sorted."""
        return [one.name for one in self.all() if one.manifests()]

    def all(self) -> Iterator[Repository]:
        """Every repository, also one to which a first push has only begun."""
        return (Repository(self, name) for name in listed(self.fd))

    def repository(self, name: str) -> Repository:
        """The repository, in which there need not be anything yet. UsageError: that is no name."""
        if not reference.is_repository(name):
            raise UsageError(
                f"invalid repository name {name[:80]!r}",
                "its parts are lower-case letters and digits, joined by single . _ __ or hyphens",
            )
        return Repository(self, name)

    def prune(self) -> None:
        """Drop what nobody has needed for a while."""
        for repository in self.all():
            repository.prune(UNREFERENCED_SECONDS, UPLOAD_SECONDS)


class Repository:
    """One repository. Each call looks at the disk, so what other processes do is seen at once."""

    __slots__ = ("_all", "_blobs", "_links", "name")

    def __init__(self, repositories: Repositories, name: str) -> None:
        self.name = name
        self._all, self._blobs = repositories, repositories.blobs
        self._links = Links(repositories.fd, name)

    def exists(self) -> bool:
        """Whether anything was pushed to it."""
        return bool(self._links.names(MANIFESTS) or self._links.names(BLOBS))

    def has(self, digest: str) -> bool:
        """Whether it is a blob or manifest of this repository."""
        linked = self._links.has(BLOBS, _hex(digest)) or self._links.has(MANIFESTS, _hex(digest))
        return linked and self._blobs.has(digest)

    def blob(self, digest: str, *, wanted: bool = False) -> int | None:
        """A descriptor of the blob or manifest, None if it is not in this repository.

        wanted: a client asks because it is about to refer to it, so it is kept for a while.
        """
        if not self.has(digest):
            return None
        if wanted:
            self._links.touch(BLOBS, _hex(digest))
        try:
            return self._blobs.open(digest)
        except NotFoundError:
            return None

    def mount(self, digest: str, source: str | None) -> bool:
        """Link a blob that the other repository has, or any one if none is named; False if it is not there."""
        sources = self._all.all() if source is None else [self._all.repository(source)]
        with leases.Lease(self._blobs.root_fd) as lease:
            lease.add(digest)
            if not any(one.has(digest) for one in sources):
                return False
            self._links.put(BLOBS, _hex(digest), {})
        return True

    def drop_blob(self, digest: str) -> bool:
        """Unlink a blob; False if it was not there."""
        with self._links.lock():
            return self._links.drop(BLOBS, _hex(digest))

    def begin_upload(self) -> str:
        """Begin an upload; returns its id."""
        return uploads.begin(self._links)

    def upload(self, name: str) -> uploads.Upload:
        """`with repository.upload(id) as upload:` goes on with it. NotFoundError, InUseError."""
        return uploads.Upload(self._blobs, self._links, name)

    def manifest(self, selector: str) -> tuple[str, str, bytes] | None:
        """(digest, media type, bytes) of what a tag or a digest selects."""
        digest = selector if reference.is_digest(selector) else self.tag(selector)
        link = self._links.get(MANIFESTS, _hex(digest)) if digest else None
        if not digest or link is None:
            return None
        try:
            return digest, str(link["mediaType"]), self._blobs.read(digest, MANIFEST_LIMIT)
        except (NotFoundError, KeyError):
            return None

    def put_manifest(self, data: bytes, media_type: str, tags: Iterable[str]) -> tuple[str, str]:
        """Store a manifest under its digest and the tags: (digest, the digest of its subject or "").

        CorruptError, UnsupportedError: it is refused.  NotFoundError: it needs what is not in this repository.
        """
        found = artifact.read(data, media_type)
        with self._links.lock(), leases.Lease(self._blobs.root_fd) as lease:
            needed = found.blobs - found.foreign | found.manifests
            lacking = [digest for digest in sorted(needed) if not self.has(digest)]
            if lacking:
                raise NotFoundError(
                    f"the manifest refers to {', '.join(lacking[:10])}",
                    f"the repository {self.name} has no such content",
                    "push that first",
                )
            digest = self._blobs.put(data, lease)
            self._links.put(MANIFESTS, _hex(digest), {"mediaType": found.media_type})
            if found.subject:
                self._links.put(
                    f"{REFERRERS}/{_hex(found.subject)}",
                    _hex(digest),
                    found.description(digest, len(data)),
                )
            for tag in tags:
                self._links.put(TAGS, tag, {"digest": digest})
        return digest, found.subject

    def drop_manifest(self, digest: str) -> bool:
        """Remove a manifest with its tags; False if it was not there."""
        with self._links.lock():
            if not self._links.has(MANIFESTS, _hex(digest)):
                return False
            for tag in self.tags():
                if self.tag(tag) == digest:
                    self._links.drop(TAGS, tag)
            for subject in self._links.names(REFERRERS):
                self._links.drop(f"{REFERRERS}/{subject}", _hex(digest))
            return self._links.drop(MANIFESTS, _hex(digest))

    def tag(self, tag: str) -> str | None:
        """The digest that the tag names; None if it names none."""
        link = self._links.get(TAGS, tag) if reference.is_tag(tag) else None
        digest = link.get("digest") if link else None
        return digest if isinstance(digest, str) and reference.is_digest(digest) else None

    def tags(self) -> list[str]:
        """All tags, in the order of their bytes."""
        return [name for name in self._links.names(TAGS) if reference.is_tag(name)]

    def drop_tag(self, tag: str) -> bool:
        """Take a name from a manifest; False if it was not there."""
        with self._links.lock():
            return reference.is_tag(tag) and self._links.drop(TAGS, tag)

    def manifests(self) -> list[str]:
        """The digests of all manifests, sorted."""
        return self._links.digests(MANIFESTS)

    def referrers(self, subject: str, after: str = "") -> Iterator[dict[str, Any]]:
        """Descriptors of the manifests about `subject`, by digest; those after the digest `after`."""
        kind = f"{REFERRERS}/{_hex(subject)}"
        for digest in self._links.digests(kind):
            if digest > after and self._links.has(MANIFESTS, _hex(digest)):
                described = self._links.get(kind, _hex(digest))
                if described is not None:
                    yield described

    def sizes(self) -> dict[str, int]:
        """The bytes of each blob and manifest of this repository."""
        digests = {*self.manifests(), *self._links.digests(BLOBS)}
        return {digest: self._blobs.size(digest) or 0 for digest in digests}

    def needs(self, digest: str) -> set[str]:
        """A manifest's digest, and those that it refers to directly."""
        try:
            inner = artifact.read(self._blobs.read(digest, MANIFEST_LIMIT))
        except (NotFoundError, CorruptError):
            return {digest}  # of a lost or damaged manifest nothing more is known
        return {digest} | inner.blobs | inner.manifests

    def prune(self, unreferenced: float, stale: float) -> None:
        """Unlink blobs that no manifest refers to and nobody asked for in `unreferenced` seconds, and uploads to
        which nothing was added in `stale` seconds.
        """
        with self._links.lock():
            needed = set[str]().union(*(self.needs(digest) for digest in self.manifests()))
            for digest in self._links.digests(BLOBS):
                age = self._links.age(BLOBS, _hex(digest))
                if digest not in needed and age is not None and age >= unreferenced:
                    self._links.drop(BLOBS, _hex(digest))
        uploads.sweep(self._links, stale)
        self._links.sweep()

    def discard(self) -> None:
        """Remove the repository with all that is in it."""
        with self._links.lock():
            self._links.discard()


def _hex(digest: str) -> str:
    """The part of a digest that names links. Nothing but a checked digest becomes a path."""
    if not reference.is_digest(digest):
        raise CorruptError(
            "a digest is refused", f"{digest[:80]!r} is not sha256: and 64 hex digits"
        )
    return digest.removeprefix("sha256:")
