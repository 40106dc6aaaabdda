"""Limits: the words of the options made into OCI `linux.resources` (runtime-spec, config-linux.md), by Docker's rules.

Pure but for the numbers of block devices, which `stat` tells.
"""

from __future__ import annotations

import os
import stat

from sampan.errors import UnsupportedError, UsageError
from sampan.model import sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MINIMUM_MEMORY = 6 << 20
PERIOD = 100_000  # microseconds: the kernel's own period of cpu.max
RATES = {
    "device_read_bps": "throttleReadBpsDevice",
    "device_write_bps": "throttleWriteBpsDevice",
    "device_read_iops": "throttleReadIOPSDevice",
    "device_write_iops": "throttleWriteIOPSDevice",
}
# What asks for a limit; the names are those of the options.
NAMES = (
    "memory", "memory_swap", "memory_reservation", "memory_swappiness", "oom_kill_disable", "cpus", "cpu_shares",
    "cpu_quota", "cpu_period", "cpuset_cpus", "cpuset_mems", "pids_limit", "blkio_weight", "blkio_weight_device",
    "cgroup_conf", *RATES,
)  # fmt: skip


def is_asked(values: Mapping[str, Any]) -> bool:
    return any(values.get(name) not in (None, False, []) for name in NAMES)


def build(values: Mapping[str, Any], cpus: set[int], nodes: set[int]) -> dict[str, Any]:
    """OCI resources of the options' words; cpus and nodes are the machine's."""
    return check(_parts(values, cpus, nodes))


def build_update(
    values: Mapping[str, Any], old: Mapping[str, Any], cpus: set[int], nodes: set[int]
) -> dict[str, Any]:
    """The old resources with what the words change."""
    return merge(old, _parts(values, cpus, nodes))


def _parts(values: Mapping[str, Any], cpus: set[int], nodes: set[int]) -> dict[str, Any]:
    if values.get("oom_kill_disable"):
        raise UnsupportedError(
            "option --oom-kill-disable is not supported",
            "cgroup v2 cannot switch the OOM killer off",
            "--oom-score-adj makes a container a less likely victim",
        )
    if values.get("memory_swappiness") not in (None, "-1"):
        raise UnsupportedError(
            "option --memory-swappiness is not supported",
            "cgroup v2 has no swappiness of a group",
            "--memory-swap limits how much is swapped",
        )
    made = {
        "memory": _memory(values),
        "cpu": _cpu(values, cpus, nodes),
        "pids": _pids(values),
        "blockIO": _block(values),
        "unified": _unified(values),
    }
    return {kind: part for kind, part in made.items() if part}


def merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`new` over `old`, key by key."""
    kinds = [*old, *(kind for kind in new if kind not in old)]
    merged = {kind: {**old.get(kind, {}), **new.get(kind, {})} for kind in kinds}
    return check({kind: part for kind, part in merged.items() if part})


def check(resources: dict[str, Any]) -> dict[str, Any]:
    """The same, if its parts agree with each other."""
    memory = resources.get("memory", {})
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if swap and limit <= 0:
        raise UsageError(
            "--memory-swap", "it needs a memory limit too, which it includes", "give --memory"
        )
    if 0 < swap < limit:
        raise UsageError("--memory-swap", "it must not be smaller than --memory, which it includes")
    if 0 < limit < memory.get("reservation", 0):
        raise UsageError("--memory-reservation", "it must not be larger than --memory")
    return resources


def _memory(values: Mapping[str, Any]) -> dict[str, int]:
    memory: dict[str, int] = {}
    for name, key in (("memory", "limit"), ("memory_reservation", "reservation")):
        option = f"--{name.replace('_', '-')}"
        count = sizes.size(values[name], option) if values.get(name) else 0
        if 0 < count < MINIMUM_MEMORY:
            raise UsageError(option, "the minimum is 6m")
        if count:
            memory[key] = count
    if word := values.get("memory_swap"):
        count = -1 if word == "-1" else sizes.size(word, "--memory-swap")
        if count:
            memory["swap"] = count
    return memory


def _cpu(values: Mapping[str, Any], cpus: set[int], nodes: set[int]) -> dict[str, Any]:
    cpu: dict[str, Any] = {}
    shares = _whole(values, "cpu_shares", 0, 1 << 63)
    if shares:
        cpu["shares"] = min(max(shares, 2), 262_144)
    period = _whole(values, "cpu_period", 1000, 1_000_000, none=(0,))
    quota = _whole(values, "cpu_quota", 1000, 1 << 43, none=(0, -1))
    if values.get("cpus") and (period or quota):
        raise UsageError("--cpus", "it cannot be given with --cpu-period or --cpu-quota")
    if count := _cpus(values.get("cpus"), cpus):
        period, quota = PERIOD, int(count * PERIOD + 0.5)
    elif values.get("cpu_quota") == "-1":
        quota = -1
    cpu |= {key: value for key, value in (("period", period), ("quota", quota)) if value}
    for name, key, there in (("cpuset_cpus", "cpus", cpus), ("cpuset_mems", "mems", nodes)):
        if word := values.get(name):
            option = f"--{name.replace('_', '-')}"
            beyond = numbers(word, option) - there
            if beyond:
                raise UsageError(
                    f"{option} {word}",
                    f"{min(beyond)} is not available; available: {ranges(there)}",
                )
            cpu[key] = word
    return cpu


def _cpus(word: str | None, cpus: set[int]) -> float:
    if not word:
        return 0
    try:
        count = float(word)
    except ValueError:
        raise UsageError(f"--cpus {word!r}", "it is not a number") from None
    if count == 0:
        return 0
    if not 0.01 <= count <= len(cpus):
        raise UsageError(
            f"--cpus {word}",
            f"the range is from 0.01 to {len(cpus)}.00, as there are only {len(cpus)} CPUs available",
        )
    return count


def _pids(values: Mapping[str, Any]) -> dict[str, int]:
    if values.get("pids_limit") is None:
        return {}
    count = _whole(values, "pids_limit", 1, 1 << 62, none=(0, -1))
    return {"limit": count or -1}  # 0 and -1: no limit


def _block(values: Mapping[str, Any]) -> dict[str, Any]:
    block: dict[str, Any] = {}
    if weight := _whole(values, "blkio_weight", 10, 1000, none=(0,)):
        block["weight"] = weight
    devices: list[dict[str, int]] = []
    for word in values.get("blkio_weight_device") or ():
        number, text = _device(word, "--blkio-weight-device")
        devices.append(
            {**number, "weight": _number(text, f"--blkio-weight-device {word}", 10, 1000)}
        )
    if devices:
        block["weightDevice"] = devices
    for name, key in RATES.items():
        option = f"--{name.replace('_', '-')}"
        rows: list[dict[str, int]] = []
        for word in values.get(name) or ():
            number, text = _device(word, option)
            in_bytes = name.endswith("bps")
            rate = sizes.size(text, option) if in_bytes else _number(text, option, 0, 1 << 62)
            rows.append({**number, "rate": rate})
        if rows:
            block[key] = rows
    return block


def _device(word: str, option: str) -> tuple[dict[str, int], str]:
    path, colon, text = word.rpartition(":")
    if not colon or not path.startswith("/dev/"):
        raise UsageError(f"{option} {word}", "the form is /dev/NAME:VALUE")
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(f"{option} {word}", f"{path}: {error.strerror}") from None
    if not stat.S_ISBLK(status.st_mode):
        raise UsageError(f"{option} {word}", f"{path} is not a block device")
    return {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}, text


def _unified(values: Mapping[str, Any]) -> dict[str, str]:
    """`--cgroup-conf memory.high=1073741824`: files of the container's own cgroup."""
    found: dict[str, str] = {}
    for word in values.get("cgroup_conf") or ():
        name, equals, value = word.partition("=")
        controller, dot, rest = name.partition(".")
        plain = name.replace(".", "").replace("_", "")
        known = controller in ("cpu", "cpuset", "io", "memory", "pids", "hugetlb", "misc", "rdma")
        if not (equals and dot and rest and value and plain.isalnum() and name.isascii() and known):
            raise UsageError(
                f"--cgroup-conf {word}", "the form is FILE=VALUE", "such as memory.high=512000000"
            )
        found[name] = value
    return found


def numbers(text: str, what: str) -> set[int]:
    """{0, 1, 2, 5} of `0-2,5` (cpuset(7))."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
            raise UsageError(f"{what} {text!r}", "the form is 0-2,5")
        if int(first) > int(last) or int(last[:7]) > 100_000:
            raise UsageError(f"{what} {text!r}", f"{part} is no range")
        found |= set(range(int(first), int(last) + 1))
    return found


def ranges(found: set[int]) -> str:
    """`0-2,5` of {0, 1, 2, 5}."""
    rows: list[list[int]] = []
    for number in sorted(found):
        if rows and rows[-1][1] == number - 1:
            rows[-1][1] = number
        else:
            rows.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in rows)


def _whole(
    values: Mapping[str, Any], name: str, lowest: int, highest: int, *, none: tuple[int, ...] = ()
) -> int:
    """The option's whole number; 0 if it is not given, or is a value that means none."""
    word = values.get(name)
    if not word:
        return 0
    return _number(word, f"--{name.replace('_', '-')} {word}", lowest, highest, none=none)


def _number(word: str, what: str, lowest: int, highest: int, *, none: tuple[int, ...] = ()) -> int:
    try:
        number = int(word)
    except ValueError:
        raise UsageError(what, "it is not a whole number") from None
    if number in none:
        return 0
    if not lowest <= number <= highest:
        raise UsageError(what, f"the range is from {lowest} to {highest}")
    return number
