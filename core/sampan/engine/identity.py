"""Who the engine works as.

A user works as himself.  Root does not: container root must never be host root, so the process takes on the
first id of a high range, which owns the store, and keeps root only as its saved id, for writing the id map.
"""

from __future__ import annotations

import os
import stat

from sampan.errors import SampanError
from sampan.linux import userns
from sampan.linux.userns import IdMap
from sampan.settings import ROOT_RANGE


def assume(root: str, run_dir: str) -> IdMap:
    """The id map of the caller; started by root, become the range's first id."""
    if not userns.is_host_root():
        return userns.default_map(os.getuid(), os.getgid())
    idmap = _root_map()
    first_uid, first_gid = idmap.uids[0][1], idmap.gids[0][1]
    for path in (root, run_dir):
        _give(path, first_uid, first_gid)
    if not _readable_by_others():
        preload()
    os.setgroups([])
    os.setresgid(first_gid, first_gid, 0)
    os.setresuid(0, first_uid, 0)
    # What is written belongs to the range; what root may read (sampan's own code, say) stays readable.
    from sampan.linux import capabilities
    from sampan.model.capabilities import NUMBERS

    reading = 1 << NUMBERS["CAP_DAC_READ_SEARCH"]
    capabilities.set_sets(reading, capabilities.permitted(), 0)
    return idmap


def _readable_by_others() -> bool:
    """Whether the range's ids can load sampan and the interpreter's library: below /root they cannot."""
    for path in (__file__, os.__file__):
        while path != "/":
            mode = os.stat(path).st_mode
            if not mode & (0o001 if stat.S_ISDIR(mode) else 0o004):
                return False
            path = os.path.dirname(path)
    return True


def preload() -> None:
    """Load every module that a process inside the user namespace may want: from there it cannot."""
    import importlib
    import pkgutil

    import sampan
    from sampan.plugins import GROUPS, scan

    packages = [sampan.__name__]
    packages += [row[2].partition(":")[0].partition(".")[0] for row in scan() if row[0] in GROUPS]
    for name in dict.fromkeys(packages):
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(getattr(package, "__path__", []), name + "."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)


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
