"""Limits of containers: what was asked for is checked, delivered by a cgroup manager, and taken away at the end.

`check`, `place` and `join` work in the command, as the user; `begin`, `noted` and `ended` in the monitor.
A container without a cgroup costs a look at what was found out when the session began.
"""

from __future__ import annotations

import os

from sampan import files, jsontext
from sampan.errors import SampanError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import CgroupManager
    from sampan.engine import Engine
    from sampan.linux import sockets
    from sampan.model.container import Record, RunOptions
    from sampan.store.containers import Container

CHOICE = "cgroup.json"  # in the run directory: what `auto` found, for the session that is its key
DEFAULT_PIDS = 2048  # podman's, where pids are counted
DISABLED = "disabled"


def manager_name(engine: Engine) -> str:
    """The manager that is configured, or the best one that works for this session."""
    configured = engine.settings.cgroup_manager
    return configured if configured != "auto" else str(_found(engine)["driver"])


def manager(engine: Engine) -> CgroupManager:
    return engine.driver("cgroup", manager_name(engine))  # type: ignore[no-any-return]


def _found(engine: Engine) -> dict[str, Any]:
    """{driver, delivers, key}: probed once for each cgroup from which sampan is called.

    Sessions and services of one user differ in what they may do, so this is nothing for the store.
    """
    with open("/proc/self/cgroup", "rb") as file:
        place = file.read().decode(errors="replace")
    key = [place, *engine.plugins.names("cgroup")]
    path = f"{engine.settings.run_dir}/{CHOICE}"
    try:
        with open(path, "rb") as file:
            found: dict[str, Any] = jsontext.loads(file.read())
        if found["key"] == key:
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass  # made again
    from sampan.engine.choose import probed

    name = probed(engine, "cgroup")["driver"]
    driver: CgroupManager = engine.driver("cgroup", name)
    found = {"key": key, "driver": name, "delivers": bool(driver.controllers())}
    fd = files.open_directory(engine.settings.run_dir)
    try:
        files.write_atomic(fd, CHOICE, jsontext.dumps(found).encode(), sync=False)
    except OSError:
        pass  # only slower the next time
    finally:
        os.close(fd)
    return found


def _is_without(engine: Engine, chosen: RunOptions) -> bool:
    """Whether there is nothing to do: no cgroup is wanted, or none can be had and nothing asks for one."""
    if chosen.get("cgroups") == DISABLED:
        return True
    if chosen.get("resources") or chosen.get("cgroup_parent") or chosen.get("cgroups") == "split":
        return False
    if engine.settings.cgroup_manager == "auto":
        return not _found(engine)["delivers"]
    return engine.settings.cgroup_manager == "none"


def missing(engine: Engine, resources: dict[str, Any]) -> list[str]:
    """The controllers that the resources need and the manager cannot deliver."""
    if not resources:
        return []
    from sampan.model.cgroup_files import controllers

    return sorted(set(controllers(resources)) - manager(engine).controllers())


def check(engine: Engine, chosen: RunOptions) -> None:
    """Refuse limits that cannot be delivered, before anything is made; only warn if limits are best effort."""
    resources = chosen["resources"]
    if chosen["cgroups"] == DISABLED or not resources:
        return
    lacking = missing(engine, resources)
    if not lacking:
        return
    if engine.settings.limits != "best-effort":
        raise undelivered(engine, lacking)
    warn_unenforced(lacking)


def undelivered(engine: Engine, lacking: list[str]) -> UnsupportedError:
    name = manager_name(engine)
    many = len(lacking) > 1
    return UnsupportedError(
        "cannot limit the container",
        f"the cgroup controller{'s' if many else ''} {', '.join(lacking)} cannot be used by this user (manager {name})",
        f'{manager(engine).advice}; limits = "best-effort" in sampan.toml makes this a warning',
    )


def warn_unenforced(lacking: list[str]) -> None:
    from sampan.engine import warn
    from sampan.linux import cgroups

    if cgroups.layout() == "v2":
        if lacking:
            warn(
                f"limits of {', '.join(lacking)} are not enforced: no such cgroup controller for this user"
            )
    else:  # podman's sentence
        os.write(
            2, b"Resource limits are not supported and ignored on cgroups V1 rootless systems\n"
        )


def effective(engine: Engine, chosen: RunOptions) -> tuple[dict[str, Any], list[str]]:
    """What the container gets of what was asked for, with podman's default of pids; and what is not delivered."""
    resources = dict(chosen.get("resources") or {})
    driver = manager(engine)
    lacking = missing(engine, resources)
    if lacking:
        from sampan.model.cgroup_files import without

        resources = without(resources, set(lacking))
    if "pids" in driver.controllers():
        resources.setdefault("pids", {"limit": DEFAULT_PIDS})
    return resources, lacking


