"""Who the engine works as.

A user works as himself.  Root does not: container root must never be host root, so the process takes on the
first id of a high range, which owns the store, and keeps root only as its saved id, for writing the id map.
"""

from __future__ import annotations

import os

from sampan.errors import SampanError
from sampan.linux import userns
from sampan.linux.userns import IdMap
from sampan.settings import ROOT_RANGE


def assume(root: str, run_dir: str) -> IdMap:
    """The id map of the caller; started by root, become the range's first id."""
    uid = os.getuid()
    if uid != 0:
        return userns.default_map(uid, os.getgid())
    idmap = _root_map()
    first_uid, first_gid = idmap.uids[0][1], idmap.gids[0][1]
    for path in (root, run_dir):
        _give(path, first_uid, first_gid)
    os.setgroups([])
    os.setresgid(first_gid, first_gid, 0)
    os.setresuid(0, first_uid, 0)
    return idmap


def _root_map() -> IdMap:
    uids = userns.subordinate_ranges("/etc/subuid", 0, "root")
    gids = userns.subordinate_ranges("/etc/subgid", 0, "root")
    (uid, uid_count), (gid, gid_count) = (uids[0], gids[0]) if uids and gids else (ROOT_RANGE,) * 2
    return IdMap(((0, uid, uid_count),), ((0, gid, gid_count),))


def _give(path: str, uid: int, gid: int) -> None:
    os.makedirs(path, mode=0o700, exist_ok=True)
    status = os.stat(path)
    if status.st_uid == uid:
        return
    if status.st_uid != 0 or os.listdir(path):
        raise SampanError(
            f"cannot keep state in {path}",
            f"it belongs to uid {status.st_uid}, and containers of root belong to uid {uid}",
            "choose an empty directory with --root",
        )
    os.chown(path, uid, gid)
    os.chmod(path, 0o700)
