"""update: other limits and another restart policy for a container, at once where it runs, and from then on."""

from __future__ import annotations

from sampan.engine import limits
from sampan.engine.stop import settled
from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.model import resources
from sampan.model import restart as policies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import CgroupManager
    from sampan.engine import Engine
    from sampan.store.containers import Container


def update(engine: Engine, word: str, words: dict[str, Any], restart: str | None = None) -> str:
    """Change limits and restart policy of a container. Returns its id.

    The monitor reads the policy when a run has ended, and again when the next one is due.
    """
    container = settled(engine, word)
    changes: dict[str, Any] = {}
    if restart is not None:
        changes["restart"], changes["restart_max"] = policies.parse(restart)
        if changes["restart"] != "no" and container.record["options"]["rm"]:
            raise UsageError(
                "--restart", f"container {container.name} is removed when it ends (--rm)"
            )
    if resources.is_asked(words):
        changes["resources"] = _limit(engine, container, words)
    engine.containers.change_options(container.id, changes)
    return container.id


def _limit(engine: Engine, container: Container, words: dict[str, Any]) -> dict[str, Any]:
    """The new limits, which are in force if the container runs."""
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
    return new


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
