"""The contract of builders: what a builder offers, and what the engine offers to it.

A builder makes layers out of layers and lists an image of them.  `BuildHost` is all that it needs of the
engine: base images, commands in the sandbox of `run`, layers of files, a cache that lasts, and the final
commit.  A builder may fork: a host may be used in its children, each of which has one thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from sampan.linux.userns import IdMap

Layers = tuple["Layer", ...]  # a chain, bottom first
Output = Callable[[int, bytes], object]  # (1 or 2, what a command wrote there)


class Layer(NamedTuple):
    """A layer: its identity, and the blob in the store that it comes in."""

    diff_id: str
    digest: str
    media_type: str
    size: int  # of the blob, bytes


class BuildRequest(NamedTuple):
    """What to build. `source` is the builder's own: a directory, or the words after `host:`."""

    source: str
    tags: Sequence[str]  # full names that the image gets
    options: Mapping[str, Any]  # the builder's own; docs/building.md has those of `sampan build`


class BaseImage(NamedTuple):
    """A stored image to build on. config: its whole configuration document."""

    id: str
    name: str
    digest: str  # of its manifest
    layers: Layers
    config: Mapping[str, Any]

    @property
    def inner(self) -> Mapping[str, Any]:
        """What containers are made with: Env, Cmd, User, ..."""
        found: Mapping[str, Any] = self.config.get("config") or {}
        return found


class Secret(bytes):
    """A value that no message and no traceback shows."""

    def __repr__(self) -> str:
        return "Secret(...)"


class RunMount(NamedTuple):
    """What is mounted while a command runs.

    kind: "layers": what `source` is in the chain `layers`; changes are thrown away.  "cache": a directory that lasts,
    the one of `key`, with this mode and owner when it is made; `source` is looked for in `layers`, whose files
    it begins with.  "tmpfs": `size` bytes, 0 without a limit.  "file": a file with `data`, a `Secret` perhaps.
    "socket": the socket `source` of the host.
    sharing, of a cache: "shared", "private" (one that no other command has) or "locked" (wait for the other).
    """

    kind: str
    target: str
    source: str = ""
    layers: Layers = ()
    readonly: bool = True
    key: str = ""
    sharing: str = "shared"
    size: int = 0
    data: bytes = b""
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


