"""From an image's configuration and the user's options to the OCI document of a container.

`build` is pure.  What only the mounted root file system can tell - the numbers of the user's name, HOME - is
filled in by `finish`, in the monitor, just before the runtime gets the bundle.  Sources that the monitor makes
(`etc/hosts`, ...) are relative to the bundle, so no path of the host is part of a record.
(runtime-spec: config.md, config-linux.md)
"""

from __future__ import annotations

import os

from sampan.errors import UsageError
from sampan.model import isolation, seccomp
from sampan.model.capabilities import NUMBERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.linux.userns import Extent, IdMap
    from sampan.model.container import RunOptions

OCI_VERSION = "1.0.2"
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
]  # fmt: skip
MASKED = [
    "/proc/acpi", "/proc/asound", "/proc/config.gz", "/proc/interrupts", "/proc/iomem", "/proc/ioports",
    "/proc/kallsyms", "/proc/kcore", "/proc/key-users", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev/block",
    "/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/bpf", "/sys/fs/pstore", "/sys/fs/selinux",
    "/sys/kernel/debug", "/sys/kernel/notes", "/sys/kernel/slab", "/sys/kernel/tracing",
    "/sys/kernel/vmcoreinfo", "/sys/power",
]  # fmt: skip
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
INIT = "/run/.sampan-init"


class Facts:
    """What `build` must know of the machine and of the container's surroundings."""

    __slots__ = (
        "container",
        "gids",
        "hostname",
        "idmap",
        "ipv6",
        "masks",
        "nofile",
        "private_network",
    )

    def __init__(
        self,
        container: str,
        hostname: str,
        *,
        gids: tuple[Extent, ...],
        private_network: bool,
        nofile: int,
        masks: list[str],
        idmap: IdMap | None = None,
        ipv6: bool = False,
    ) -> None:
        """gids: the group ids of its user namespace.  idmap: of a user namespace of the container's own.

        ipv6: the kernel has it.
        """
        self.idmap, self.ipv6 = idmap, ipv6
        self.container, self.hostname, self.gids = container, hostname, gids
        self.private_network, self.nofile, self.masks = private_network, nofile, masks


def build(image: dict[str, Any], options: RunOptions, facts: Facts) -> dict[str, Any]:
    """The OCI document. `image` is the `config` object of the image's configuration."""
    capabilities = capability_set(options["cap_add"], options["cap_drop"], options["privileged"])
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": options["tty"],
            "user": {"uid": 0, "gid": 0, "umask": int(options["umask"], 8)},
            "args": arguments(image, options),
            "env": environment(image, options, facts.hostname),
            "cwd": options["workdir"] or image.get("WorkingDir") or "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
                "inheritable": [],
                "ambient": [],
            },
            "rlimits": _rlimits(options, facts),
            "noNewPrivileges": options["no_new_privileges"],
        },
        "root": {"path": "rootfs", "readonly": options["read_only"]},
        "hostname": facts.hostname,
        "mounts": _mounts(options, facts),
        "annotations": options["annotations"],
        "linux": {
            "namespaces": isolation.namespaces(options, private_network=facts.private_network),
            "resources": options["resources"],
            "sysctl": _sysctls(options, facts),
            **_paths(options, facts),
        },
    }
    if facts.idmap is not None:
        spec["linux"]["namespaces"].append({"type": "user"})
        for kind, extents in (("uid", facts.idmap.uids), ("gid", facts.idmap.gids)):
            spec["linux"][f"{kind}Mappings"] = [
                {"containerID": inside, "hostID": outside, "size": count}
                for inside, outside, count in extents
            ]
    if options["oom_score_adj"] is not None:
        spec["process"]["oomScoreAdj"] = options["oom_score_adj"]
    profile = _seccomp(options, capabilities)
    if profile:
        spec["linux"]["seccomp"] = profile
    return spec


