"""A part of the cgroup tree that belongs to the user, used directly: a service or scope with Delegate=yes, a container.

A directory can be made where a process cannot be moved (the nearest directory above both is somebody else's), so
the probe moves one.  Controllers can be handed down only by a cgroup without processes: those of the caller's
move into one beside the containers' (`sampan.callers`).
"""

from __future__ import annotations

import errno
import os
import time

from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.linux import cgroups
from sampan.model.contract import Probe
from sampan_cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.model.contract import DriverContext

CALLERS = "sampan.callers"
ADVICE = "start sampan in a delegated unit (systemd-run --user --scope -p Delegate=yes), or use the manager systemd"
ROUNDS = 20
STALE = 60.0  # seconds after which an empty cgroup of ours has no maker any more


class DelegatedManager(tree.TreeManager):
    """Cgroups made by mkdir."""

    name = "delegated"
    advice = ADVICE

    def controllers(self) -> frozenset[str]:
        return cgroups.controllers(base()).intersection(tree.KNOWN)

    def create(
        self, container: str, resources: Mapping[str, Any], monitor: int, options: Mapping[str, Any]
    ) -> str:
        parent = str(options.get("parent") or "")
        if options.get("mode") == "split":
            raise UnsupportedError(
                "--cgroups split",
                "the container's cgroup is made beside the caller's",
                "leave it out",
            )
        top = base()
        why = refusal(top)
        if why:
            raise UnsupportedError("cannot make a cgroup", why, ADVICE)
        _sweep(top)
        wanted = cgroups.controllers(top).intersection(tree.KNOWN)
        _hand_down(top, wanted)
        above = top
        for name in [*check_parent(parent), f"{tree.PREFIX}{container}", tree.LEAF]:
            above += f"/{name}"
            try:
                os.mkdir(above)
            except FileExistsError:
                pass
            if name != tree.LEAF:
                _hand_down(above, wanted)
        try:
            tree.limit(above, resources, ADVICE)
        except BaseException:
            tree.remove(above)
            raise
        return above

    def join(self, cgroup: str, pid: int) -> None:
        try:
            tree.write(cgroup, "cgroup.procs", str(pid))
        except OSError as error:
            raise UnsupportedError(
                "cannot join the container's cgroup",
                f"the kernel lets no process move there from {cgroups.own()} ({error.strerror})",
                "run this from the unit in which the container was started",
            ) from None


def base(own: str | None = None) -> str:
    """The cgroup of the caller, below which the containers' are made."""
    place = cgroups.own() if own is None else own
    return os.path.dirname(place) if os.path.basename(place) == CALLERS else place


def refusal(top: str) -> str:
    """Why nothing can be put below the directory; "" if it can, which a process that is moved has shown."""
    if not top or cgroups.layout() != "v2":
        return "this machine has no cgroup version 2 tree of its own"
    if not os.access(f"{top}/cgroup.procs", os.W_OK):
        return f"{top} is not this user's"
    trial = f"{top}/{tree.PREFIX}probe.{os.getpid()}"
    try:
        os.mkdir(trial)
    except OSError as error:
        return f"{trial}: {error.strerror}"
    wait, end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(end)
        os.read(wait, 1)
        os._exit(0)
    os.close(wait)
    try:
        tree.write(trial, "cgroup.procs", str(pid))
        return ""
    except OSError as error:
        return f"no process can be moved to {top}: {error.strerror}"
    finally:
        os.close(end)
        os.waitpid(pid, 0)
        tree.remove(trial)


def check_parent(word: str) -> list[str]:
    """The names of a path below the delegated directory."""
    names = [name for name in word.split("/") if name]
    if any(name in (".", "..") or name.startswith("cgroup.") or "\0" in name for name in names):
        raise UsageError(f"--cgroup-parent {word}", "it is no path below the delegated cgroup")
    if names and names[-1].endswith(".slice"):
        raise UsageError(
            f"--cgroup-parent {word}",
            "systemd slice received as cgroup parent when using cgroupfs",
            "give a path, or use --cgroup-manager systemd",
        )
    return names


def _hand_down(directory: str, wanted: frozenset[str]) -> None:
    """Enable the controllers for what is below.

    Whoever is in the way moves aside first: cpu and pids could be enabled beside processes, which makes the
    directory the root of threaded cgroups for good, below which nothing else can be made.
    """
    for _ in range(ROUNDS):
        _move_aside(directory)
        try:
            tree.enable(directory, wanted)
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise SampanError(
                    f"cannot use {', '.join(sorted(wanted))} below {directory}",
                    error.strerror or str(error),
                    ADVICE,
                ) from None
    raise SampanError(
        f"cannot use {', '.join(sorted(wanted))} below {directory}",
        "new processes appear in it all the time",
        ADVICE,
    )


def _move_aside(directory: str) -> None:
    found = tree.processes(directory)
    if not found:
        return
    aside = f"{directory}/{CALLERS}"
    try:
        os.mkdir(aside)
    except FileExistsError:
        pass
    for pid in found:
        try:
            tree.write(aside, "cgroup.procs", str(pid))
        except ProcessLookupError:  # it has ended
            continue


def _sweep(top: str) -> None:
    """Remove empty cgroups whose makers were killed before anything was in them."""
    now = time.time()
    for entry in os.scandir(top):
        if entry.name.startswith(tree.PREFIX) and not entry.name.endswith(".scope"):
            try:
                old = now - entry.stat().st_mtime > STALE
            except FileNotFoundError:
                continue
            populated = cgroups.counters(entry.path, "cgroup.events").get("populated", 1)
            if old and not populated:
                tree.remove(f"{entry.path}/{tree.LEAF}")


def sampan_cgroup_manager(context: DriverContext) -> DelegatedManager:
    return DelegatedManager()


def sampan_probe(context: DriverContext) -> Probe:
    if refused := tree.without_version_2():
        return refused
    top = base()
    if why := refusal(top):
        return Probe(False, why, ADVICE)
    told = ", ".join(sorted(cgroups.controllers(top))) or "no controllers"
    return Probe(True, f"{top} is this user's, with {told}", rank=50)
