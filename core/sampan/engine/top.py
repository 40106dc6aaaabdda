"""top: a container's processes, read from /proc by who may look at them, with the container's own pids and names."""

from __future__ import annotations

import grp
import os
import pwd
import time

from sampan.engine import joined
from sampan.engine.pause import pids
from sampan.errors import InUseError, SampanError, UsageError
from sampan.linux import paths
from sampan.model.capabilities import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.containers import Container

    Process = dict[str, Any]

DEFAULT = ["user", "pid", "ppid", "pcpu", "etime", "tty", "time", "args"]
TICK = os.sysconf("SC_CLK_TCK")


def top(engine: Engine, word: str, descriptors: list[str]) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of podman's format descriptors."""
    container = _live(engine, word)
    words = [part for word in descriptors for part in word.split(",") if part] or DEFAULT
    wanted = [CODES.get(word, word) for word in words]
    unknown = [name for name in wanted if name not in COLUMNS]
    if unknown:
        raise UsageError(f"unknown descriptor {unknown[0]!r}", "", f"known: {', '.join(COLUMNS)}")
    found: list[Process] = joined.call(container, lambda: _read_all(container)) or []
    for process in found:  # out here the owners are those of the host
        process["huser"], process["hgroup"] = _owner(process["hpid"])
    return (
        [COLUMNS[name][0] for name in wanted],
        [[COLUMNS[name][1](process) for name in wanted] for process in found],
    )


