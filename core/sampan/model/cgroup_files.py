"""OCI `linux.resources` as files of a cgroup v2 directory, converted as runc and crun do (pure)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# The first of the files that exists is written.  Not required: nobody asked for it by name.
Choices = tuple[tuple[str, str], ...]
_RATES = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}


def controllers(resources: Mapping[str, Any]) -> list[str]:
    """The controllers that the resources need."""
    return sorted({controller for controller, _, required in files(resources) if required})


def without(resources: Mapping[str, Any], missing: set[str]) -> dict[str, Any]:
    """The resources that need none of these controllers."""
    kept: dict[str, Any] = {}
    for kind, part in resources.items():
        left = {
            key: value
            for key, value in part.items()
            if not missing & set(controllers({kind: {key: value}}))
        }
        if left:
            kept[kind] = left
    return kept


def files(resources: Mapping[str, Any]) -> list[tuple[str, Choices, bool]]:
    """(controller, choices, required) of each value to be written, in order."""
    unified: dict[str, str] = resources.get("unified", {})
    return [
        *_memory(resources.get("memory") or {}),
        *_cpu(resources.get("cpu") or {}),
        *_pids(resources.get("pids") or {}),
        *_block(resources.get("blockIO") or {}),
        *((name.partition(".")[0], ((name, value),), True) for name, value in unified.items()),
    ]


def _memory(memory: Mapping[str, int]) -> list[tuple[str, Choices, bool]]:
    rows: list[tuple[str, Choices, bool]] = []
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if limit:
        rows.append(("memory", (("memory.max", _most(limit)),), True))
    if swap:  # OCI counts memory and swap together, version 2 swap alone
        rows.append(
            ("memory", (("memory.swap.max", _most(swap if swap < 0 else swap - limit)),), True)
        )
    elif limit > 0:  # Docker's default: as much swap as memory
        rows.append(("memory", (("memory.swap.max", str(limit)),), False))
    if "reservation" in memory:
        rows.append(("memory", (("memory.low", str(memory["reservation"])),), True))
    return rows


def _cpu(cpu: Mapping[str, Any]) -> list[tuple[str, Choices, bool]]:
    rows: list[tuple[str, Choices, bool]] = []
    if "shares" in cpu:
        rows.append(("cpu", (("cpu.weight", str(weight_of_shares(cpu["shares"]))),), True))
    if "quota" in cpu or "period" in cpu:
        value = f"{_most(cpu.get('quota', -1))} {cpu.get('period', 100_000)}"
        rows.append(("cpu", (("cpu.max", value),), True))
    for key in ("cpus", "mems"):
        if key in cpu:
            rows.append(("cpuset", ((f"cpuset.{key}", cpu[key]),), True))
    return rows


def _pids(pids: Mapping[str, int]) -> list[tuple[str, Choices, bool]]:
    if "limit" not in pids:
        return []
    return [("pids", (("pids.max", _most(pids["limit"])),), pids["limit"] > 0)]


def _block(block: Mapping[str, Any]) -> list[tuple[str, Choices, bool]]:
    rows: list[tuple[str, Choices, bool]] = []
    if weight := block.get("weight"):
        choices = (("io.bfq.weight", str(weight)), ("io.weight", f"default {io_weight(weight)}"))
        rows.append(("io", choices, True))
    for device in block.get("weightDevice") or ():
        place, weight = f"{device['major']}:{device['minor']}", device["weight"]
        choices = (
            ("io.bfq.weight", f"{place} {weight}"),
            ("io.weight", f"{place} {io_weight(weight)}"),
        )
        rows.append(("io", choices, True))
    for key, word in _RATES.items():
        for device in block.get(key) or ():
            value = f"{device['major']}:{device['minor']} {word}={device['rate'] or 'max'}"
            rows.append(("io", (("io.max", value),), True))
    return rows


def _most(count: int) -> str:
    return "max" if count < 0 else str(count)


def weight_of_shares(shares: int) -> int:
    """cpu.weight (1 to 10000) of version 1's shares (2 to 262144)."""
    return 1 + (shares - 2) * 9999 // 262_142


def io_weight(weight: int) -> int:
    """io.weight (1 to 10000) of blkio weights (10 to 1000)."""
    return 1 + (weight - 10) * 9999 // 990
