"""Results of build steps by key: what makes a second build fast.

`build/KEY.json` (KEY: 64 hexadecimal digits that stand for all that a step depends on) names the whole chain of
layers that the step ended with.  A record appears by rename and is read without a lock; its time of modification
is when it was last used.  It is not synced: one that a power cut has damaged counts as absent.  A collection of
blobs or layers keeps what records name, so a base image may go and the steps on top of it stay.

`build/locks/KEY` is locked while a process makes that key.  It goes with its holder; those of killed processes are
swept.
"""

from __future__ import annotations

import contextlib
import json
import os
import time

from sampan import files
from sampan.drivers.build import Layer
from sampan.errors import CorruptError
from sampan.model.layer import chain_ids, layer_key
from sampan.model.reference import is_digest
from sampan.store import locks
from sampan.store.blobs import BlobStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from sampan.drivers.build import Layers
    from sampan.store.leases import Lease

DIRECTORY = "build"
LOCKS = "locks"
SUFFIX = ".json"
REGULAR, INTERNAL, MOUNT = "regular", "internal", "exec.cachemount"  # BuildKit's kinds of records
_LIMIT = 1 << 20
_DIGITS = frozenset("0123456789abcdef")


class Record:
    """A step's result.

    layers: the whole chain, bottom first.  about: what the builder said of it, `description` and `kind` for people.
    created, used: seconds since the epoch.
    """

    __slots__ = ("about", "created", "key", "layers", "used")

    def __init__(self, key: str, body: Mapping[str, Any], used: float) -> None:
        """KeyError, TypeError, ValueError: the body is not what `put` writes."""
        self.key, self.used = key, used
        self.layers = tuple(map(_layer, body["layers"]))
        self.about = dict(body["about"])
        self.created = float(body["created"])

    @property
    def description(self) -> str:
        return str(self.about.get("description", ""))

    @property
    def kind(self) -> str:
        return str(self.about.get("kind", REGULAR))

    @property
    def layer_keys(self) -> list[str]:
        """The keys of the chain's directories, bottom first."""
        return [layer_key(one) for one in chain_ids([layer.diff_id for layer in self.layers])]


class BuildCache:
    """The records under one root. `root_fd` stays the caller's."""

    __slots__ = ("_root_fd",)

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd

    def get(self, key: str, lease: Lease) -> Record | None:
        """The record of a key whose blobs are all there; it counts as used now.

        lease: keeps its blobs and layers from here on.
        """
        with self._directory() as directory:
            record = _read(directory, checked(key)) if directory >= 0 else None
            if record is None:
                return None
            # First it is named, then looked for: see store/leases.py.
            digests = [layer.digest for layer in record.layers]
            lease.add(*digests, *(f"layer:{one}" for one in record.layer_keys))
            blobs = BlobStore(self._root_fd)
            if not all(map(blobs.has, digests)):
                return None
            with contextlib.suppress(FileNotFoundError):  # pruned just now: the lease keeps all
                os.utime(key + SUFFIX, dir_fd=directory)
            return record

    def put(self, key: str, layers: Layers, about: Mapping[str, Any]) -> None:
        """Remember a chain, whose blobs a lease of the caller keeps.  about: JSON values."""
        body = {
            "created": time.time(),
            "about": dict(about),
            "layers": [list(layer) for layer in layers],
        }
        data = json.dumps(body, separators=(",", ":")).encode()
        with self._directory(create=True) as directory:
            files.write_atomic(directory, checked(key) + SUFFIX, data, sync=False)

    @contextlib.contextmanager
    def flight(self, key: str, waiting: Callable[[str], object]) -> Generator[None]:
        """One maker of a key at a time; a wait of more than two seconds tells who it is for.

        It has no end while the maker lives: a step may take hours.
        """
        with self._directory(LOCKS, create=True) as directory:
            with locks.named(directory, checked(key), f"build step {key[:12]}", note=waiting):
                yield
            locks.sweep(directory)

    def list(self) -> Sequence[Record]:
        """All records that can be read, the oldest first."""
        with self._directory() as directory:
            found = [_read(directory, key) for key in _keys(directory)]
        return sorted(
            (one for one in found if one is not None), key=lambda one: (one.created, one.key)
        )

    def remove(self, keys: Iterable[str]) -> None:
        """Forget results; what they alone needed goes with the next collection."""
        with self._directory() as directory:
            for key in keys if directory >= 0 else ():
                files.unlink(directory, checked(key) + SUFFIX)

    def sweep(self) -> None:
        """Remove damaged records, and what killed processes have left."""
        with self._directory() as directory:
            for key in list(_keys(directory)):
                if _read(directory, key) is None:
                    files.unlink(directory, key + SUFFIX)
            if directory >= 0:
                files.sweep(directory)
        with self._directory(LOCKS) as directory:
            if directory >= 0:
                locks.sweep(directory)

    def kept(self) -> set[str]:
        """The digests of the blobs that records need."""
        return {layer.digest for record in self.list() for layer in record.layers}

    def kept_layers(self) -> set[str]:
        """The keys of the layers that records need."""
        return {key for record in self.list() for key in record.layer_keys}

    @contextlib.contextmanager
    def _directory(self, below: str = "", *, create: bool = False) -> Generator[int]:
        """`build` or a directory in it; -1 if there is none."""
        fd = -1
        try:
            if create:
                os.close(files.open_directory(DIRECTORY, dir_fd=self._root_fd, create=True))
            path = f"{DIRECTORY}/{below}" if below else DIRECTORY
            fd = files.open_directory(path, dir_fd=self._root_fd, create=create)
        except FileNotFoundError:
            pass
        try:
            yield fd
        finally:
            if fd >= 0:
                os.close(fd)


def is_key(text: str) -> bool:
    return len(text) == 64 and _DIGITS.issuperset(text)


def checked(key: str) -> str:
    """The key; nothing else becomes a path."""
    if not is_key(key):
        raise CorruptError("a build step is refused", f"bad key {key[:80]!r}")
    return key


def _keys(directory: int) -> Iterator[str]:
    for name in os.listdir(directory) if directory >= 0 else ():
        key, dot, kind = name.partition(".")
        if dot + kind == SUFFIX and is_key(key):
            yield key


def _read(directory: int, key: str) -> Record | None:
    """The record; None if it is not there, or is not what `put` writes."""
    try:
        fd = os.open(
            key + SUFFIX,
            os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC,
            dir_fd=directory,
        )
    except OSError:
        return None
    try:
        return Record(key, json.loads(files.read_fd(fd, key, _LIMIT)), os.fstat(fd).st_mtime)
    except (ValueError, KeyError, TypeError, CorruptError):
        return None
    finally:
        os.close(fd)


def _layer(row: Any) -> Layer:
    diff_id, digest, media_type, size = row
    if not (is_digest(diff_id) and is_digest(digest) and isinstance(media_type, str)):
        raise ValueError
    return Layer(diff_id, digest, media_type, int(size))
