"""import: a tar archive of a file system becomes an image of one layer.

The archive is read once, its compression told by its first bytes, and unpacked confined like a layer of any
registry before the image is listed: what is malformed or leads out of the root leaves nothing behind.
"""

from __future__ import annotations

import os

from sampan.engine import events, pack
from sampan.engine.commit import now, store
from sampan.errors import SampanError
from sampan.model import instructions, platform
from sampan.store.inflate import READ, inflated

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.images import Image


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
            layer = pack.pack(
                engine, lease, inflated(read, f"cannot import {_label(source)}"), progress
            )
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
        return download(source)
    try:
        fd = 0 if source == "-" else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        os.read(fd, 0)
    except OSError as error:
        raise SampanError(f"cannot read {source}", error.strerror or "") from None
    return (lambda: os.read(fd, READ)), (lambda: None if fd == 0 else os.close(fd))


def download(url: str) -> tuple[Callable[[], bytes], Callable[[], object]]:
    """How to read the chunks of what is at the address, and how to close it."""
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