def ps(engine: Engine, word: str, options: list[str]) -> str:
    """The host's ps(1) with these options, of the container's processes (as Docker does it)."""
    import subprocess

    container = _live(engine, word)
    found: list[int] = joined.call(container, lambda: pids(container)) or []
    wanted = {str(pid) for pid in found}
    done = subprocess.run(["ps", *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SampanError("ps failed", done.stderr.strip().splitlines()[0] if done.stderr else "")
    heading, *lines = done.stdout.splitlines()
    try:
        column = heading.split().index("PID")
    except ValueError:
        raise UsageError("sampan top", "the output of ps has no column PID", "add it") from None
    kept = [
        line
        for line in lines
        if line.split()[column : column + 1] and line.split()[column] in wanted
    ]
    return "\n".join([heading, *kept])


def _live(engine: Engine, word: str) -> Container:
    container = engine.containers.get(word)
    if not container.live:
        raise InUseError(
            f"cannot show the processes of container {container.name}",
            "top can only be used on running containers",
            f"sampan start {container.name}",
        )
    return container


def _read_all(container: Container) -> list[Process]:
    assert container.run is not None
    root = os.open(f"/proc/{container.run['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    users = _names(paths.read_in_root(root, "/etc/passwd"))
    groups = _names(paths.read_in_root(root, "/etc/group"))
    os.close(root)
    found: dict[int, Process] = {}
    for pid in sorted(pids(container)):
        try:
            found[pid] = _read(pid, users, groups)
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    for process in found.values():
        parent = found.get(process["hppid"])
        process["ppid"] = parent["pid"] if parent else 0
    return list(found.values())


def _names(data: bytes | None) -> dict[str, str]:
    rows = [line.split(":") for line in (data or b"").decode(errors="replace").splitlines()]
    return {row[2]: row[0] for row in reversed(rows) if len(row) > 2}


def _read(pid: int, users: dict[str, str], groups: dict[str, str]) -> Process:
    """One process; ids are those of the container, for this process is in its user namespace."""
    status = dict(
        line.split(":\t", 1) for line in _text(f"/proc/{pid}/status").splitlines() if ":\t" in line
    )
    head, _, tail = _text(f"/proc/{pid}/stat").rpartition(")")
    fields = tail.split()
    uids, gids = status["Uid"].split(), status["Gid"].split()
    arguments = _text(f"/proc/{pid}/cmdline").rstrip("\0").replace("\0", " ")
    comm = head.partition("(")[2]
    with open("/proc/uptime", encoding="ascii") as file:
        uptime = float(file.read().split()[0])
    return {
        "pid": int(status["NSpid"].split()[-1]), "hpid": pid, "hppid": int(fields[1]),
        "state": fields[0], "pgid": int(fields[2]), "tty": int(fields[4]), "nice": int(fields[16]),
        "cpu": (int(fields[11]) + int(fields[12])) / TICK,
        "elapsed": max(0.0, uptime - int(fields[19]) / TICK),
        "vsz": int(fields[20]) // 1024, "comm": comm, "args": arguments or f"[{comm}]",
        "user": users.get(uids[1], uids[1]), "ruser": users.get(uids[0], uids[0]),
        "group": groups.get(gids[1], gids[1]), "rgroup": groups.get(gids[0], gids[0]),
        "groups": ",".join(groups.get(gid, gid) for gid in status.get("Groups", "").split()),
        "seccomp": {"0": "disabled", "1": "strict", "2": "filter"}.get(status.get("Seccomp", ""), "?"),
        **{key: _capabilities(status.get(f"Cap{key[3:].capitalize()}", "0")) for key in CAPABILITIES},
    }  # fmt: skip


CAPABILITIES = ("capamb", "capbnd", "capeff", "capinh", "capprm")


def _text(path: str) -> str:
    with open(path, "rb") as file:
        return file.read(1 << 20).decode(errors="replace")


def _owner(pid: int) -> tuple[str, str]:
    try:
        status = os.stat(f"/proc/{pid}")
    except FileNotFoundError:
        return "?", "?"
    return _called(pwd.getpwuid, status.st_uid), _called(grp.getgrgid, status.st_gid)


def _called(lookup: Callable[[int], Any], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def _capabilities(text: str) -> str:
    value = int(text, 16)
    names = [name.removeprefix("CAP_") for name, number in NUMBERS.items() if value >> number & 1]
    return "full" if len(names) == len(NUMBERS) else ",".join(names) or "none"


def _tty(number: int) -> str:
    if not number:
        return "?"
    major, minor = number >> 8 & 0xFFF, number & 0xFF | number >> 12 & 0xFFF00
    return f"pts/{minor + (major - 136) * 256}" if 136 <= major <= 143 else f"{major},{minor}"


def duration(seconds: float) -> str:
    """As Go prints a duration: 1h2m3.5s."""
    whole, rest = divmod(seconds, 60)
    minutes = int(whole)
    text = f"{rest:.9f}".rstrip("0").rstrip(".") + "s"
    if minutes >= 60:
        return f"{minutes // 60}h{minutes % 60}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _cpu(process: Process) -> str:
    return f"{100 * process['cpu'] / process['elapsed'] if process['elapsed'] else 0:.3f}"


def _started(process: Process) -> str:
    return time.strftime("%H:%M:%S", time.localtime(time.time() - process["elapsed"]))


def _plain(key: str) -> Callable[[Process], str]:
    return lambda process: str(process[key])


COLUMNS: dict[str, tuple[str, Callable[[Process], str]]] = {  # podman-top(1)
    "args": ("COMMAND", _plain("args")),
    "capamb": ("AMBIENT CAPS", _plain("capamb")),
    "capbnd": ("BOUNDING CAPS", _plain("capbnd")),
    "capeff": ("EFFECTIVE CAPS", _plain("capeff")),
    "capinh": ("INHERITED CAPS", _plain("capinh")),
    "capprm": ("PERMITTED CAPS", _plain("capprm")),
    "comm": ("COMMAND", _plain("comm")),
    "etime": ("ELAPSED", lambda process: duration(process["elapsed"])),
    "group": ("GROUP", _plain("group")),
    "groups": ("GROUPS", _plain("groups")),
    "hgroup": ("HGROUP", _plain("hgroup")),
    "hpid": ("HPID", _plain("hpid")),
    "huser": ("HUSER", _plain("huser")),
    "label": ("LABEL", lambda process: "?"),
    "nice": ("NI", _plain("nice")),
    "pcpu": ("%CPU", _cpu),
    "pgid": ("PGID", _plain("pgid")),
    "pid": ("PID", _plain("pid")),
    "ppid": ("PPID", _plain("ppid")),
    "rgroup": ("RGROUP", _plain("rgroup")),
    "ruser": ("RUSER", _plain("ruser")),
    "seccomp": ("SECCOMP", _plain("seccomp")),
    "state": ("STATE", _plain("state")),
    "stime": ("START", _started),
    "time": ("TIME", lambda process: duration(process["cpu"])),
    "tty": ("TTY", lambda process: _tty(process["tty"])),
    "user": ("USER", _plain("user")),
    "vsz": ("VSZ", _plain("vsz")),
}
CODES = {  # ps(1), AIX FORMAT DESCRIPTORS
    "%C": "pcpu", "%G": "group", "%P": "ppid", "%U": "user", "%a": "args", "%c": "comm", "%g": "rgroup", "%n": "nice",
    "%p": "pid", "%r": "pgid", "%t": "etime", "%u": "ruser", "%x": "time", "%y": "tty", "%z": "vsz",
}  # fmt: skip