class Command(NamedTuple):
    """A command to run over a chain of layers.

    network: "default" (that of `run`), "none", "host", or what else --network of `run` names.
    secrets: variables that are in no record.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str = "/"
    user: str = ""
    network: str = "default"
    mounts: Sequence[RunMount] = ()
    secrets: Mapping[str, Secret] = {}
    hosts: Sequence[tuple[str, str]] = ()  # (name, address) for /etc/hosts
    options: Mapping[str, Any] = {}  # of `run`: shm_size, ulimits, ...


class LayerTar(Protocol):
    """Writes the entries of a layer.  Paths have no slash at their ends; the root is b"".

    A parent directory's entry comes before what is in it.  owner (uid, gid) and mode replace what is on disk.
    """

    def directory(
        self,
        path: bytes,
        fd: int = -1,
        *,
        owner: tuple[int, int] | None = None,
        mode: int | None = None,
        mtime_ns: int | None = None,
    ) -> None:
        """A directory with the metadata of the open one of the first root; without one: of root, 0755, at the time of
        the build.
        """
        ...

    def copy(
        self,
        path: bytes,
        dir_fd: int,
        name: bytes,
        *,
        owner: tuple[int, int] | None = None,
        mode: int | None = None,
        origin: bytes | None = None,
        status: os.stat_result | None = None,
    ) -> None:
        """What `name` is in the directory: a file, a link, a FIFO or a device; of a directory its entry alone.

        origin: its path in the root that it comes from, of which the store may know what the disk cannot hold.
        status: what was seen of it; a file that is another one now is an error.
        """
        ...

    def absent(self, directory: bytes) -> Collection[bytes]:
        """Names in that directory of the second root that the disk cannot hold; `copy` with an origin knows them."""
        ...

    def archive(self, fd: int) -> LayerArchive | None:
        """The tar archive that the file is, compressed or not; None if it is none."""
        ...

    def file(
        self, path: bytes, data: bytes, *, owner: tuple[int, int] = (0, 0), mode: int = 0o644
    ) -> None:
        """A file of these bytes, at the time of the build."""
        ...

    def link(self, path: bytes, target: bytes, *, owner: tuple[int, int] = (0, 0)) -> None:
        """A symbolic link."""
        ...

    def whiteout(self, path: bytes) -> None:
        """The path of the layers below is gone."""
        ...


class Cached(NamedTuple):
    """What the cache knows of a key: the whole chain of layers, and what was said about it."""

    layers: Layers
    about: Mapping[str, Any]


class LayerArchive(Protocol):
    """An archive whose entries become entries of the layer."""

    def next(self) -> tuple[bytes, str, bytes] | None:
        """(name, kind, what it links to) of the next entry: f, d, l, h (a hard link), p, c or b; None at the end."""
        ...

    def copy(
        self, path: bytes, *, link: bytes | None = None, owner: tuple[int, int] | None = None
    ) -> None:
        """Write that entry under the path; link and owner replace its own."""
        ...


class Notes(Protocol):
    """What the disk could not hold of a root, by path."""

    def owned(
        self, path: bytes, status: os.stat_result, found: tuple[int, int, int]
    ) -> tuple[int, int, int]:
        """(mode, uid, gid) in truth, `found` is what the disk says."""
        ...

    def attributes(
        self, path: bytes, status: os.stat_result, found: Mapping[bytes, bytes]
    ) -> Mapping[bytes, bytes]:
        """The attributes in truth."""
        ...

    def devices(self, directory: bytes) -> Collection[bytes]:
        """Names in a directory that are not on the disk."""
        ...


class BuildCache(Protocol):
    """Results of steps by key: 64 hexadecimal digits that stand for all that a result depends on."""

    def get(self, key: str) -> Cached | None:
        """What was put under that key, if its blobs are there; it counts as used now."""
        ...

    def put(self, key: str, layers: Layers, about: Mapping[str, Any]) -> None:
        """Remember a chain.

        about: JSON values; `description` and `kind` (regular, source.local) are for people (`builder du`).
        """
        ...

    def flight(self, key: str, waiting: Callable[[str], object]) -> AbstractContextManager[None]:
        """One maker of a key at a time: others wait here, then find it with `get`."""
        ...


class Digests(Protocol):
    """Digests of files, remembered by device, inode, size and times."""

    def of(self, dir_fd: int, name: str | bytes, status: Any) -> bytes:
        """SHA-256 (32 bytes) of a regular file."""
        ...


class BuildHost(Protocol):
    """What the engine offers a builder."""

    idmap: IdMap

    @property
    def cache(self) -> BuildCache: ...

    def listen(self, listener: Callable[[Mapping[str, Any]], object]) -> None:
        """From now on events go there: for a child of the builder, which tells its parent."""
        ...

    def find(self, name: str) -> str | None:
        """The id of a stored image; None if there is none."""
        ...

    def image(self, name: str, platform: str = "", pull: str = "missing") -> BaseImage:
        """The image of a name, pulled as the policy says (always, missing, newer, never)."""
        ...

    def run(self, chain: Layers, command: Command, output: Output) -> tuple[int, Layer | None]:
        """Run a command as `sampan run` would: (its exit code, the layer of what it changed).

        No layer: nothing was changed, or the code is not 0.
        """
        ...

    def tree(
        self,
        chains: Sequence[Layers],
        produce: Callable[[Sequence[int], LayerTar], object],
    ) -> Layer | None:
        """A layer on top of the first chain: `produce(roots, tar)` writes its entries.

        It is called in a child in the store's user namespace, as its root, which has the chains mounted
        read-only: `roots` are open directories.  Its descriptors are the caller's.  None: nothing was written.
        """
        ...

    def look(
        self,
        chains: Sequence[Layers],
        produce: Callable[[Sequence[int], Sequence[Notes]], bytes],
    ) -> bytes:
        """What `produce(roots, notes)` returns, called as for `tree`."""
        ...

    def layer(self, write: Callable[[int], None]) -> Layer:
        """A layer without one below: `write(dir_fd)` fills an empty directory as root of the map."""
        ...

    def unpack(self, archive: int, directory: int, what: str) -> None:
        """Unpack a tar archive, compressed or not, into a directory of the user's, to whom all of it belongs.

        archive: a file, read from where it stands.  what: how an error begins.
        """
        ...

    def digests(self) -> AbstractContextManager[Digests]:
        """The digests of the user's files that were read before."""
        ...

    def share(self, own: Sequence[str], others: Sequence[str]) -> None:
        """Write what the cache knows of these keys where the request's `cache_to` says, before the commit.

        own: of the image's steps; others: of the stages that it takes from (mode=max).
        """
        ...

    def commit(
        self,
        layers: Layers,
        config: Mapping[str, Any],
        tags: Sequence[str],
        *,
        form: str = "oci",
        annotations: Mapping[str, str] | None = None,
    ) -> str:
        """An image of these layers; returns its id (sha256:...).

        config: its configuration document without rootfs; form: "oci" or "docker".
        """
        ...

    def progress(self, event: Mapping[str, Any]) -> None:
        """Tell how far it is.  The events of `sampan_build.dockerfile` are in docs/building.md:

        {"kind": "step", "id": n, "name": text, "state": "started|waiting|cached|done|failed|canceled", "time": seconds}
        {"kind": "output", "id": n, "stream": 1 or 2, "data": bytes}
        {"kind": "bytes", "id": n, "what": text, "done": n, "total": n or None}
        {"kind": "warning", "text": text, "file": name, "line": n}
        {"kind": "say", "text": text}
        """
        ...


class Builder(Protocol):
    """Makes images."""

    name: str

    def build(self, request: BuildRequest, host: BuildHost) -> str:
        """Build and return the image's id (sha256:...)."""
        ...


class Checker(Protocol):
    """A builder that can look at its input without building."""

    def check(self, request: BuildRequest, host: BuildHost) -> Collection[Mapping[str, Any]]:
        """Findings: rule, level, text, file, line, end, url."""
        ...
