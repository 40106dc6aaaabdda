"""inspect: a container as Docker's and podman's clients expect it."""

from __future__ import annotations

from sampan import __version__
from sampan.engine import limits_shown, losses
from sampan.engine.stop import is_stopping
from sampan.errors import NotFoundError
from sampan.model import isolation, ports, sizes
from sampan.model import options as words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.model.container import RunOptions
    from sampan.store.containers import Container

NEVER = "0001-01-01T00:00:00Z"


def inspect(engine: Engine, word: str, *, size: bool = False) -> dict[str, Any]:
    """The whole of what is known of a container. NotFoundError if there is none."""
    container = engine.containers.get(word)
    record, chosen = container.record, container.record["options"]
    spec = engine.containers.spec(container.id)
    process = spec["process"]
    storage = record["storage"]
    log = f"{engine.settings.root}/containers/{container.id}/log"
    log = "" if chosen["log_driver"] in ("none", "journald") else log
    document: dict[str, Any] = {
        "Id": container.id,
        "Created": record["created"],
        "Path": process["args"][0],
        "Args": process["args"][1:],
        "State": _state(engine, container) | _lost(engine, container),
        "Image": record["image"]["id"].partition(":")[2],
        "ImageDigest": record["image"]["digest"],
        "ImageName": record["image"]["name"],
        "Name": container.name,
        "RestartCount": (container.run or container.exit or {"restarts": 0})["restarts"],
        "Driver": storage["driver"],
        "Platform": "linux",
        "OCIRuntime": record["runtime"],
        "ProcessLabel": "",
        "MountLabel": "",
        "AppArmorProfile": "",
        "EffectiveCaps": process["capabilities"]["effective"],
        "BoundingCaps": process["capabilities"]["bounding"],
        "GraphDriver": {"Name": storage["driver"], "Data": {"Layers": storage["chain"]}},
        "Mounts": [_mount(engine, mount) for mount in chosen["mounts"]],
        "Dependencies": sorted(set(isolation.shared(chosen).values())),
        "NetworkSettings": _network(container),
        "ExitCommand": None,
        "Namespace": "",
        "IsInfra": False,
        "LogPath": log,
        "Config": _config(container, spec),
        "HostConfig": _host_config(container, spec, log) | limits_shown.shown(engine, container),
        "SampanVersion": record["engine"],
        "Engine": f"sampan {__version__}",
    }
    if size:
        from sampan.engine.usage import snapshot_sizes

        document["SizeRw"] = snapshot_sizes(engine, [container])[0]
        document["SizeRootFs"] = document["SizeRw"]
    return document


def _lost(engine: Engine, container: Container) -> dict[str, Any]:
    """How much output its log lacks; nothing where nothing is lost."""
    count, why = losses.read(engine.containers.run_fd, container.id)
    return {"LostLogRecords": count, "LostLogReason": why} if count else {}


def _state(engine: Engine, container: Container) -> dict[str, Any]:
    run, ended = container.run, container.exit
    stopping = container.live and is_stopping(engine, container)
    code = ended["code"] if ended else 0
    return {
        "OciVersion": "1.0.2",
        "Status": "stopping" if stopping else container.state,
        "Running": container.live and not stopping,
        "Paused": container.state == "paused",
        "Restarting": container.state == "restarting",
        "OOMKilled": bool(ended and ended["oom"]),
        "Dead": False,
        "CgroupPath": limits_shown.cgroup_path(container),
        "Pid": run["pid"] if run else 0,
        "ConmonPid": run["monitor"] if run else 0,
        "ExitCode": -1 if code is None else code,
        "ExitCodeKnown": code is not None,
        "Error": ended["error"] if ended else _attachment(container).get("error", ""),
        "StartedAt": run["started"] if run else ended["started"] if ended else NEVER,
        "FinishedAt": ended["finished"] if ended else NEVER,
        "Health": _health(engine, container),
    }


def _health(engine: Engine, container: Container) -> dict[str, Any]:
    found = None
    if "health" in container.record["options"]:
        found = engine.containers.health(container.id)
    return found or {"Status": "", "FailingStreak": 0, "Log": None}


