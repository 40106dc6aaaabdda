"""What a command of a build may do, as the options of a container: those of `run` without any flag."""

from __future__ import annotations

import os

from sampan.drivers import RunMount
from sampan.model import network_words, secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.drivers import Command
    from sampan.engine import Engine
    from sampan.model.container import RunOptions


def confide(chosen: RunOptions, command: Command) -> dict[str, bytes]:
    """The secrets become a container's: copies of their content, and in its options where they are seen."""
    files = [mount for mount in command.mounts if mount.kind == "file"]
    rows = [(mount.target, "mount", mount.data, mount) for mount in files]
    rows += [(name, "env", value, RunMount("", "")) for name, value in command.secrets.items()]
    if rows:
        chosen["secrets"] = [
            {
                "name": target,
                "id": "",
                "type": kind,
                "target": target,
                "uid": mount.uid,
                "gid": mount.gid,
                "mode": mount.mode,
            }
            for target, kind, _, mount in rows
        ]
    return {secret.copy_name(number): data for number, (_, _, data, _) in enumerate(rows)}


def sandbox_options(engine: Engine, command: Command) -> RunOptions:
    """What `run` has without any option, but for what the command asks."""
    named = [] if command.network == "default" else [command.network]
    return {
        "name": f"build-{os.urandom(6).hex()}",
        "command": list(command.arguments),
        "entrypoint": [],
        "env": dict(command.environment),
        "unset_env": ["*"],
        "proxy_env": {},
        "workdir": command.directory,
        "user": command.user,
        "hostname": "",
        "tty": False,
        "stdin": False,
        "detach": False,
        "rm": False,
        "privileged": False,
        "read_only": False,
        "read_only_tmpfs": True,
        "cap_add": [],
        "cap_drop": [],
        "no_new_privileges": False,
        "seccomp": "",
        "nest": False,
        "mask": [],
        "unmask": [],
        "init": "",
        "ulimits": [],
        "sysctls": {},
        "group_add": [],
        "passwd_entries": [],
        "add_hosts": [(address, name) for name, address in command.hosts],
        "no_hosts": False,
        "dns": [],
        "dns_search": [],
        "dns_options": [],
        "labels": {},
        "annotations": {},
        "mounts": [],
        "volumes_from": [],
        "image_volume": "ignore",
        "devices": [],
        "shm_size": 64 << 20,
        **network_words.asked(named, engine.settings.network, {}),
        "pid": "",
        "ipc": "",
        "uts": "",
        "cgroupns": "",
        "userns": "",
        "uidmap": [],
        "gidmap": [],
        "umask": "0022",
        "tz": "",
        "oom_score_adj": None,
        "preserve_fds": 0,
        "timeout": 0,
        "stop_signal": "",
        "stop_timeout": 10,
        "log_driver": "none",
        "log_options": {},
        "restart": "no",
        "restart_max": 0,
        "resources": {},
        "pretend_ids": False,
        "cgroups": "enabled",
        "cgroup_parent": "",
        **command.options,  # type: ignore[typeddict-item]
    }
