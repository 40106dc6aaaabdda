"""A container's options as words of `create`: so a receiver makes of them what its own command line makes.

What belongs to this machine alone has no words: it is refused by `refusals`.
"""

from __future__ import annotations

import csv
import io
import json

from sampan.errors import CorruptError, InUseError, SampanError, UnsupportedError
from sampan.model import idmaps, isolation, network_words
from sampan.model.ports import inside, outside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from sampan.model.container import Record
    from sampan.model.mounts import Mount
    from sampan.store.containers import Container

UNLIMITED = 2**64 - 1
LISTS = {  # field: option
    "cap_add": "cap-add", "cap_drop": "cap-drop", "dns": "dns", "dns_options": "dns-option", "dns_search": "dns-search",
    "gidmap": "gidmap", "group_add": "group-add", "uidmap": "uidmap",
}  # fmt: skip
PAIRS = {
    "annotations": "annotation",
    "env": "env",
    "labels": "label",
    "log_options": "log-opt",
    "sysctls": "sysctl",
}
TEXTS = {
    "cgroupns": "cgroupns", "cgroups": "cgroups", "hostname": "hostname", "image_volume": "image-volume", "ipc": "ipc",
    "log_driver": "log-driver", "name": "name", "pid": "pid", "stop_signal": "stop-signal",
    "tz": "tz", "umask": "umask", "user": "user", "userns": "userns", "uts": "uts", "workdir": "workdir",
}  # fmt: skip
FLAGS = {
    "no_hosts": "no-hosts", "privileged": "privileged", "read_only": "read-only",
    "read_only_tmpfs": "read-only-tmpfs", "stdin": "interactive", "tty": "tty",
}  # fmt: skip
NUMBERS = {"stop_timeout": "stop-timeout", "timeout": "timeout"}
RESOURCES = {  # (kind, field) of OCI resources: option
    ("memory", "limit"): "memory", ("memory", "reservation"): "memory-reservation", ("memory", "swap"): "memory-swap",
    ("cpu", "shares"): "cpu-shares", ("cpu", "period"): "cpu-period", ("cpu", "quota"): "cpu-quota",
    ("cpu", "cpus"): "cpuset-cpus", ("cpu", "mems"): "cpuset-mems", ("pids", "limit"): "pids-limit",
    ("blockIO", "weight"): "blkio-weight",
}  # fmt: skip
TIMES = ("interval", "timeout", "start_period", "start_interval")
# Every option that a receiver takes.
MOVED = frozenset(
    f"--{name}"
    for name in (
        *LISTS.values(), *PAIRS.values(), *TEXTS.values(), *FLAGS.values(), *NUMBERS.values(), *RESOURCES.values(),
        "network", "add-host", "cgroup-conf", "device", "entrypoint", "expose", "health-cmd", "health-on-failure",
        "health-retries", *(f"health-{name.replace('_', '-')}" for name in TIMES), "http-proxy", "init", "mount",
        "no-healthcheck", "oom-score-adj", "publish", "restart", "security-opt", "shm-size", "tmpfs", "ulimit",
        "unsetenv", "unsetenv-all",
    )
)  # fmt: skip


def refusals(
    container: Container, dependents: list[str], *, volumes: bool, keep_binds: bool
) -> list[SampanError]:
    """What keeps the container here; nothing if it can be moved."""
    what = f"cannot move container {container.name}"
    options: Any = container.record["options"]
    found: list[SampanError] = []
    if container.state == "paused":
        found.append(InUseError(what, "it is paused", f"sampan unpause {container.name}"))
    reasons = [*_others(options, dependents), *_local(options)]
    names = [mount["name"] for mount in options["mounts"] if mount["type"] == "volume"]
    if names and not volumes:
        reasons.append((f"it has volumes: {', '.join(names)}", "--volumes sends their content too"))
    paths = host_paths(container.record)
    if paths and not keep_binds:
        why = f"it uses paths of this machine: {', '.join(paths)}"
        reasons.append((why, "--keep-binds, if the other machine has the same paths"))
    return found + [UnsupportedError(what, why, hint) for why, hint in reasons]


