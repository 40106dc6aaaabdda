"""Removing layers and snapshots: by the user alone where all directories are his, which spares a user namespace."""

from __future__ import annotations

import os

from sampan import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.linux.userns import IdMap


def remove(root: int, key: str, idmap: IdMap) -> None:
    """First its name, so that half of it is never taken for all; then what killed removers have left."""
    if doomed := files.rename_away(root, key):
        _as_root_if_needed(idmap, lambda: files.remove_tree(root, doomed))
    if any(files.is_abandoned(other) for other in os.listdir(root)):
        from sampan_storage import layers

        _as_root_if_needed(idmap, lambda: layers.sweep(root))


def _as_root_if_needed(idmap: IdMap, action: Callable[[], None]) -> None:
    """What is refused to the user lies in directories of subordinate ids: root of their namespace goes on."""
    try:
        action()
    except PermissionError:
        if os.geteuid() == 0:
            raise
        from sampan.linux import userns

        userns.run(idmap, action)
