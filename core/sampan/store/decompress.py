"""A blob as uncompressed chunks: sniffed, inflated, hashed and budgeted.

What a layer is compressed with is read from its first bytes: media types lie, and the diff_id
decides.  Gzip is inflated member by member and zstd frame by frame, so that both tell the same of
what follows the last one: zeros are padding, anything else is `trailing` and left to the caller,
who knows whether the digest was right.

A big blob is inflated and hashed in a thread: isal, zstandard and hashlib all let go of the
interpreter, so it costs nothing of what unpacks the entries.
"""

from __future__ import annotations

import hashlib
import os
import queue
import stat
import threading
from typing import BinaryIO, cast

import zstandard
from isal import igzip_lib

from sampan.errors import CorruptError, LimitError, SampanError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHUNK = 1 << 20  # of uncompressed bytes: a multiple of tar's 512, so that few headers are cut
READ = 1 << 18
AHEAD = 4  # chunks that wait
THREAD_FROM = 1 << 21  # compressed bytes below which a thread is not worth its start
WINDOW = 1 << 27  # what the zstd program takes without --long=31

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
_BAD_GZIP = cast("type[Exception]", igzip_lib.IsalError)  # its stub calls it a value
OTHERS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz"}


def sniff(head: bytes) -> str:
    """The compression that the first bytes of a blob show: "gzip", "zstd" or "" (none)."""
    if head.startswith(GZIP):
        return "gzip"
    if head.startswith(ZSTD) or _skippable(head):
        return "zstd"
    for magic, name in OTHERS.items():
        if head.startswith(magic):
            raise UnsupportedError(
                "cannot unpack the layer", f"it is compressed with {name}", "gzip and zstd are read"
            )
    return ""


def _skippable(head: bytes) -> bool:
    return len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50


