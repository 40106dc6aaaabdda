"""update: other limits for a container, at once where it runs, and from its next start on."""

from __future__ import annotations

from sampan.engine import limits
from sampan.engine.stop import settled
from sampan.errors import SampanError, UnsupportedError
from sampan.model import resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import CgroupManager
    from sampan.engine import Engine


def update(engine: Engine, word: str, words: dict[str, Any]) -> str:
    """Change the limits of a container, at once if it runs. Returns its id."""
    container = settled(engine, word)
    chosen = container.record["options"]
    new = resources.build_update(words, chosen.get("resources") or {}, *machine())
    if container.state == "running" and container.run is not None:
        lacking = limits.missing(engine, new)
        if chosen.get("cgroups") == limits.DISABLED or not container.run.get("cgroup"):
            lacking = lacking or ["of this run"]
            raise UnsupportedError(
                f"cannot limit container {container.id[:12]}",
                "it runs without a cgroup of its own",
                limits.manager(engine).advice,
            )
        if lacking:
            raise limits.undelivered(engine, lacking)
        driver: CgroupManager = engine.driver("cgroup", container.run.get("cgroup_manager", ""))
        driver.update(container.run.get("cgroup", ""), new)
    elif lacking := limits.missing(engine, new):
        if engine.settings.limits != "best-effort":
            raise limits.undelivered(engine, lacking)
        limits.warn_unenforced(lacking)
    engine.containers.change_limits(container.id, new)
    return container.id


def machine() -> tuple[set[int], set[int]]:
    """The numbers of the processors and memory nodes that are there."""

    def listed(path: str) -> set[int]:
        try:
            with open(path, encoding="ascii") as file:
                return resources.numbers(file.read().strip(), path)
        except (OSError, SampanError):
            return {0}

    cpus = listed("/sys/devices/system/cpu/online")
    return cpus, listed("/sys/devices/system/node/online")
