"""import: a tar archive of a file system becomes an image of one layer.

The archive is read once, its compression told by its first bytes, and unpacked confined like a layer of any
registry before the image is listed: what is malformed or leads out of the root leaves nothing behind.
"""

from __future__ import annotations

import os
import zlib

from sampan.engine import events, pack
from sampan.engine.commit import now, store
from sampan.errors import SampanError
from sampan.model import instructions, platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.images import Image

CHUNK = 1 << 20
READ = 1 << 16  # bytes at a time: compressed, they may become a thousand times as many
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


def import_image(
    engine: Engine,
    source: str,
    name: str,
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: tuple[str, str, str] = ("", "", ""),
    progress: Callable[[int], object] = lambda done: None,
    tell: Callable[[str], object] = lambda text: None,
) -> Image:
    """source: a file, an http(s) URL, or - for standard input.  platform: os, architecture, variant."""
    from sampan.engine.images import full_name

    names = [full_name(name)] if name else []
    inner: dict[str, Any] = {}
    instructions.apply(inner, changes)
    with engine.images.lease() as lease:
        read, close = _open(source)
        try:
            layer = pack.pack(engine, lease, inflated(read, source), progress)
        finally:
            close()
        size = pack.unpack(engine, [layer], tell)
        created = now()
        step = {"created": created, "created_by": f"/bin/sh -c #(nop) ADD file in {_label(source)}"}
        if message:
            step["comment"] = message
        document = {
            **_platform(*platform),
            "created": created,
            "config": inner,
            "history": [step],
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        }
        descriptor = {"mediaType": layer.media_type, "digest": layer.digest, "size": layer.size}
        image = store(engine, lease, document, [descriptor], names, size)
    events.of_image(engine, image, "import", _label(source))
    return image


def _platform(system: str, architecture: str, variant: str) -> dict[str, str]:
    here = platform.host()
    found = {"os": system or here.os, "architecture": architecture or here.architecture}
    return {**found, "variant": variant} if variant else found


def _label(source: str) -> str:
    return "standard input" if source == "-" else os.path.basename(source)


def _open(source: str) -> tuple[Callable[[], bytes], Callable[[], object]]:
    """How to read chunks, and how to close."""
    if source.startswith(("http://", "https://")):
        return _download(source)
    try:
        fd = 0 if source == "-" else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        os.read(fd, 0)
    except OSError as error:
        raise SampanError(f"cannot read {source}", error.strerror or "") from None
    return (lambda: os.read(fd, READ)), (lambda: None if fd == 0 else os.close(fd))


def _download(url: str) -> tuple[Callable[[], bytes], Callable[[], object]]:
    import urllib3

    pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=30, read=60))
    try:
        answer = pool.request("GET", url, preload_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise SampanError(f"cannot get {url}", str(error), "check the address") from None
    if answer.status != 200:
        answer.close()
        raise SampanError(f"cannot get {url}", f"the server answered {answer.status}")

    def read() -> bytes:
        try:
            return answer.read(READ)
        except urllib3.exceptions.HTTPError as error:
            raise SampanError(f"cannot get {url}", str(error), "try again") from None

    return read, answer.close


def inflated(read: Callable[[], bytes], source: str) -> Callable[[], bytes]:
    """Chunks of CHUNK bytes of the archive itself."""
    head = b""
    while len(head) < len(ZSTD) and (more := read()):
        head += more
    if not head:
        raise SampanError(f"cannot import {_label(source)}", "it is empty", "give a tar archive")
    feed = _inflate(head, source)
    pending = [feed(head)]
    ended = False

    def chunk() -> bytes:
        nonlocal ended
        while not ended and sum(map(len, pending)) < CHUNK:
            more = read()
            ended = not more
            if more:
                pending.append(feed(more))
        data = b"".join(pending)
        pending[:] = [data[CHUNK:]]
        return data[:CHUNK]

    return chunk


def _inflate(head: bytes, source: str) -> Callable[[bytes], bytes]:
    if head.startswith(GZIP):
        inflater = zlib.decompressobj(31)

        def gzip(data: bytes) -> bytes:
            nonlocal inflater
            found = b""
            try:
                while data:
                    if inflater.eof:
                        if not data.startswith(GZIP):
                            return found  # bytes after the last member
                        inflater = zlib.decompressobj(31)
                    found += inflater.decompress(data)
                    data = inflater.unused_data
            except zlib.error as error:
                raise SampanError(f"cannot import {_label(source)}", f"gzip: {error}") from None
            return found

        return gzip
    if head.startswith(ZSTD):
        import zstandard

        unpacker = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

        def zstd(data: bytes) -> bytes:
            try:
                return unpacker.decompress(data)
            except zstandard.ZstdError as error:
                raise SampanError(f"cannot import {_label(source)}", f"zstd: {error}") from None

        return zstd
    return lambda data: data