def _mount(engine: Engine, mount: dict[str, Any]) -> dict[str, Any]:
    mode = mount["options"]
    volume = mount["type"] == "volume"
    return {
        "Type": mount["type"],
        **({"Name": mount["name"]} if volume else {}),
        "Source": _source(engine, mount),
        "Destination": mount["destination"],
        "Driver": mount["driver"] if volume else "",
        "Mode": mount.get("relabel", ""),
        "Options": [option for option in mode if option not in ("rw", "ro")],
        "RW": "ro" not in mode,
        "Propagation": next((o for o in mode if o.endswith(("private", "slave", "shared"))), ""),
    }


def _source(engine: Engine, mount: dict[str, Any]) -> str:
    if mount["type"] in ("bind", "image"):
        return str(mount["source"])
    if mount["type"] != "volume":
        return ""
    from sampan.engine.volumes import driver_of

    try:
        volume = engine.volumes.get(mount["name"])
        return driver_of(engine, volume).path(volume)
    except NotFoundError:  # the volume, or the plugin of its driver
        return ""


def _attachment(container: Container) -> dict[str, Any]:
    """What connects it while it runs."""
    return container.run.get("network", {}) if container.run else {}


def _network(container: Container) -> dict[str, Any]:
    name, found = container.record["options"]["network"], _attachment(container)
    addresses = {
        "EndpointID": "",
        "Gateway": found.get("gateway", ""),
        "IPAddress": found.get("address", ""),
        "IPPrefixLen": found.get("prefix", 0),
        "MacAddress": found.get("mac", ""),
    }
    networks = {name: {"NetworkID": name, **addresses}}
    if "networks" in container.record["options"]:
        networks = _ends(container, found.get("networks", {}))
    return {
        **addresses,
        **_published(container, found),
        "SandboxKey": f"/proc/{container.run['pid']}/ns/net" if container.run and found else "",
        "Networks": networks,
    }


def _ends(container: Container, found: dict[str, Any]) -> dict[str, Any]:
    """Its end of each network, by the network's name; addresses are known while it runs."""
    shown: dict[str, Any] = {}
    for end in container.record["options"].get("networks", []):
        row = found.get(end["id"], {})
        addresses: list[list[Any]] = row.get("addresses", [])
        four = next((one for one in addresses if ":" not in one[0]), ["", 0, ""])
        six = next((one for one in addresses if ":" in one[0]), ["", 0, ""])
        shown[end["name"]] = {
            "NetworkID": end["id"],
            "EndpointID": "",
            "Gateway": four[2],
            "IPAddress": four[0],
            "IPPrefixLen": four[1],
            "IPv6Gateway": six[2],
            "GlobalIPv6Address": six[0],
            "GlobalIPv6PrefixLen": six[1],
            "MacAddress": row.get("mac", ""),
            "Aliases": [*end["aliases"], *([container.id[:12]] if end["named"] else [])],
            "IPAMConfig": {"IPv4Address": end["ip"]} if end["ip"] else None,
        }
    return shown


def _published(container: Container, found: dict[str, Any]) -> dict[str, Any]:
    """Its ports while it runs; ClientAddress is sampan's own: whether the container sees who connects to them."""
    chosen = container.record["options"]
    if "ports" not in chosen or not container.live:
        return {"Ports": {}}
    return {
        "Ports": ports.bindings(chosen["ports"], chosen.get("expose", [])),
        "ClientAddress": found.get("clients", ""),
    }


def _config(container: Container, spec: dict[str, Any]) -> dict[str, Any]:
    record, chosen, process = container.record, container.record["options"], spec["process"]
    return {
        "Hostname": spec["hostname"],
        "Domainname": "",
        "User": chosen["user"],
        "AttachStdin": chosen["stdin"],
        "AttachStdout": not chosen["detach"],
        "AttachStderr": not chosen["detach"],
        "Tty": chosen["tty"],
        "OpenStdin": chosen["stdin"],
        "StdinOnce": False,
        "Env": process["env"],
        "Cmd": chosen["command"] or process["args"],
        "Image": record["image"]["name"],
        "Volumes": None,
        "WorkingDir": process["cwd"],
        "Entrypoint": " ".join(chosen["entrypoint"] or []),
        "OnBuild": None,
        "Labels": chosen["labels"],
        "Annotations": spec["annotations"],
        "StopSignal": words.signal_number(chosen["stop_signal"]),
        "StopTimeout": chosen["stop_timeout"],
        "Timeout": chosen["timeout"],
        "Umask": f"{int(chosen['umask'], 8):04o}",
        "Timezone": chosen["tz"],
        "Passwd": True,
        **_secrets(chosen),
        **_healthcheck(chosen),
    }


