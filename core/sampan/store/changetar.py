"""The changes of a container as a layer.

Every changed path comes with the entries of all its parent directories, as containerd writes them,
so that the layer tells their owners and modes wherever it is applied.  What is gone is a whiteout
of its own, never an opaque directory: every storage driver gives the same bytes.
"""

from __future__ import annotations

import os

from sampan.linux.paths import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from sampan.store.tarwriter import WHITEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from sampan.drivers import Change
    from sampan.store.tarwriter import TarWriter

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def with_parents(changes: Iterable[Change]) -> dict[bytes, str]:
    """The kind of each path, sorted by path; "" is a parent that did not change itself."""
    found: dict[bytes, str] = {}
    for change in changes:
        found[change.path] = change.kind
        parent = change.path.rpartition(b"/")[0]
        while parent and parent not in found:
            found[parent] = ""
            parent = parent.rpartition(b"/")[0]
    return {path: found[path] for path in sorted(found)}


def write(writer: TarWriter, root: int, changes: Iterable[Change]) -> None:
    """Write the changes of the tree `root`."""
    opened, directory = b"", os.dup(root)
    try:
        for path, kind in with_parents(changes).items():
            if not path:
                writer.root(root)
                continue
            head, _, base = path.rpartition(b"/")
            if any(part.startswith(WHITEOUT) for part in path.split(b"/")):
                writer.refused += 1  # it would be read as a whiteout
                continue
            if kind == "D":
                writer.whiteout(path)
                continue
            if head != opened:
                try:
                    following = openat2(
                        root, head or b".", _DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
                    )
                except OSError:  # it went meanwhile
                    writer.unsteady.append(path)
                    continue
                os.close(directory)
                opened, directory = head, following
            writer.add(path, directory, base)
    finally:
        os.close(directory)
