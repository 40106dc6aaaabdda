"""An OCI document's process, once the mounted root has told who its user is."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.model.users import User

KEEP_GROUPS = "keep-groups"  # a --group-add that means the caller's own groups


def finish(
    spec: dict[str, Any], user: User, *, explicit_home: bool, keep_groups: bool = False
) -> dict[str, Any]:
    """The document with the user's numbers; only root keeps capabilities.

    keep_groups: the process keeps the groups that the caller has on the host (as crun's annotation says).
    """
    process = dict(spec["process"])
    process["user"] = {**process["user"], "uid": user.uid, "gid": user.gid}
    if keep_groups:
        process["user"]["keepOriginalGroups"] = True
    if user.groups:
        process["user"]["additionalGids"] = user.groups
    if not explicit_home:
        process["env"] = [*process["env"], f"HOME={user.home}"]
    if user.uid != 0:
        process["capabilities"] = {**process["capabilities"], "effective": [], "permitted": []}
    return {**spec, "process": process}