def arguments(image: dict[str, Any], options: RunOptions) -> list[str]:
    """ENTRYPOINT and CMD by Docker's rules: an --entrypoint drops the image's CMD."""
    command = list(options["command"])
    if options["entrypoint"] is not None:
        words = [*options["entrypoint"], *command]
    else:
        words = [*(image.get("Entrypoint") or ()), *(command or image.get("Cmd") or ())]
    if not words or not words[0]:
        raise UsageError(
            "no command to run",
            "no command or entrypoint is given, and no CMD or ENTRYPOINT is in the image",
            "name one after the image",
        )
    return [INIT, "--", *words] if options["init"] else words


def environment(image: dict[str, Any], options: RunOptions, hostname: str) -> list[str]:
    """PATH, TERM with a terminal, the image's, then the user's; HOME comes with the user."""
    values: dict[str, str] = {
        "PATH": DEFAULT_PATH.partition("=")[2],
        "container": "sampan",
        "HOSTNAME": hostname,
    }
    if options["tty"]:
        values["TERM"] = "xterm"
    for word in image.get("Env") or ():
        name, _, value = word.partition("=")
        values[name] = value
    values.update(options["proxy_env"])
    if "*" in options["unset_env"]:
        values.clear()
    values.update(options["env"])
    for name in options["unset_env"]:
        values.pop(name, None)
    return [f"{name}={value}" for name, value in values.items()]


def capability_set(add: list[str], drop: list[str], privileged: bool) -> list[str]:
    """OCI names; `all` stands for every one."""
    everything = list(NUMBERS)
    chosen = set(everything if privileged else DEFAULT_CAPABILITIES)
    adds, drops = _names(add), _names(drop)
    if "CAP_ALL" in drops:
        chosen.clear()
    if "CAP_ALL" in adds:
        chosen = set(everything)
    both = (adds & drops) - {"CAP_ALL"}
    if both:
        raise UsageError(f"capability {min(both)} is both added and dropped")
    chosen |= adds - {"CAP_ALL"}
    chosen -= drops
    return [name for name in everything if name in chosen]


def _names(words: list[str]) -> set[str]:
    names: set[str] = set()
    for word in (part for text in words for part in text.split(",") if part):
        name = word.upper()
        name = name if name.startswith("CAP_") else f"CAP_{name}"
        if name not in NUMBERS and name != "CAP_ALL":
            raise UsageError(
                f"unknown capability {word!r}", "", "names are those of capabilities(7)"
            )
        names.add(name)
    return names


