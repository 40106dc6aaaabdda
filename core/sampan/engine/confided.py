"""In the monitor: a container's secrets become files of a tmpfs in its bundle, which ends with its last run."""

from __future__ import annotations

import errno
import os

from sampan import files
from sampan.errors import UnsupportedError
from sampan.linux import mounts, paths
from sampan.model import secret as model

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.model.secret import Use

    Owner = Callable[[int, int], tuple[int, int]]

ROOM = 64 << 10  # bytes for directories and the rest of pages


def place(bundle: int, directory: int, uses: list[Use], owner: Owner) -> None:
    """Mount them.

    directory: the container's, with its copies.  owner: the ids outside the container of a uid and gid inside.
    """
    data = {
        number: files.read(directory, model.copy_name(number))
        for number, use in enumerate(uses)
        if use["type"] == "mount"
    }
    size = ROOM + sum(len(content) + 4096 for content in data.values())
    target = files.open_directory(model.PLACE, dir_fd=bundle, create=True)
    tree = mounts.new(
        "tmpfs",
        [("size", str(size)), ("mode", "700")],
        mounts.NOSUID | mounts.NODEV | mounts.NOEXEC,
    )
    mounts.move(tree, target)
    os.close(target)
    for name in ("run", "files"):
        os.mkdir(name, 0o755, dir_fd=tree)
        os.chmod(name, 0o755, dir_fd=tree)  # whatever the umask is
    _give(tree, "run", {"name": model.DIRECTORY, "uid": 0, "gid": 0}, owner)
    for number, content in data.items():
        use = uses[number]
        name = os.path.basename(use["target"]) if model.is_listed(use) else str(number)
        place = files.open_directory("run" if model.is_listed(use) else "files", dir_fd=tree)
        files.write_atomic(place, name, content, sync=False)
        os.chmod(name, use["mode"], dir_fd=place)
        _give(place, name, use, owner)
        os.close(place)
    os.close(tree)


def _give(place: int, name: str, use: Use, owner: Owner) -> None:
    """To the ids that were asked for; a container without root leaves root's with its user."""
    try:
        ids = owner(use["uid"], use["gid"])
        fd = os.open(name, paths.O_PATH | os.O_NOFOLLOW, dir_fd=place)
        os.chown(f"/proc/self/fd/{fd}", *ids)
        os.close(fd)
    except (LookupError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        if use["uid"] == use["gid"] == 0:
            return
        raise UnsupportedError(
            f"cannot give secret {use['name']} to {use['uid']}:{use['gid']}",
            "the container has no such ids",
            "uid= and gid= of --secret, within the container's id map",
        ) from None