def _others(options: Any, dependents: list[str]) -> Iterator[tuple[str, str]]:
    """Why, and what to do, where other containers are concerned."""
    for option, donor in isolation.shared(options).items():
        yield f"--{option} is the namespace of container {donor[:12]}", "that one stays here"
    if dependents:
        joined = ", ".join(one[:12] for one in dependents)
        yield f"other containers join its namespaces: {joined}", "remove these first"


def _local(options: Any) -> Iterator[tuple[str, str]]:
    """Why, and what to do, for options that have a meaning on this machine alone."""
    if options["rm"]:
        yield "it was made with --rm, and is gone once it is stopped", "make it without --rm"
    if options["network"].startswith(isolation.PATH):
        yield f"--network {options['network']} is a namespace of this machine", "make it without"
    if uses := options.get("secrets"):
        names = ", ".join(sorted({use["name"] for use in uses}))
        yield f"secrets are not moved: {names}", "create them there, and a container that has them"
    kept = int(idmaps.parse(options["userns"]).name == "keep-id")  # whose line is made there again
    if len(options["passwd_entries"]) > kept:
        yield "--hostuser tells of a user of this machine", "make it without --hostuser"
    if parent := options["cgroup_parent"]:
        yield f"--cgroup-parent {parent} is a place of this machine", "make it without"
    if set(options["resources"].get("blockIO", {})) - {"weight"}:
        yield "it has limits of this machine's block devices", "make it without"
    for mount in options["mounts"]:
        if mount["type"] == "image":
            yield f"it mounts the image {mount['source']}", "mounted images are not moved"


def host_paths(record: Record) -> list[str]:
    """The paths of this machine that the container names."""
    options = record["options"]
    found = [mount["source"] for mount in options["mounts"] if mount["type"] == "bind"]
    found += [device["source"] for device in options["devices"]]
    if options["seccomp"] not in ("", "unconfined"):
        found.append(options["seccomp"])
    return list(dict.fromkeys(found))


def words(record: Record, own: tuple[int, int]) -> list[str]:
    """Options of `create`, each `--name=value`.

    own: the ids of this side's user, which keep-id has inside the container; they stay what they are inside.
    """
    options: Any = record["options"]
    made: list[str] = [f"--name={record['name']}"]

    def add(option: str, values: Iterable[object]) -> None:
        made.extend(f"--{option}={value}" for value in values)

    for field, option in LISTS.items():
        add(option, options[field])
    for field, option in PAIRS.items():
        add(option, [f"{key}={value}" for key, value in options[field].items()])
    for field, option in TEXTS.items():
        if field not in ("name", "userns") and options[field]:
            add(option, [options[field]])
    add("network", network_words.words(options))
    if options["userns"]:
        add("userns", [_userns(options["userns"], own)])
    for field, option in FLAGS.items():
        add(option, [str(options[field]).lower()])
    for field, option in NUMBERS.items():
        add(option, [options[field]])
    add("shm-size", [f"{options['shm_size']}b"])
    add("http-proxy", [str(bool(options["proxy_env"])).lower()])  # then those of the other machine
    add("init", ["true"] if options["init"] else [])  # the other machine's init program
    add("add-host", [f"{name}:{address}" for address, name in options["add_hosts"]])
    add("publish", [f"{outside(port)}:{inside(port)}" for port in options.get("ports", [])])
    add("expose", options.get("expose", []))
    add("device", [":".join((d["source"], d["target"], d["access"])) for d in options["devices"]])
    add("ulimit", [_ulimit(one) for one in options["ulimits"]])
    if options["entrypoint"] is not None:
        add("entrypoint", [json.dumps(options["entrypoint"]) if options["entrypoint"] else ""])
    if "*" in options["unset_env"]:
        add("unsetenv-all", ["true"])
    else:
        add("unsetenv", options["unset_env"])
    if options["oom_score_adj"] is not None:
        add("oom-score-adj", [options["oom_score_adj"]])
    if options["restart"] != "no":
        most = f":{options['restart_max']}" if options["restart_max"] else ""
        add("restart", [f"{options['restart']}{most}"])
    return [
        *made,
        *_security(options),
        *_health(options),
        *_limits(options["resources"]),
        *_mounts(options["mounts"]),
    ]


