"""What both managers do with directories of version 2: limits, figures, freezing, killing, removing.

Files are written by os.write: a buffered file would lose the kernel's answer at its close.
"""

from __future__ import annotations

import errno
import os
import time

from sampan.errors import SampanError, UnsupportedError
from sampan.linux import cgroups
from sampan.model import cgroup_files
from sampan.model.contract import Probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

KNOWN = ("cpu", "cpuset", "io", "memory", "pids")
PREFIX = "sampan-"
LEAF = "container"
SUPERVISOR = "supervisor"
SECONDS = 10.0  # for the kernel to freeze or to end every process of a cgroup


def write(directory: str, name: str, value: str) -> None:
    fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def enable(directory: str, wanted: frozenset[str]) -> None:
    """Let the directories below use the controllers. OSError EBUSY: processes are in this one."""
    there = set((cgroups.read(directory, "cgroup.subtree_control") or "").split())
    if new := sorted(wanted - there):
        write(directory, "cgroup.subtree_control", " ".join(f"+{name}" for name in new))


def limit(cgroup: str, resources: Mapping[str, Any], advice: str) -> None:
    """Write the limits. UnsupportedError names the controller that is not there."""
    there = cgroups.controllers(cgroup)
    needed = set(cgroup_files.controllers(resources))
    if lacking := needed - there:
        raise lacks(lacking, advice)
    for controller, choices, required in cgroup_files.files(resources):
        found = [row for row in choices if os.path.exists(f"{cgroup}/{row[0]}")]
        if not found and required:
            raise UnsupportedError(
                f"cannot set {choices[-1][0]}",
                f"this kernel's controller {controller} has no such file",
                "leave the option out",
            )
        for name, value in found[:1]:
            try:
                write(cgroup, name, value)
            except OSError as error:
                raise SampanError(
                    f"cannot set {name} to {value}", error.strerror or str(error), _hint(error)
                ) from None


def renew(cgroup: str, resources: Mapping[str, Any], advice: str) -> None:
    """The directory again, and the one above it that went with it."""
    above = os.path.dirname(cgroup)
    for directory in (above, cgroup):
        try:
            os.mkdir(directory)
        except FileExistsError:
            pass
    enable(above, cgroups.controllers(above).intersection(KNOWN))
    limit(cgroup, resources, advice)


def lacks(controllers: set[str], advice: str) -> UnsupportedError:
    plural = "s" if len(controllers) > 1 else ""
    names = ", ".join(sorted(controllers))
    return UnsupportedError(
        "cannot limit the container", f"the controller{plural} {names} cannot be used here", advice
    )


def _hint(error: OSError) -> str:
    if error.errno in (errno.EINVAL, errno.ERANGE, errno.ENODEV):
        return "the kernel does not take this value here"
    return ""


def stats(cgroup: str) -> dict[str, Any]:
    """The kernel's figures, as they stand in its files."""
    io = {"rbytes": 0, "wbytes": 0}
    for line in (cgroups.read(cgroup, "io.stat") or "").splitlines():
        for word in line.split()[1:]:
            name, _, value = word.partition("=")
            if name in io:
                io[name] += int(value)
    return {
        "memory": {"current": _count(cgroup, "memory.current"), "max": _most(cgroup, "memory.max")},
        "cpu": {"usage_usec": cgroups.counters(cgroup, "cpu.stat").get("usage_usec", 0)},
        "pids": {"current": _count(cgroup, "pids.current"), "max": _most(cgroup, "pids.max")},
        "io": {"read_bytes": io["rbytes"], "write_bytes": io["wbytes"]},
        "oom_kills": cgroups.counters(cgroup, "memory.events").get("oom_kill", 0),
    }


def _count(cgroup: str, name: str) -> int:
    return int(cgroups.read(cgroup, name) or 0)


def _most(cgroup: str, name: str) -> int | None:
    text = cgroups.read(cgroup, name) or "max"
    return None if text == "max" else int(text)


def freeze(cgroup: str, frozen: bool) -> None:
    """Returns when every process stands still, or goes on."""
    write(cgroup, "cgroup.freeze", str(int(frozen)))
    if not _await(cgroup, "frozen", int(frozen)):
        write(cgroup, "cgroup.freeze", "0")
        raise SampanError(
            "cannot pause the container",
            f"a process did not stop within {SECONDS:g} s",
            "try again",
        )


def kill(cgroup: str) -> None:
    """SIGKILL to every process here and below (cgroup.kill, Linux 5.14). One that is gone is no error."""
    try:
        write(cgroup, "cgroup.kill", "1")
    except FileNotFoundError:
        if not os.path.isdir(cgroup):
            return
        _kill_each(cgroup)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return
        raise
    _await(cgroup, "populated", 0)


def _kill_each(cgroup: str) -> None:
    """For kernels without cgroup.kill: nobody forks while all are frozen."""
    write(cgroup, "cgroup.freeze", "1")
    for pid in processes(cgroup):
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue
    write(cgroup, "cgroup.freeze", "0")


def processes(cgroup: str) -> list[int]:
    """The processes of the cgroup itself."""
    return [
        int(word) for word in (cgroups.read(cgroup, "cgroup.procs") or "").split() if word != "0"
    ]


def _await(cgroup: str, name: str, value: int) -> bool:
    deadline = time.monotonic() + SECONDS
    while cgroups.counters(cgroup, "cgroup.events").get(name, value) != value:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def remove(cgroup: str) -> None:
    """Remove the container's directory with all below it, and the one above it that was made for it."""
    _remove(cgroup)
    above = os.path.dirname(cgroup)
    name = os.path.basename(above)
    if name.startswith(PREFIX) and not name.endswith(".scope"):
        _rmdir(above)


def _remove(directory: str) -> None:
    try:
        names = [
            entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)
        ]
    except OSError:
        return
    for name in names:
        _remove(f"{directory}/{name}")
    _rmdir(directory)


def _rmdir(directory: str) -> None:
    """A process that has just ended may still be counted for a moment."""
    deadline = time.monotonic() + 2
    while True:
        try:
            os.rmdir(directory)
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                return
        time.sleep(0.002)


class TreeManager:
    """What a manager does with a cgroup once it is made."""

    advice: str

    def renew(self, cgroup: str, resources: Mapping[str, Any]) -> None:
        renew(cgroup, resources, self.advice)

    def update(self, cgroup: str, resources: Mapping[str, Any]) -> None:
        limit(cgroup, resources, self.advice)

    def stats(self, cgroup: str) -> dict[str, Any]:
        return stats(cgroup)

    def freeze(self, cgroup: str, frozen: bool) -> None:
        freeze(cgroup, frozen)

    def kill(self, cgroup: str) -> None:
        kill(cgroup)

    def remove(self, cgroup: str) -> None:
        """Of a scope what is below it: the scope itself ends when its last process does."""
        remove(cgroup)


def without_version_2() -> Probe | None:
    """The answer of both managers' probes on a machine that has no such tree."""
    layout = cgroups.layout()
    if layout == "v2":
        return None
    return Probe(
        False,
        f"needs cgroup version 2 (found: {layout})",
        "boot with systemd.unified_cgroup_hierarchy=1",
    )
