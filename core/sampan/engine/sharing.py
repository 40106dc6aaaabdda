"""Namespaces of other containers: each container has a user namespace of its own, so none can be joined yet."""

from __future__ import annotations

from sampan.errors import UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.model.container import RunOptions


def refuse(engine: Engine, chosen: RunOptions) -> None:
    """`--ipc container:NAME`: the donor decides, and then sampan cannot."""
    donor = engine.containers.get(chosen["ipc"].partition(":")[2])
    if donor.record["options"].get("ipc") in ("private", "none"):
        raise UsageError(
            f"sharing of the ipc namespace with container {donor.name}",
            "is not allowed: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
        )
    raise UnsupportedError(
        f"cannot join the ipc namespace of container {donor.name}",
        "sampan has no shared namespaces yet",
    )