def _userns(word: str, own: tuple[int, int]) -> str:
    mode = idmaps.parse(word)
    if mode.name != "keep-id":
        return word
    uid, gid = mode.options.get("uid", own[0]), mode.options.get("gid", own[1])
    return f"keep-id:uid={uid},gid={gid}"


def _ulimit(one: dict[str, Any]) -> str:
    soft, hard = (-1 if one[key] == UNLIMITED else one[key] for key in ("soft", "hard"))
    return f"{one['type'].removeprefix('RLIMIT_').lower()}={soft}:{hard}"


def _security(options: Any) -> list[str]:
    made = ["no-new-privileges"] if options["no_new_privileges"] else []
    made += [f"seccomp={options['seccomp']}"] if options["seccomp"] else []
    made += ["nest"] if options["nest"] else []
    made += [f"mask={path}" for path in options["mask"]] + [
        f"unmask={path}" for path in options["unmask"]
    ]
    return [f"--security-opt={word}" for word in made]


def _health(options: Any) -> list[str]:
    """The check, whole; without one what the image says is switched off."""
    health = options.get("health")
    if health is None:
        return ["--no-healthcheck=true"]
    made = [f"--health-cmd={json.dumps(health['test'])}"]
    made.append(f"--health-on-failure={health['on_failure']}")
    made.append(f"--health-retries={health['retries']}")
    for name in TIMES:
        seconds = health[name]
        value = f"{seconds:.9f}s" if seconds or name != "interval" else "disable"
        made.append(f"--health-{name.replace('_', '-')}={value}")
    return made


def _limits(resources: dict[str, dict[str, Any]]) -> list[str]:
    made = [f"--cgroup-conf={name}={value}" for name, value in resources.get("unified", {}).items()]
    for (kind, field), option in RESOURCES.items():
        if (value := resources.get(kind, {}).get(field)) is not None:
            made.append(f"--{option}={value}")
    return made


def _mounts(mounts: list[Mount]) -> list[str]:
    made: list[str] = []
    for mount in mounts:
        if mount["type"] == "tmpfs":
            options = [*mount["options"], *(["tmpcopyup"] if mount.get("copy") else [])]
            made.append(f"--tmpfs={mount['destination']}:{','.join(options)}")
        else:
            made.append(f"--mount={_csv(_parts(mount))}")
    return made


def _parts(mount: Mount) -> list[str]:
    """The parts of --mount."""
    kind = mount["type"]
    parts = [f"type={kind}", f"target={mount['destination']}"]
    if kind == "devpts":
        keys = ("uid=", "gid=", "mode=", "max=")
        return parts + [option for option in mount["options"] if option.startswith(keys)]
    parts.append(f"source={mount['source'] if kind == 'bind' else mount['name']}")
    for option in mount["options"]:
        if option == "bind":
            parts.append("bind-recursive=disabled")
        elif option != "rbind":
            parts.append(option)
    parts += [
        name
        for name, key in (("U", "chown"), (mount.get("relabel") or "", "relabel"))
        if mount.get(key)
    ]
    if kind == "volume":
        parts += [] if mount["copy"] else ["nocopy"]
        parts += [f"subpath={mount['subpath']}"] if mount["subpath"] else []
        parts += [f"volume-driver={mount['driver']}"]
    return parts


def _csv(parts: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(parts)
    return out.getvalue()


def check(found: list[str]) -> list[str]:
    """The words, if each is an option that may be moved and takes nothing from the receiver's surroundings."""
    for word in found:
        name, equals, value = word.partition("=")
        if name not in MOVED or not equals:
            raise CorruptError(
                "the options of a container are refused", f"{name[:40]!r} is none that is moved"
            )
        if name == "--env" and "=" not in value:
            raise CorruptError("the options of a container are refused", "a variable has no value")
    return found
