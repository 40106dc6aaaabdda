"""stats: what running containers use, from their control group, or added up over their processes in /proc."""

from __future__ import annotations

import os
import time

from sampan.engine import joined
from sampan.engine.pause import pids
from sampan.linux import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import CgroupManager
    from sampan.engine import Engine
    from sampan.model.container import Run
    from sampan.store.containers import Container

TICK = os.sysconf("SC_CLK_TCK")


class Sample:
    """What a container has used up to a moment.

    moment: seconds of CLOCK_MONOTONIC; cpu: seconds; memory: bytes now; net, block: (in, out) bytes.
    """

    __slots__ = ("block", "cpu", "limit", "memory", "moment", "net", "pids")

    def __init__(self, told: dict[str, Any]) -> None:
        self.moment: float = told["moment"]
        self.cpu: float = told["cpu"]
        self.memory: int = told["memory"]
        self.limit: int = told["limit"] or _total()
        self.net: tuple[int, int] = tuple(told["net"])
        self.block: tuple[int, int] = tuple(told["block"])
        self.pids: int = told["pids"]


def sample(engine: Engine, container: Container) -> Sample | None:
    """None if it does not run."""
    if not container.live:
        return None
    told: dict[str, Any] | None = joined.call(container, lambda: _added_up(container))
    if told and container.run and container.run.get("cgroup"):
        told |= _of_cgroup(engine, container.run)
    return Sample(told) if told else None


def _of_cgroup(engine: Engine, run: Run) -> dict[str, Any]:
    """What the kernel has counted, of processes that are gone too."""
    driver: CgroupManager = engine.driver("cgroup", run.get("cgroup_manager", ""))
    told = driver.stats(run.get("cgroup", ""))
    found = {
        "cpu": told["cpu"]["usage_usec"] / 1e6,
        "memory": told["memory"]["current"],
        "limit": told["memory"]["max"] or 0,
        "pids": told["pids"]["current"],
        "block": [told["io"]["read_bytes"], told["io"]["write_bytes"]],
        "moment": time.monotonic(),
    }
    return {key: value for key, value in found.items() if value is not None}


def _added_up(container: Container) -> dict[str, Any]:
    """The sum over the processes that are there now; what has ended counts if its parent has waited for it."""
    assert container.run is not None
    cpu = memory = count = read = written = 0
    for pid in pids(container):
        try:
            fields = processes.stat(pid)
            if not fields:
                continue
            memory += _memory(pid)
            got, put = _blocks(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        cpu += sum(int(fields[number]) for number in (11, 12, 13, 14))
        read, written, count = read + got, written + put, count + 1
    return {
        "moment": time.monotonic(), "cpu": cpu / TICK, "memory": memory, "limit": 0, "pids": count, 
        "block": [read, written], "net": _network(container.run["pid"]),
    }  # fmt: skip


def _memory(pid: int) -> int:
    """Proportional set size: what is shared is counted once over all that share it (proc_pid_smaps(5))."""
    with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
        for line in file:
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _blocks(pid: int) -> tuple[int, int]:
    values: dict[str, int] = {}
    with open(f"/proc/{pid}/io", encoding="ascii") as file:
        for line in file:
            key, _, value = line.partition(": ")
            values[key] = int(value)
    return values.get("read_bytes", 0), values.get("write_bytes", 0)


def _network(pid: int) -> list[int]:
    """Bytes received and sent over all interfaces but the loopback."""
    received = sent = 0
    with open(f"/proc/{pid}/net/dev", encoding="ascii") as file:
        for line in file.readlines()[2:]:
            name, _, rest = line.partition(":")
            if name.strip() != "lo":
                numbers = rest.split()
                received, sent = received + int(numbers[0]), sent + int(numbers[8])
    return [received, sent]


def _total() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
