"""ADD of an archive: its entries are extracted into the destination, as in a chroot of it.

A name, a link on the way to it and what a hard link leads to stay inside; `..` at the top leads nowhere.  A
directory is merged with the one that is there, all else takes the place of what is there.  The destination
itself stays as it is, whatever the archive says of its own root.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from sampan.errors import CorruptError
from sampan_build.dockerfile.layout import Layout, Made
from sampan_build.dockerfile.paths import clean
from sampan_build.dockerfile.tree import (
    DIRECTORY,
    FILE,
    LINK,
    NOTHING,
    Tree,
    decode,
    encode,
    join,
    open_directory,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from sampan.drivers.build import LayerArchive

_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
HARD_LINK = "h"


@contextmanager
def opened(root: int, directory: str, name: str) -> Generator[int]:
    """A file of a root."""
    parent = open_directory(root, directory)
    try:
        fd = os.open(encode(name), _FILE, dir_fd=parent)
    finally:
        os.close(parent)
    try:
        yield fd
    finally:
        os.close(fd)


def extract(archive: LayerArchive, layout: Layout, top: str, owner: tuple[int, int] | None) -> None:
    """Write the archive's entries below the directory `top`; owner: whose they are, else whose they say."""
    tree = layout.tree
    layout.write()  # what is there already is there before the first entry
    while (entry := archive.next()) is not None:
        name, kind, link = entry
        path = clean(f"/{decode(name)}").strip("/")
        if not path:
            continue
        place = _place(tree, path, top)
        parent = place.rpartition("/")[0]
        layout.directory(parent, Made())
        layout.write()
        target = None
        if kind == HARD_LINK:
            source = _place(tree, clean(f"/{decode(link)}").strip("/"), top)
            if tree.kind(source) in (NOTHING, DIRECTORY) or source == place:
                raise CorruptError(
                    f"cannot unpack the archive: {path}",
                    f"a hard link to /{source}, which is no file there",
                )
            target = encode(source)
        archive.copy(encode(place), link=target, owner=owner)
        text = decode(link) if kind == LINK else ""
        layout.written(place, kind if kind in (DIRECTORY, LINK) else FILE, text)


def _place(tree: Tree, path: str, top: str) -> str:
    """Where a name leads: links on the way are followed, the last word is not."""
    head, _, base = path.rpartition("/")
    return join(tree.resolve(head, top), base)
