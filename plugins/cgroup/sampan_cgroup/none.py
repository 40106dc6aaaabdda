"""No cgroups: containers are not limited, and a limit that is asked for is refused by name."""

from __future__ import annotations

from sampan.errors import UnsupportedError
from sampan.linux import cgroups
from sampan.model import cgroup_files
from sampan.model.contract import Probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.model.contract import DriverContext

LAYOUTS = {
    "v1": "this machine has cgroup version 1, whose groups only root can give away",
    "hybrid": "this machine has the hybrid tree, whose controllers belong to cgroup version 1",
    "none": "this machine shows no cgroups",
    "v2": "no part of the cgroup tree is this user's",
}
UNIFIED = "an administrator can boot it with systemd.unified_cgroup_hierarchy=1"


class NoneManager:
    """Delivers no limit."""

    name = "none"

    def __init__(self) -> None:
        layout = cgroups.layout()
        self.advice = f"{LAYOUTS[layout]}; "
        self.advice += (
            "sampan plugin ls shows what each manager lacks" if layout == "v2" else UNIFIED
        )

    def controllers(self) -> frozenset[str]:
        return frozenset()

    def create(
        self, container: str, resources: Mapping[str, Any], monitor: int, options: Mapping[str, Any]
    ) -> str:
        if options.get("parent") or options.get("mode") == "split":
            word = f"-parent {options['parent']}" if options.get("parent") else "s split"
            raise UnsupportedError(
                f"--cgroup{word}", "the cgroup manager none makes no cgroup", self.advice
            )
        self.update("", resources)
        return ""

    def renew(self, cgroup: str, resources: Mapping[str, Any]) -> None:
        return

    def join(self, cgroup: str, pid: int) -> None:
        return

    def update(self, cgroup: str, resources: Mapping[str, Any]) -> None:
        if needed := cgroup_files.controllers(resources):
            raise UnsupportedError(
                f"cannot limit {', '.join(needed)}",
                "the cgroup manager none delivers no limit",
                self.advice,
            )

    def stats(self, cgroup: str) -> dict[str, Any]:
        raise UnsupportedError(
            "there are no statistics", "the container has no cgroup of its own", self.advice
        )

    def freeze(self, cgroup: str, frozen: bool) -> None:
        raise UnsupportedError(
            "cannot freeze the container", "it has no cgroup of its own", self.advice
        )

    def kill(self, cgroup: str) -> None:
        return

    def remove(self, cgroup: str) -> None:
        return


def sampan_cgroup_manager(context: DriverContext) -> NoneManager:
    return NoneManager()


def sampan_probe(context: DriverContext) -> Probe:
    return Probe(True, f"delivers no limit ({LAYOUTS[cgroups.layout()]})", rank=0)
