"""info: what this machine allows, what sampan chose, and why."""

from __future__ import annotations

import os
import sys

from sampan import __version__
from sampan.engine import choose, limits, networks
from sampan.linux import cgroups, userns
from sampan.settings import user_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine


def info(engine: Engine) -> dict[str, Any]:
    """The document that `sampan info` shows: podman's field names where podman has the field."""
    settings = engine.settings
    containers = list(engine.containers.all())
    running = sum(container.run is not None for container in containers)
    driver = engine.storage.name
    return {
        "host": _host(engine),
        "store": {
            "configFile": user_file() or "/etc/sampan/sampan.toml",
            "containerStore": {
                "number": len(containers),
                "paused": 0,
                "running": running,
                "stopped": len(containers) - running,
            },
            "graphDriverName": driver,
            "graphOptions": settings.table("storage", driver),
            "graphRoot": settings.root,
            "graphStatus": {
                "Backing Filesystem": _file_system(settings.root),
                "Supports d_type": "true",
            },
            "imageStore": {"number": len(engine.images.list())},
            "runRoot": settings.run_dir,
            "volumePath": settings.volume_path,
        },
        "registries": _registries(),
        "plugins": {
            "storage": engine.plugins.names("storage"),
            "network": engine.plugins.names("network"),
            "runtime": engine.plugins.names("runtime"),
            "cgroup": engine.plugins.names("cgroup"),
            "build": engine.plugins.names("build"),
            "volume": engine.plugins.names("volume"),
            "log": ["k8s-file", "json-file", "none"],
        },
        "choices": _choices(engine),
        "version": {"APIVersion": __version__, "Version": __version__, "OsArch": _platform()},
    }


def _host(engine: Engine) -> dict[str, Any]:
    idmap = engine.idmap
    layout = cgroups.layout()
    return {
        "arch": _platform().partition("/")[2],
        "os": "linux",
        "kernel": os.uname().release,
        "hostname": os.uname().nodename,
        "cpus": os.cpu_count(),
        "memTotal": _memory("MemTotal"),
        "memFree": _memory("MemAvailable"),
        "swapTotal": _memory("SwapTotal"),
        "swapFree": _memory("SwapFree"),
        "uptime": _uptime(),
        "distribution": _distribution(),
        "buildahVersion": __version__,
        "cgroupVersion": "v2" if layout == "v2" else "v1",
        "cgroupLayout": layout,
        "cgroupManager": limits.manager_name(engine),
        "cgroupControllers": sorted(limits.manager(engine).controllers()),
        "conmon": {
            "package": f"sampan {__version__}, whose monitor stands for conmon",
            "path": sys.executable,
            "version": __version__,
        },
        "eventLogger": "none",
        "idMappings": {
            "gidmap": [_extent(extent) for extent in idmap.gids],
            "uidmap": [_extent(extent) for extent in idmap.uids],
        },
        "idMode": "single" if idmap.single else "subordinate",
        "logDriver": engine.settings.log_driver,
        "networkBackend": networks.configured(engine) or choose.probed(engine, "network")["driver"],
        "ociRuntime": {
            "name": engine.settings.runtime,
            "package": f"sampan {__version__}",
            "path": sys.executable,
            "version": __version__,
        },
        "security": {
            "apparmorEnabled": False,
            "capabilities": ",".join(_capabilities()),
            "rootless": os.getuid() != 0,
            "seccompEnabled": True,
            "seccompProfilePath": "built-in",
            "selinuxEnabled": False,
        },
        "helpers": {name: userns.find_helper(name) or "" for name in ("newuidmap", "newgidmap")},
        "remoteSocket": {"path": f"{engine.settings.run_dir}/sampan.sock", "exists": False},
        "serviceIsRemote": False,
    }


def _choices(engine: Engine) -> dict[str, Any]:
    """Each setting with where it came from, and what `auto` found."""
    settings = engine.settings
    chosen: dict[str, Any] = {
        key: {"value": value, "from": settings.sources[key]}
        for key, value in settings.values.items()
    }
    for concern, record in choose.choices(engine).items():
        chosen[f"auto {concern}"] = record
    if not networks.configured(engine):
        chosen["auto network"] = choose.probed(engine, "network")
    if settings.cgroup_manager == "auto":
        chosen["auto cgroup"] = choose.probed(engine, "cgroup")
    idmap = engine.idmap
    chosen["id map"] = {
        "value": f"{idmap.count()} ids",
        "from": "one uid: /etc/subuid and /etc/subgid grant none"
        if idmap.single
        else "own uid as 0, then the subordinate ids of /etc/subuid and /etc/subgid",
    }
    return chosen


def _registries() -> dict[str, Any]:
    from sampan.registry import config

    return {"search": config.load().search}


def _capabilities() -> list[str]:
    from sampan.model.spec import DEFAULT_CAPABILITIES

    return DEFAULT_CAPABILITIES


def _extent(extent: tuple[int, int, int]) -> dict[str, int]:
    return {"container_id": extent[0], "host_id": extent[1], "size": extent[2]}


def _platform() -> str:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return f"linux/{machine}"


def _memory(name: str) -> int:
    """Bytes, from /proc/meminfo."""
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return 0


def _uptime() -> str:
    with open("/proc/uptime", encoding="ascii") as file:
        seconds = int(float(file.read().split()[0]))
    return f"{seconds // 3600}h {seconds % 3600 // 60}m {seconds % 60}s"


def _distribution() -> dict[str, str]:
    import platform

    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return {
        "distribution": release.get("ID", ""),
        "codename": release.get("VERSION_CODENAME", ""),
        "version": release.get("VERSION_ID", ""),
    }


def _file_system(path: str) -> str:
    """The type of the file system that holds the path (mountinfo's longest match)."""
    best, kind = "", ""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.split()
            point = fields[1].replace("\\040", " ")
            if (path + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
                best, kind = point, fields[2]
    return kind
