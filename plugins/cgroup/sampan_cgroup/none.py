"""No cgroups: containers are not limited, and a limit that is asked for is refused by name."""

from __future__ import annotations

from sampan.errors import UnsupportedError
from sampan.model.contract import Probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.model.contract import DriverContext


class NoneManager:
    """Delivers no limit."""

    name = "none"

    def create(self, container: str, resources: Mapping[str, Any]) -> str:
        if resources:
            raise UnsupportedError(
                f"cannot limit {', '.join(sorted(resources))}",
                "the cgroup manager is none",
                "choose another with --cgroup-manager",
            )
        return ""

    def enter(self, cgroup: str, pid: int) -> None:
        return

    def update(self, cgroup: str, resources: Mapping[str, Any]) -> None:
        self.create("", resources)

    def stats(self, cgroup: str) -> dict[str, Any]:
        raise UnsupportedError("there are no statistics", "the cgroup manager is none")

    def kill(self, cgroup: str) -> None:
        raise UnsupportedError("cannot kill by cgroup", "the cgroup manager is none")

    def remove(self, cgroup: str) -> None:
        return


def sampan_cgroup_manager(context: DriverContext) -> NoneManager:
    return NoneManager()


def sampan_probe(context: DriverContext) -> Probe:
    return Probe(True, "delivers no limit", rank=0)