def place(engine: Engine, record: Record, monitor: int) -> dict[str, Any]:
    """Make the cgroup of one run; what the monitor must know of it, as a part of its plan."""
    chosen = record["options"]
    sweep(engine, record["id"])
    if _is_without(engine, chosen):
        return {}
    resources, lacking = effective(engine, chosen)
    if lacking and engine.settings.limits != "best-effort":
        raise undelivered(engine, lacking)
    driver = manager(engine)
    options = {"parent": chosen.get("cgroup_parent"), "mode": chosen.get("cgroups")}
    path = driver.create(record["id"], resources, monitor, options)
    cpus = chosen["resources"]["cpu"].get("cpus", "") if "cpuset" in lacking else ""
    told = {"manager": driver.name, "path": path, "resources": resources, "lacking": lacking}
    return {"cgroup": {**told, "affinity": cpus}}


def begin(engine: Engine, plan: dict[str, Any], spec: dict[str, Any]) -> None:
    """In the monitor: the document says where the container's processes are to be.

    At a further run of the same monitor the cgroup of the last one is gone, and is made again.
    """
    told = plan.get("cgroup")
    if not told:
        return
    spec["linux"]["resources"] = told["resources"]
    if told["path"]:
        spec["linux"]["cgroupsPath"] = told["path"]
        if not os.path.isdir(told["path"]):
            driver: CgroupManager = engine.driver("cgroup", told["manager"])
            driver.renew(told["path"], told["resources"])
    if told["affinity"]:  # a cpuset that no cgroup enforces: processes may leave it
        from sampan.model.resources import numbers

        os.sched_setaffinity(0, numbers(told["affinity"], "--cpuset-cpus"))


def noted(plan: dict[str, Any]) -> dict[str, Any]:
    """What run.json says of it."""
    told = plan.get("cgroup")
    if not told:
        return {}
    return {
        "cgroup": told["path"],
        "cgroup_manager": told["manager"],
        "unenforced": told["lacking"],
    }


def emptied(engine: Engine, plan: dict[str, Any]) -> int:
    """In the monitor, after a run: nothing is left in the cgroup. How often memory had run out in it by now."""
    told = plan.get("cgroup")
    if not told or not told["path"]:
        return 0
    driver: CgroupManager = engine.driver("cgroup", told["manager"])
    driver.kill(told["path"])
    return int(driver.stats(told["path"])["oom_kills"])


def removed(engine: Engine, plan: dict[str, Any]) -> None:
    """In the monitor, after the last run: the cgroup is gone too."""
    told = plan.get("cgroup")
    if told and told["path"]:
        driver: CgroupManager = engine.driver("cgroup", told["manager"])
        driver.kill(told["path"])
        driver.remove(told["path"])


def enter(engine: Engine, plan: dict[str, Any]) -> None:
    """In a child of the monitor that is to run a further command: move to the cgroup."""
    told = plan.get("cgroup")
    if told and told["path"]:
        driver: CgroupManager = engine.driver("cgroup", told["manager"])
        driver.join(told["path"], os.getpid())


def sweep(engine: Engine, container_id: str) -> None:
    """End and remove what a run has left whose monitor was killed."""
    from sampan.errors import CorruptError
    from sampan.linux import processes

    try:
        run = engine.containers.run_record(container_id)
    except CorruptError:
        return
    if not run or not run.get("cgroup") or run["boot"] != processes.boot_id():
        return
    if processes.start_time(run["monitor"]) == run["monitor_start_time"]:
        return
    driver: CgroupManager = engine.driver("cgroup", run.get("cgroup_manager", ""))
    driver.kill(run.get("cgroup", ""))
    driver.remove(run.get("cgroup", ""))


def join(engine: Engine, container: Container, pid: int, sock: sockets.Socket) -> None:
    """Move the child of an `exec`, which waits for it, into the container's cgroup."""
    run = container.run
    if run is None or not run.get("cgroup"):
        return
    told: list[object] = []
    try:
        driver: CgroupManager = engine.driver("cgroup", run.get("cgroup_manager", ""))
        driver.join(run.get("cgroup", ""), pid)
    except SampanError as error:
        told = [error.what, error.why, error.hint, error.exit_status]
    from sampan.linux import messages

    messages.send(sock, {"joined": told})


def await_joined(container: Container, sock: sockets.Socket) -> None:
    """In that child: wait to be moved, before it becomes somebody whom nobody may move."""
    from sampan.errors import from_report
    from sampan.linux import messages

    if container.run is None or not container.run.get("cgroup"):
        return
    answer, _ = messages.receive(sock)
    if answer is None:
        os._exit(125)  # the command is gone
    if answer["joined"]:
        raise from_report(answer["joined"])
