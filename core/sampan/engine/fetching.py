"""Fetching an image's blobs: three threads, the first failure stops all.

Each blob goes through its ingest file: verified there, shown to whoever waits for it (the
unpacker), and then committed, so that the unpacking of one layer and the syncing of its blob run
side by side.  A blob whose digest is wrong is fetched once more, from the registry itself, before
it is an error.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from sampan.errors import CorruptError, LimitError
from sampan.model.image import Descriptor
from sampan.registry.fetch import Advance, Fetched
from sampan.store.blobs import BlobStore
from sampan.store.ingest import Ingest

THREADS = 3
THREAD_NAME = "sampan-fetch"
_GRACE = 5.0  # seconds that a thread has for its last chunk


class Progress(Protocol):
    """What the transfer of an image tells while it goes on. Called from several threads."""

    def note(self, text: str) -> None:
        """A line for the user."""
        ...

    def begin(self, digest: str, size: int, kind: str) -> None:
        """A blob is about to be received; kind: "blob" or "config"."""
        ...

    def update(self, digest: str, received: int) -> None: ...

    def end(self, digest: str, outcome: str) -> None:
        """outcome: "done", "exists" (nothing to fetch) or "unpacked"."""
        ...


class Silent:
    """A Progress that tells nothing."""

    def note(self, text: str) -> None: ...

    def begin(self, digest: str, size: int, kind: str) -> None: ...

    def update(self, digest: str, received: int) -> None: ...

    def end(self, digest: str, outcome: str) -> None: ...


class Source(Protocol):
    """Where an image is taken from: a registry with its mirrors, an OCI layout, a directory."""

    served_by: str  # for the user: the host or the file

    def manifest(self, selector: str) -> Fetched:
        """A manifest or index by digest (of a registry also by tag). NotFoundError, CorruptError."""
        ...

    def blob(
        self, descriptor: Descriptor, ingest: Ingest, advance: Advance, *, mirrors: bool = True
    ) -> None:
        """Receive all bytes of a blob, whose digest the caller verifies. Called from several threads.

        mirrors: False asks the place itself.
        """
        ...


class LayerWork(NamedTuple):
    """A blob, and the places in the chain where it is to be unpacked."""

    descriptor: Descriptor
    indexes: list[int]


Use = Callable[[int], None]  # given a read-only descriptor of the verified bytes, closed afterwards
Submit = Callable[[int, int], None]


class _Stopped(Exception):
    """Another thread failed."""


class Fetcher:
    """Brings blobs of one source into the store."""

    def __init__(self, blobs: BlobStore, source: Source, tell: Progress) -> None:
        self._blobs, self._source, self._tell = blobs, source, tell
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._failures: list[BaseException] = []

    def blob(self, descriptor: Descriptor, kind: str, use: Use | None) -> None:
        """One blob, verified and committed; `use` sees it before it is committed, and may
        refuse it.
        """
        for last in (False, True):
            with self._blobs.ingest(descriptor.digest, descriptor.size, self._tell.note) as ingest:
                if ingest.complete:
                    return self._present(descriptor, kind, use)
                self._tell.begin(descriptor.digest, descriptor.size, kind)
                fd = self._receive(descriptor, ingest, last)
                if fd is None:
                    continue
                try:
                    _used(fd, use, ingest)
                finally:
                    os.close(fd)
                ingest.commit()
                return self._tell.end(descriptor.digest, "done")

    def all(self, work: Sequence[LayerWork], submit: Submit | None) -> None:
        """All blobs, in parallel and in order; raises the first failure."""
        todo = iter(work)
        count = min(THREADS, len(work))
        threads = [
            threading.Thread(target=self._work, args=(todo, submit), name=THREAD_NAME, daemon=True)
            for _ in range(count)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self._stop.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join(_GRACE)
        if self._failures:
            raise self._failures[0]

    def _work(self, todo: Iterator[LayerWork], submit: Submit | None) -> None:
        while not self._stop.is_set():
            with self._lock:
                item = next(todo, None)
            if item is None:
                return
            try:
                self._layer(item, submit)
            except _Stopped:
                return
            except BaseException as error:  # carried to the thread that waits
                with self._lock:
                    self._failures.append(error)
                self._stop.set()
                return

    def _layer(self, work: LayerWork, submit: Submit | None) -> None:
        def use(fd: int) -> None:
            for index in work.indexes:
                if submit is not None:
                    submit(index, fd)

        self.blob(work.descriptor, "blob", use)

    def _present(self, descriptor: Descriptor, kind: str, use: Use | None) -> None:
        """A blob that is in the store already, maybe by another process' work."""
        if self._blobs.size(descriptor.digest) != descriptor.size:
            raise CorruptError(
                f"blob {descriptor.digest} is refused",
                f"its descriptor says {descriptor.size} bytes and it has another size",
            )
        self._tell.begin(descriptor.digest, descriptor.size, kind)
        if use is not None:
            fd = self._blobs.open(descriptor.digest)
            try:
                use(fd)
            finally:
                os.close(fd)
        self._tell.end(descriptor.digest, "exists")

    def _receive(self, descriptor: Descriptor, ingest: Ingest, last: bool) -> int | None:
        """A descriptor of the verified bytes, or None if they are worth another try."""

        def advance(received: int) -> None:
            if self._stop.is_set():
                raise _Stopped
            self._tell.update(descriptor.digest, received)

        try:
            self._source.blob(descriptor, ingest, advance, mirrors=not last)
            return ingest.verify()
        except LimitError:
            ingest.discard()
            raise
        except CorruptError as error:
            ingest.discard()
            if last:
                raise
            self._tell.note(f"{error}; fetching it once more")
            return None
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                ingest.discard()  # a partial file would keep the disk full
            raise


def _used(fd: int, use: Use | None, ingest: Ingest) -> None:
    if use is None:
        return
    try:
        use(fd)
    except BaseException:
        ingest.discard()
        raise
