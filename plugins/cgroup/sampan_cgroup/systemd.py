"""A transient scope of the user's systemd for each run of a container (org.freedesktop.systemd1(5)).

The monitor is moved into the scope, so both outlive the session that started them where the user lingers.  Below it
are `supervisor`, for the monitor, and `container`, with the limits.  Asked of systemd over the user's bus, by the
command, whose ids are the host's; after that everything is files.  jeepney is imported only to ask.
"""

from __future__ import annotations

import os
import time

from sampan.errors import InUseError, SampanError, UnsupportedError, UsageError
from sampan.linux import cgroups
from sampan.model.contract import Probe
from sampan_cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.model.contract import DriverContext

DELEGATE = "/etc/systemd/system/user@.service.d/delegate.conf"
ADVICE = (
    f"an administrator can delegate them: write '[Service]' and 'Delegate=cpu cpuset io memory pids' (two lines) to "
    f"{DELEGATE}, then systemctl daemon-reload, and log in anew"
)
SECONDS = 20.0  # for systemd to answer


class SystemdManager(tree.TreeManager):
    """Scopes of the user's manager."""

    name = "systemd"
    advice = ADVICE

    def controllers(self) -> frozenset[str]:
        return cgroups.controllers(manager_cgroup(os.getuid())).intersection(tree.KNOWN)

    def create(
        self, container: str, resources: Mapping[str, Any], monitor: int, options: Mapping[str, Any]
    ) -> str:
        slice_name = check_slice(str(options.get("parent") or ""))
        mode = options.get("mode")
        if mode in ("no-conmon", "split"):
            raise UnsupportedError(
                f"--cgroups {mode}",
                "the monitor is in the container's scope, which keeps the scope alive",
                "leave it out, or use --cgroup-manager delegated",
            )
        unit = f"{tree.PREFIX}{container}.scope"
        start_scope(unit, monitor, slice_name)
        scope = cgroups.own(_table(monitor))
        if os.path.basename(scope) != unit:
            raise SampanError(
                "cannot make a cgroup",
                f"systemd left the monitor in {scope}",
                "see systemctl --user status",
            )
        supervisor, leaf = f"{scope}/{tree.SUPERVISOR}", f"{scope}/{tree.LEAF}"
        try:
            os.mkdir(supervisor)
            tree.write(supervisor, "cgroup.procs", str(monitor))
            tree.enable(scope, cgroups.controllers(scope).intersection(tree.KNOWN))
            os.mkdir(leaf)
        except OSError as error:
            raise SampanError(f"cannot use {scope}", error.strerror or str(error)) from None
        tree.limit(leaf, resources, ADVICE)
        return leaf

    def join(self, cgroup: str, pid: int) -> None:
        """By the file where the kernel lets us, else by systemd, who may take processes out of a session."""
        try:
            tree.write(cgroup, "cgroup.procs", str(pid))
        except PermissionError:
            scope, _, below = cgroup.rpartition("/")
            call("AttachProcessesToUnit", "ssau", (os.path.basename(scope), f"/{below}", [pid]))


def manager_cgroup(uid: int, root: str = cgroups.ROOT) -> str:
    return f"{root}/user.slice/user-{uid}.slice/user@{uid}.service"


def check_slice(word: str) -> str:
    if word and (not word.endswith(".slice") or "/" in word):
        raise UsageError(
            f"--cgroup-parent {word}",
            "did not receive systemd slice as cgroup parent when using systemd to manage cgroups",
            "give a slice such as site.slice, or use --cgroup-manager cgroupfs",
        )
    return word


def _table(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def start_scope(unit: str, pid: int, slice_name: str) -> None:
    """Returns when the process is in the scope. The scope of the last run may still be going away."""
    properties: list[tuple[str, tuple[str, Any]]] = [
        ("PIDs", ("au", [pid])),
        ("Delegate", ("b", True)),
        ("CollectMode", ("s", "inactive-or-failed")),
        ("Description", ("s", "sampan container")),
    ]
    if slice_name:
        properties.append(("Slice", ("s", slice_name)))
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            call("StartTransientUnit", "ssa(sv)a(sa(sv))", (unit, "fail", properties, []), job=True)
            return
        except InUseError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def call(member: str, signature: str, body: tuple[Any, ...], *, job: bool = False) -> None:
    """A method of the user's systemd; with `job`, wait for the end of what it began."""
    import importlib

    dbus: Any = importlib.import_module("jeepney")  # it has no types
    blocking: Any = importlib.import_module("jeepney.io.blocking")
    place = dbus.DBusAddress(
        "/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager"
    )
    ended = dbus.MatchRule(type="signal", interface=place.interface, member="JobRemoved")
    try:
        with blocking.open_dbus_connection(
            f"unix:path={bus()}", auth_timeout=SECONDS
        ) as connection:
            if job:
                asked = dbus.message_bus.AddMatch(ended)
                connection.send_and_get_reply(asked, timeout=SECONDS)
            with connection.filter(ended, bufsize=64) as signals:
                answer = connection.send_and_get_reply(
                    dbus.new_method_call(place, member, signature, body), timeout=SECONDS
                )
                if answer.header.message_type == dbus.MessageType.error:
                    raise _refused(
                        member,
                        str(answer.header.fields.get(dbus.HeaderFields.error_name)),
                        answer.body,
                    )
                while job:
                    signal = connection.recv_until_filtered(signals, timeout=SECONDS)
                    if signal.body[1] == answer.body[0]:
                        if signal.body[3] != "done":
                            raise SampanError(
                                "cannot make a scope",
                                f"systemd says: {signal.body[3]}",
                                "see journalctl --user",
                            )
                        return
    except (OSError, TimeoutError, EOFError) as error:
        raise SampanError(
            "cannot ask the user's systemd",
            str(error) or type(error).__name__,
            "systemctl --user status tells more",
        ) from None


def _refused(member: str, name: str, body: tuple[Any, ...]) -> SampanError:
    text = str(body[0]) if body else name
    if name.endswith(".UnitExists"):
        return InUseError("cannot make a scope", text, "the last run's scope does not end")
    return SampanError(f"systemd refused {member}", text, "systemctl --user status tells more")


def bus() -> str:
    """The socket of the user's bus, which a session may not have told of (cron)."""
    return f"/run/user/{os.getuid()}/bus"


def sampan_cgroup_manager(context: DriverContext) -> SystemdManager:
    return SystemdManager()


def sampan_probe(context: DriverContext) -> Probe:
    if refused := tree.without_version_2():
        return refused
    if not os.path.exists(bus()):
        return Probe(
            False,
            f"no bus of this user: {bus()} does not exist",
            "log in anew, or loginctl enable-linger",
        )
    place = manager_cgroup(os.getuid())
    if not os.path.isdir(place):
        return Probe(
            False,
            f"{place} does not exist",
            "systemctl --user status tells whether this user has a manager",
        )
    there = cgroups.controllers(place).intersection(tree.KNOWN)
    told = f"the user's systemd, with {', '.join(sorted(there)) or 'no controllers'}"
    lacking = set(tree.KNOWN) - there
    fix = f"; without {', '.join(sorted(lacking))}: {ADVICE}" if lacking else ""
    return Probe(True, told + fix, rank=100)
