"""--squash: the layers of a build as one, that says the same.

The tree at the end is compared with the one that it began with (or with nothing: --squash-all), so what came and
went in between is in no layer.
"""

from __future__ import annotations

import os

from sampan.linux import compare
from sampan.linux.paths import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sampan.drivers import BuildHost, Layers, LayerTar

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def squash(host: BuildHost, base: Layers, layers: Layers) -> Layers:
    """The base's layers and at most one more."""
    if len(layers) - len(base) < 2 and base:
        return layers
    layer = host.tree((base, layers), write)
    return (*base, layer) if layer else base


def write(roots: Sequence[int], tar: LayerTar) -> None:
    """The differences of the second tree to the first."""
    below, tree = roots
    written: set[bytes] = set()
    for kind, path in sorted(compare.trees(tree, below), key=lambda change: change[1]):
        if not path:
            tar.directory(b"", tree)
            continue
        if kind == "D":
            _entry(tree, path.rpartition(b"/")[0], tar, written)
            tar.whiteout(path)
        else:
            _entry(tree, path, tar, written)


def _entry(tree: int, path: bytes, tar: LayerTar, written: set[bytes]) -> None:
    """The entry of a path, after those of the directories that lead to it, which tell their owners and modes."""
    if not path or path in written:
        return
    head, _, name = path.rpartition(b"/")
    _entry(tree, head, tar, written)
    written.add(path)
    directory = openat2(tree, head or b".", _DIRECTORY, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    try:
        tar.copy(path, directory, name, origin=path)
    finally:
        os.close(directory)


def retell(history: list[dict[str, Any]], first: int, *, layer: bool) -> None:
    """The history's entries from `first` on, of which at most the last one has a layer now."""
    for row in history[first:]:
        row["empty_layer"] = True
    if layer and history[first:]:
        history[-1].pop("empty_layer")
