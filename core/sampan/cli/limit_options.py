"""The options that limit a container, shared by `run`, `create` and `update`."""

from __future__ import annotations

from sampan.cli.parse import FLAG, LIST, Option
from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPTIONS = [
    Option("--blkio-weight", help="Weight of block I/O, 10 to 1000", metavar="N"),
    Option("--blkio-weight-device", LIST, "Weight of a device's I/O", "/dev/NAME:N"),
    Option("--cgroup-conf", LIST, "Write a file of the container's cgroup", "FILE=VALUE"),
    Option("--cpu-period", help="Period of --cpu-quota in microseconds", metavar="N"),
    Option("--cpu-quota", help="Microseconds of processor time a period", metavar="N"),
    Option("--cpu-shares -c", help="Weight of processor time, 2 to 262144", metavar="N"),
    Option("--cpus", help="Processors that it may use up, such as 1.5", metavar="N"),
    Option("--cpuset-cpus", help="Processors that it may run on", metavar="0-2,5"),
    Option("--cpuset-mems", help="Memory nodes that it may use", metavar="0-2,5"),
    Option("--device-read-bps", LIST, "Limit reading from a device", "/dev/NAME:BYTES"),
    Option("--device-read-iops", LIST, "Limit reads from a device a second", "/dev/NAME:N"),
    Option("--device-write-bps", LIST, "Limit writing to a device", "/dev/NAME:BYTES"),
    Option("--device-write-iops", LIST, "Limit writes to a device a second", "/dev/NAME:N"),
    Option("--memory -m", help="Limit of memory, at least 6m", metavar="BYTES"),
    Option("--memory-reservation", help="Memory that is protected from reclaim", metavar="BYTES"),
    Option("--memory-swap", help="Limit of memory and swap together; -1: no limit of swap", metavar="BYTES"),
    Option("--memory-swappiness", help="(cgroup version 2 has none)", metavar="N"),
    Option("--oom-kill-disable", FLAG, "(cgroup version 2 cannot)"),
    Option("--pids-limit", help="Limit of processes; -1: none", metavar="N"),
]  # fmt: skip
PLACES = [
    Option("--cgroup-parent", help="A slice of systemd, or a path in the delegated cgroup", metavar="NAME"),
    Option("--cgroups", help="enabled, disabled, no-conmon or split", metavar="MODE", default="enabled"),
]  # fmt: skip
MODES = ("enabled", "disabled", "no-conmon", "split")


def limits(values: dict[str, Any], *, effort: bool) -> dict[str, Any]:
    """resources, cgroups and cgroup_parent of RunOptions. effort: limits are best effort."""
    mode = values["cgroups"]
    if mode not in MODES:
        raise UsageError(f"--cgroups {mode}", f"it is one of {', '.join(MODES)}")
    made = resources(values)
    if mode == "disabled" and (made or values["cgroup_parent"]):
        raise UsageError(
            "--cgroups disabled", "cannot specify resource limits when cgroups are disabled"
        )
    if (
        effort and not made and _is_given(values)
    ):  # a limit of 0: podman warns of it as of any other
        from sampan.engine.limits import warn_unenforced

        warn_unenforced([])
    return {"resources": made, "cgroups": mode, "cgroup_parent": values["cgroup_parent"] or ""}


def resources(values: dict[str, Any]) -> dict[str, Any]:
    """OCI linux.resources; the modules for it are loaded only if a limit is asked for."""
    if not _is_given(values):
        return {}
    from sampan.engine.update import machine
    from sampan.model.resources import build

    return build(values, *machine())


def _is_given(values: dict[str, Any]) -> bool:
    return any(values[option.key] not in (None, False, []) for option in OPTIONS)