def _rlimits(options: RunOptions, facts: Facts) -> list[dict[str, Any]]:
    limits = {
        "RLIMIT_NOFILE": {
            "type": "RLIMIT_NOFILE",
            "soft": min(1024, facts.nofile),
            "hard": facts.nofile,
        },
        "RLIMIT_CORE": {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    }
    limits.update({limit["type"]: limit for limit in options["ulimits"]})
    return list(limits.values())


def _sysctls(options: RunOptions, facts: Facts) -> dict[str, str]:
    joined = options["network"].startswith((isolation.CONTAINER, isolation.PATH))
    if not facts.private_network or joined:
        return dict(options["sysctls"])
    defaults = {
        "net.ipv4.ping_group_range": "{} {}".format(*_first_range(facts.gids)),
        "net.ipv4.ip_unprivileged_port_start": "0",
    }
    if facts.ipv6:  # nobody else can have its addresses: they need not be tried out for two seconds
        defaults["net.ipv6.conf.default.accept_dad"] = "0"
        defaults["net.ipv6.conf.default.router_solicitation_delay"] = "0"
    return {**defaults, **options["sysctls"]}


def _paths(options: RunOptions, facts: Facts) -> dict[str, list[str]]:
    if options["privileged"] or "ALL" in options["unmask"]:
        return {"maskedPaths": list(options["mask"]), "readonlyPaths": []}
    open_paths = set(options["unmask"])
    masked = [path for path in [*MASKED, *facts.masks, *options["mask"]] if path not in open_paths]
    return {
        "maskedPaths": masked,
        "readonlyPaths": [path for path in READONLY if path not in open_paths],
    }


def _seccomp(options: RunOptions, capabilities: list[str]) -> dict[str, Any] | None:
    choice = options["seccomp"]
    if choice == "unconfined" or options["privileged"]:
        return None
    features = ("nest",) if options["nest"] else ()
    profile = seccomp.load_profile(choice) if choice else seccomp.default_profile()
    found = seccomp.resolve(profile, capabilities, features)
    return seccomp.pretending(found) if options.get("pretend_ids") else found


def _mount(target: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def _mounts(options: RunOptions, facts: Facts) -> list[dict[str, Any]]:
    tight = ("nosuid", "noexec", "nodev")
    pts = [
        "newinstance",
        "ptmxmode=0666",
        "mode=0620",
        *(["gid=5"] if any(first <= 5 < first + count for first, _, count in facts.gids) else []),
    ]
    system = "rw" if options["privileged"] else "ro"
    mounts = [
        _mount("/proc", "bind", "/proc", *tight, "rbind", "rslave")
        if options["pid"] == "host"
        else _mount("/proc", "proc", "proc", *tight),
        _mount(
            "/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=65536k"
        ),
        _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", *pts),
        *_ipc_mounts(options, tight),
        _mount("/sys", "sysfs", "sysfs", *tight, system)
        if facts.private_network
        else _mount("/sys", "bind", "/sys", *tight, "rbind", "rslave", system),
        _mount("/sys/fs/cgroup", "bind", "/sys/fs/cgroup", *tight, "rbind", "rslave", system)
        if options["cgroupns"] == "host"
        else _mount("/sys/fs/cgroup", "cgroup", "cgroup", *tight, system),
    ]
    for name in ("hosts", "resolv.conf", "hostname", "passwd"):
        if name == "passwd" and not options["passwd_entries"]:
            continue
        if name == "hosts" and options["no_hosts"]:
            continue
        mounts.append(_mount(f"/etc/{name}", "bind", f"etc/{name}", "bind", "rprivate", *tight))
    mounts.append(
        _mount("/run/.containerenv", "bind", "etc/containerenv", "bind", "rprivate", *tight)
    )
    if options["read_only"] and options["read_only_tmpfs"]:
        mounts += [
            _mount(path, "tmpfs", "tmpfs", "nosuid", "nodev", "mode=1777")
            for path in ("/run", "/tmp", "/var/tmp")
        ]
    if options["init"]:
        mounts.append(_mount(INIT, "bind", options["init"], "bind", "ro", "rprivate"))
    mounts += [
        _mount(
            device["target"],
            "bind",
            device["source"],
            "bind",
            "rprivate",
            "nosuid",
            "noexec",
            *(() if "w" in device["access"] else ("ro",)),
        )
        for device in options["devices"]
    ]
    asked: list[dict[str, Any]] = []
    if options["mounts"]:
        from sampan.model.mounts import oci

        asked = oci(options["mounts"])
    named = {mount["destination"].rstrip("/") for mount in asked}
    mounts = [mount for mount in mounts if mount["destination"] not in named] + asked
    if "secrets" in options:
        from sampan.model import secret

        mounts += secret.oci(options["secrets"])
    return mounts


def _ipc_mounts(options: RunOptions, tight: tuple[str, ...]) -> list[dict[str, Any]]:
    """/dev/shm and /dev/mqueue are those of the namespace; another container's shm is placed in the bundle."""
    if options["ipc"] == "host":
        return [
            _mount(path, "bind", path, *tight, "rbind", "rslave")
            for path in ("/dev/shm", "/dev/mqueue")
            if os.path.isdir(path)
        ]
    queues = _mount("/dev/mqueue", "mqueue", "mqueue", *tight)
    if options["ipc"] == "none":
        return [queues]
    if options["ipc"].startswith(isolation.CONTAINER):
        return [_mount("/dev/shm", "bind", "shm", *tight, "bind", "rprivate"), queues]
    size = f"size={options['shm_size']}"
    return [_mount("/dev/shm", "tmpfs", "shm", *tight, "mode=1777", size), queues]


def _first_range(extents: tuple[Extent, ...]) -> tuple[int, int]:
    """The lowest ids of a map that follow on each other."""
    ordered = sorted(extents)
    lowest = ordered[0][0]
    end = lowest
    for first, _, count in ordered:
        if first != end:
            break
        end = first + count
    return lowest, end - 1