class Source:
    """The uncompressed bytes of the blob `fd`; `read()` gives chunks and at the end b"".

    ceiling: how many bytes may come out; room: how many there is space for.  After the end
    `diff_id()`, `size` and `trailing` are final. The descriptor is read by position, so it may be
    shared; of a pipe, what comes is plain, and has as much room as there is.
    """

    def __init__(
        self,
        fd: int,
        ceiling: int,
        room: int | None = None,
        span: tuple[int, int] | None = None,
    ) -> None:
        self._fd, self._ceiling = fd, ceiling
        self._room = ceiling if room is None else room
        status = os.fstat(fd)
        self._begin, self._length = span or (0, status.st_size)
        self._hash = hashlib.sha256()
        self.size = 0
        self.trailing = 0
        self._piped = stat.S_ISFIFO(status.st_mode)
        if self._piped:
            self._ceiling = self._room
        self.compression = "" if self._piped else sniff(self._pread(16, 0))
        self._chunks = self._budgeted()
        self._queue: queue.Queue[bytes | BaseException] | None = None
        self._closed = False

    def start(self) -> None:
        """Go ahead in a thread, if the blob is big enough to gain by it."""
        if self.compression and self._length >= THREAD_FROM:
            self._queue = queue.Queue(AHEAD)
            threading.Thread(target=self._fill, args=(self._queue,), daemon=True).start()

    def read(self) -> bytes:
        if self._queue is None:
            return next(self._chunks, b"")
        item = self._queue.get()
        if isinstance(item, bytes):
            if not item:
                self._queue.put(b"")  # the end stays the end
            return item
        raise item

    def drain(self) -> None:
        """Consume what is left, so that the digest covers the whole input."""
        while self.read():
            pass

    def diff_id(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def close(self) -> None:
        """Let a thread that waits go."""
        self._closed = True
        if self._queue is not None:
            try:
                while True:
                    self._queue.get_nowait()
            except queue.Empty:
                pass

    def _fill(self, target: queue.Queue[bytes | BaseException]) -> None:
        try:
            for chunk in self._chunks:
                if self._closed:
                    return
                target.put(chunk)
            target.put(b"")
        except BaseException as error:  # it is raised in the thread that reads
            target.put(error)

    def _budgeted(self) -> Iterator[bytes]:
        inflate: Callable[[], Iterator[bytes]] = {
            "gzip": self._gzip,
            "zstd": self._zstd,
            "": self._plain,
        }[self.compression]
        for chunk in inflate():
            self.size += len(chunk)
            if self.size > self._ceiling:
                raise LimitError(
                    "cannot unpack the layer",
                    f"its {self._length} bytes grow to more than {self._ceiling}",
                    "check who made this image",
                )
            if self.size > self._room:
                raise SampanError(
                    "cannot unpack the layer",
                    f"no space left on the device: it needs more than {self._room} bytes",
                    "free some, or keep the store elsewhere with --root",
                )
            self._hash.update(chunk)
            yield chunk

    def _plain(self) -> Iterator[bytes]:
        offset = 0
        while chunk := os.read(self._fd, CHUNK) if self._piped else self._pread(CHUNK, offset):
            offset += len(chunk)
            yield chunk

    def _gzip(self) -> Iterator[bytes]:
        offset = 0
        while True:
            inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            inflate: Callable[[bytes, int], bytes]
            inflate = inflater.decompress  # pyright: ignore
            while not inflater.eof:
                data = b""
                if inflater.needs_input:
                    data = self._pread(READ, offset)
                    offset += len(data)
                    if not data:
                        raise self._corrupt("the gzip data ends early")
                try:
                    chunk = inflate(data, CHUNK)
                except (_BAD_GZIP, ValueError, EOFError) as error:
                    raise self._corrupt(f"bad gzip data: {error}") from None
                if chunk:
                    yield chunk
            offset -= len(inflater.unused_data)
            offset = self._skip_zeros(offset)
            if self._pread(2, offset) != GZIP:
                self.trailing = self._length - offset
                return

    def _zstd(self) -> Iterator[bytes]:
        end = self._frames_end()
        decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
        part = cast("BinaryIO", _Part(self._pread, end))
        reader = decompressor.stream_reader(part, read_size=READ, read_across_frames=True)
        while True:
            try:
                chunk = reader.read(CHUNK)
            except zstandard.ZstdError as error:
                raise self._corrupt(f"bad zstd data: {error}") from None
            if not chunk:
                return
            yield chunk

    def _frames_end(self) -> int:
        """Where the last zstd frame ends (RFC 8878, 3.1): found without inflating, so a cut one is
        noticed.
        """
        offset = 0
        while True:
            head = self._pread(18, offset)
            if _skippable(head) and len(head) >= 8:
                offset += 8 + int.from_bytes(head[4:8], "little")
            elif head.startswith(ZSTD):
                offset = self._frame_end(offset, head)
            else:
                self.trailing = self._length - self._skip_zeros(offset)
                return offset
            if offset > self._length:
                raise self._corrupt("the zstd data ends early")

    def _frame_end(self, offset: int, head: bytes) -> int:
        try:
            offset += zstandard.frame_header_size(head)
        except zstandard.ZstdError as error:
            raise self._corrupt(f"bad zstd data: {error}") from None
        checksum = 4 if head[4] & 4 else 0
        while True:
            block = int.from_bytes(self._pread(3, offset), "little")
            kind, size = block >> 1 & 3, block >> 3
            offset += 3 + (1 if kind == 1 else size)
            if offset > self._length or kind == 3:
                raise self._corrupt("the zstd data ends early")
            if block & 1:
                return offset + checksum
            if not size and kind != 1 and offset == self._length:
                raise self._corrupt("the zstd data ends early")

    def _pread(self, size: int, at: int) -> bytes:
        return os.pread(self._fd, max(0, min(size, self._length - at)), self._begin + at)

    def _skip_zeros(self, offset: int) -> int:
        while data := self._pread(READ, offset):
            rest = data.lstrip(b"\0")
            offset += len(data) - len(rest)
            if rest:
                break
        return offset

    def _corrupt(self, why: str) -> SampanError:
        return CorruptError("cannot unpack the layer", why, "pull the image again")


class _Part:
    """The first `end` bytes of a blob as the file that zstandard wants."""

    def __init__(self, pread: Callable[[int, int], bytes], end: int) -> None:
        self._pread, self._end, self._offset = pread, end, 0

    def read(self, size: int = -1) -> bytes:
        left = self._end - self._offset
        data = self._pread(left if size < 0 else min(size, left), self._offset)
        self._offset += len(data)
        return data