def _secrets(chosen: RunOptions) -> dict[str, Any]:
    """Which files it has; of variables podman tells nothing."""
    rows = [
        {
            "Name": use["name"],
            "ID": use["id"],
            "UID": use["uid"],
            "GID": use["gid"],
            "Mode": use["mode"],
        }
        for use in chosen.get("secrets", [])
        if use["type"] == "mount"
    ]
    return {"Secrets": rows} if rows else {}


def _healthcheck(chosen: RunOptions) -> dict[str, Any]:
    if "health" not in chosen:
        return {}
    from sampan.model import health

    return {
        "Healthcheck": health.document(chosen["health"]),
        "HealthcheckOnFailureAction": chosen["health"]["on_failure"],
    }


def _host_config(container: Container, spec: dict[str, Any], log: str) -> dict[str, Any]:
    chosen = container.record["options"]
    log_size = sizes.decimal_size(chosen["log_options"].get("max-size", "0"), "max-size")
    security: list[str] = []
    if chosen["no_new_privileges"]:
        security.append("no-new-privileges")
    if chosen["seccomp"]:
        security.append(f"seccomp={chosen['seccomp']}")
    return {
        "Binds": [
            f"{mount.get('name') or mount['source']}:{mount['destination']}:{','.join(mount['options'])}"
            for mount in chosen["mounts"]
            if mount["type"] in ("bind", "volume")
        ],
        "VolumesFrom": chosen.get("volumes_from") or None,
        "VolumeDriver": "",
        "LogConfig": {
            "Type": chosen["log_driver"],
            "Config": chosen["log_options"] or None,
            "Path": log,
            "Tag": chosen["log_options"].get("tag", ""),
            "Size": sizes.decimal_text(log_size),
        },
        "NetworkMode": next((end["name"] for end in chosen.get("networks", [])), chosen["network"]),
        "PortBindings": ports.bindings(chosen.get("ports", [])),
        "RestartPolicy": {
            "Name": chosen["restart"] if chosen["restart"] != "no" else "",
            "MaximumRetryCount": chosen["restart_max"],
        },
        "AutoRemove": chosen["rm"],
        "CapAdd": chosen["cap_add"],
        "CapDrop": chosen["cap_drop"],
        "Dns": chosen["dns"],
        "DnsOptions": chosen["dns_options"],
        "DnsSearch": chosen["dns_search"],
        "ExtraHosts": [f"{name}:{address}" for address, name in chosen["add_hosts"]],
        "GroupAdd": chosen["group_add"],
        "IpcMode": chosen["ipc"] or "shareable",
        "PidMode": chosen["pid"] or "private",
        "UTSMode": chosen["uts"] or "private",
        "UsernsMode": "private" if container.record.get("idmap") else "",
        "CgroupMode": chosen["cgroupns"] or "private",
        "Init": bool(chosen["init"]),
        "OomScoreAdj": chosen["oom_score_adj"] or 0,
        "Privileged": chosen["privileged"],
        "PublishAllPorts": chosen.get("publish_all", False),
        "ReadonlyRootfs": chosen["read_only"],
        "SecurityOpt": security,
        "ShmSize": chosen["shm_size"],
        "Runtime": "oci",
        "Sysctls": chosen["sysctls"],
        "Tmpfs": {
            mount["destination"]: ",".join(mount["options"])
            for mount in chosen["mounts"]
            if mount["type"] == "tmpfs"
        },
        "Ulimits": [
            {"Name": limit["type"], "Soft": limit["soft"], "Hard": limit["hard"]}
            for limit in spec["process"]["rlimits"]
        ],
        "MaskedPaths": spec["linux"]["maskedPaths"],
        "ReadonlyPaths": spec["linux"]["readonlyPaths"],
    }
