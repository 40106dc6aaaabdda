"""What inspect tells of a container's limits, by podman's names."""

from __future__ import annotations

from sampan.engine.limits import DISABLED, effective, manager_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.containers import Container


def cgroup_path(container: Container) -> str:
    """The running container's cgroup as /proc/PID/cgroup tells it; "" if it has none of its own."""
    path = container.run.get("cgroup", "") if container.run else ""
    return path.removeprefix("/sys/fs/cgroup")


def shown(engine: Engine, container: Container) -> dict[str, Any]:
    """The fields of inspect's HostConfig; LimitsNotEnforced names the controllers of limits that are not delivered."""
    chosen = container.record["options"]
    run = container.run
    disabled = chosen.get("cgroups") == DISABLED
    resources: dict[str, Any] = {}
    lacking: list[str] = []
    if not disabled:
        resources, lacking = effective(engine, chosen)
    asked = chosen.get("resources") or {}
    if run is not None:
        lacking = run.get("unenforced", [])
    memory: dict[str, int] = asked.get("memory", {})
    cpu: dict[str, Any] = asked.get("cpu", {})
    pids: dict[str, int] = resources.get("pids") or asked.get("pids", {})
    quota, period = cpu.get("quota", 0), cpu.get("period", 0)
    limit = memory.get("limit", 0)
    return {
        "Memory": limit,
        "MemorySwap": memory.get("swap", 2 * limit),
        "MemoryReservation": memory.get("reservation", 0),
        "MemorySwappiness": -1,
        "OomKillDisable": False,
        "NanoCpus": quota * 10**9 // period if quota > 0 and period else 0,
        "CpuShares": cpu.get("shares", 0),
        "CpuQuota": quota,
        "CpuPeriod": period,
        "CpusetCpus": cpu.get("cpus", ""),
        "CpusetMems": cpu.get("mems", ""),
        "PidsLimit": pids.get("limit", 0),
        "BlkioWeight": asked.get("blockIO", {}).get("weight", 0),
        "CgroupConf": asked.get("unified"),
        "CgroupParent": chosen.get("cgroup_parent", ""),
        "CgroupManager": run.get("cgroup_manager", "none") if run else manager_name(engine),
        "Cgroups": "default"
        if chosen.get("cgroups", "enabled") == "enabled"
        else chosen["cgroups"],
        "LimitsNotEnforced": lacking,
    }
