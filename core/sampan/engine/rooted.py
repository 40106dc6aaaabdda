"""What only the mounted root tells: the last of the OCI document, and what is put into the root for a run."""

from __future__ import annotations

import os

from sampan import files
from sampan.engine import surroundings
from sampan.linux import paths
from sampan.model import process as oci
from sampan.model import users
from sampan.model.mounts import needs_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine.supervise import Supervisor
    from sampan.model.secret import Use
    from sampan.model.users import User


def finish(life: Supervisor, spec: dict[str, Any]) -> dict[str, Any]:
    """The whole document."""
    root = os.open("rootfs", paths.O_PATH | os.O_DIRECTORY, dir_fd=life.bundle_fd)
    options = life.options
    try:
        user = _user(life, root)
        surroundings.check_workdir(root, options, spec)
        if any(map(needs_work, options["mounts"])):
            from sampan.engine.placed import place

            ids, images = life.outside(user.uid, user.gid), life.plan["images"]
            life.servers += place(life.engine, life.bundle_fd, root, ids, options["mounts"], images)
        if uses := options.get("secrets"):
            _confide(life, uses, spec)
        surroundings.link_mtab(root, life.owner)
        if options.get("pretend_ids"):
            surroundings.keep_apt_root(root, life.bundle_fd, spec)
        if options["tz"] == "local":
            _set_zone(root)
    finally:
        os.close(root)
    if options["tty"] and life.plan.get("size"):
        rows, columns = life.plan["size"]
        spec["process"]["consoleSize"] = {"height": rows, "width": columns}
    explicit = any(word.startswith("HOME=") for word in spec["process"]["env"])
    keep = oci.KEEP_GROUPS in options["group_add"]
    return oci.finish(spec, user, explicit_home=explicit, keep_groups=keep)


def _user(life: Supervisor, root: int) -> User:
    options = life.options
    return users.resolve(
        options["user"],
        surroundings.passwd(root, life.bundle_fd, options, life.owner),
        paths.read_in_root(root, "/etc/group"),
        [group for group in options["group_add"] if group != oci.KEEP_GROUPS],
        gid_count=(life.idmap or life.engine.idmap).gid_count(),
    )


def _confide(life: Supervisor, uses: list[Use], spec: dict[str, Any]) -> None:
    """The secrets: files in the bundle, and variables in the document there, which ends with the last run."""
    from sampan.engine import confided, secrets
    from sampan.model.secret import with_variables

    confided.place(life.bundle_fd, life.dir_fd, uses, life.outside)
    found = secrets.variables(life.dir_fd, uses)
    spec["process"]["env"] = with_variables(spec["process"]["env"], found)


def _set_zone(root: int) -> None:
    """`--tz local` copies the host's /etc/localtime; a name is in the variable TZ."""
    with open("/etc/localtime", "rb") as source:
        data = source.read(1 << 20)
    etc = paths.make_directories(root, "/etc")
    files.unlink(etc, "localtime")
    files.write_atomic(etc, "localtime", data, sync=False, mode=0o644)
    os.close(etc)
