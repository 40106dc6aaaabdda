"""The options of `run` and `create`, declared once, and how their words become RunOptions."""

from __future__ import annotations

import os

from sampan.cli import container_words as words
from sampan.cli import limit_options, refused
from sampan.cli.parse import FLAG, INTEGER, LIST, Option
from sampan.errors import UsageError
from sampan.model import isolation, names, network_words, options, sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.model.container import RunOptions
    from sampan.settings import Settings

SHARED = [
    Option("--add-host", LIST, "Add a line to /etc/hosts", "NAME:IP"),
    Option("--annotation", LIST, "Add an OCI annotation", "KEY=VALUE"),
    Option("--arch", help="Architecture of the image"),
    Option("--attach -a", LIST, "Attach to stdin, stdout or stderr", "STREAM"),
    Option("--cap-add", LIST, "Add a capability", "NAME"),
    Option("--cap-drop", LIST, "Drop a capability", "NAME"),
    Option("--cgroupns", help="private, host or container:NAME", metavar="MODE"),
    Option("--cidfile", help="Write the container's id to a file", metavar="FILE"),
    Option("--conmon-pidfile", help="Write the monitor's pid to a file", metavar="FILE"),
    Option("--device", LIST, "Give the container a device of the host", "HOST[:CONTAINER][:rwm]"),
    Option("--dns", LIST, "Name server for /etc/resolv.conf", "IP"),
    Option("--dns-option --dns-opt", LIST, "Option for /etc/resolv.conf"),
    Option("--dns-search", LIST, "Search domain for /etc/resolv.conf", "DOMAIN"),
    Option("--entrypoint", help="Replace the image's ENTRYPOINT", metavar="COMMAND|JSON"),
    Option("--env -e", LIST, "Set an environment variable", "NAME[=VALUE]"),
    Option("--env-file", LIST, "Read environment variables from a file", "FILE"),
    Option("--env-host", FLAG, "Pass the caller's whole environment"),
    Option("--expose", LIST, "Let -P publish a further port", "PORT[-PORT][/tcp|udp]"),
    Option("--gidmap", LIST, "Map group ids: 0 is yours, 1.. subordinate", "CONTAINER:ID:COUNT"),
    Option("--group-add", LIST, "Add a supplementary group, or keep-groups", "GROUP"),
    Option(
        "--health-cmd", help="Check the container's health with this command", metavar="COMMAND"
    ),
    Option(
        "--health-interval", help="Time between checks (default 30s), or disable", metavar="TIME"
    ),
    Option(
        "--health-on-failure",
        help="What happens when it is unhealthy: none, kill, restart or stop",
        metavar="ACTION",
    ),
    Option("--health-retries", INTEGER, "Failures in a row that make it unhealthy (default 3)"),
    Option("--health-start-interval", help="Time between checks at first", metavar="TIME"),
    Option(
        "--health-start-period", help="Time at first in which failures do not count", metavar="TIME"
    ),
    Option("--health-timeout", help="Time that a check may take (default 30s)", metavar="TIME"),
    Option("--hostuser", LIST, "Add a user of the host to /etc/passwd", "NAME|UID"),
    Option("--hostname -h", help="Host name in the container", metavar="NAME"),
    Option("--http-proxy", FLAG, "Pass the proxy variables of the host", default=True),
    Option(
        "--image-volume",
        help="What a VOLUME of the image becomes: anonymous, tmpfs or ignore",
        metavar="KIND",
        default="anonymous",
    ),
    Option("--init", FLAG, "Run an init inside that forwards signals and reaps processes"),
    Option("--init-path", help="The init program of the host", metavar="PATH"),
    Option("--interactive -i", FLAG, "Keep stdin open"),
    Option(
        "--ipc",
        help="private, shareable, none (without /dev/shm), host or container:NAME",
        metavar="MODE",
    ),
    Option("--label -l", LIST, "Set a label", "KEY=VALUE"),
    Option("--label-file", LIST, "Read labels from a file", "FILE"),
    Option(
        "--log-driver",
        help="How output is kept: k8s-file, json-file, journald or none",
        metavar="NAME",
    ),
    Option("--log-opt", LIST, "Option of the log driver", "KEY=VALUE"),
    Option("--mount", LIST, "Mount: type=bind|volume|image|tmpfs,source=...,target=...", "SPEC"),
    Option("--name", help="Name of the container"),
    Option("--ip", help="IPv4 address on the network", metavar="ADDRESS"),
    Option("--ip6", help="IPv6 address on the network", metavar="ADDRESS"),
    Option("--mac-address", help="Hardware address on the network", metavar="ADDRESS"),
    Option(
        "--network --net",
        LIST,
        "none, host, slirp4netns, pasta, container:NAME, or networks of network create",
        "NAME[:OPTION,...]",
    ),
    Option("--network-alias", LIST, "A further name of the container on its networks", "NAME"),
    Option("--no-healthcheck", FLAG, "Check nothing, whatever the image says"),
    Option("--no-hosts", FLAG, "Leave the image's /etc/hosts as it is"),
    Option("--oom-score-adj", INTEGER, "Adjust the OOM score (-1000 to 1000)"),
    Option("--os", help="Operating system of the image"),
    Option("--passwd", FLAG, "Add --hostuser to /etc/passwd", default=True),
    Option("--pid", help="private, host or container:NAME", metavar="MODE"),
    Option("--pidfile", help="Write the container's pid to a file", metavar="FILE"),
    Option("--platform", help="Platform of the image", metavar="OS/ARCH[/VARIANT]"),
    Option("--privileged", FLAG, "No masks, no seccomp, every capability of the user namespace"),
    Option(
        "--publish -p", LIST, "Publish a port on the host", "[IP:][HOST_PORT:]PORT[-PORT][/tcp|udp]"
    ),
    Option("--publish-all -P", FLAG, "Publish what the image exposes at free ports of the host"),
    Option("--pull", help="always, missing, newer or never", default="missing", metavar="POLICY"),
    Option("--quiet -q", FLAG, "Show no progress of a pull"),
    Option("--read-only", FLAG, "Make the root file system read-only"),
    Option(
        "--read-only-tmpfs", FLAG, "With --read-only: tmpfs on /run, /tmp, /var/tmp", default=True
    ),
    Option("--replace", FLAG, "Remove a container of the same name first"),
    Option(
        "--restart",
        help="Start it again: no, always, unless-stopped or on-failure[:N]",
        metavar="POLICY",
    ),
    Option("--rm", FLAG, "Remove the container when it ends"),
    Option(
        "--security-opt", LIST, "no-new-privileges, seccomp=FILE, mask=, unmask=, nest", "OPTION"
    ),
    Option("--secret", LIST, "Give it a copy of a secret", "NAME[,type=mount|env,target=]"),
    Option("--shm-size", help="Size of /dev/shm", default="64m", metavar="BYTES"),
    Option("--stop-signal", help="Signal that stops the container", metavar="SIGNAL"),
    Option("--stop-timeout", INTEGER, "Seconds before it is killed", default=10),
    Option("--sysctl", LIST, "Set a sysctl of the container's namespaces", "KEY=VALUE"),
    Option("--timeout", INTEGER, "Seconds after which the container is killed", default=0),
    Option("--tls-verify", FLAG, "Verify the registry's certificate", default=True),
    Option("--authfile", help="The file of credentials to read", metavar="PATH"),
    Option("--tmpfs", LIST, "Mount a tmpfs", "TARGET[:OPTIONS]"),
    Option("--tty -t", FLAG, "Give the container a terminal"),
    Option("--tz", help="Time zone: a name, or local", metavar="ZONE"),
    Option("--uidmap", LIST, "Map user ids: 0 is yours, 1.. subordinate", "CONTAINER:ID:COUNT"),
    Option("--ulimit", LIST, "Resource limit of processes", "NAME=SOFT[:HARD]"),
    Option("--umask", help="File mode mask", default="0022"),
    Option("--unsetenv", LIST, "Remove an environment variable", "NAME"),
    Option("--unsetenv-all", FLAG, "Remove all variables but those of the command line"),
    Option("--user -u", help="Who runs the command", metavar="USER[:GROUP]"),
    Option(
        "--userns",
        help="host, keep-id[:uid=,gid=], nomap, auto[:size=] or container:NAME",
        metavar="MODE",
    ),
    Option("--uts", help="private, host or container:NAME", metavar="MODE"),
    Option("--variant", help="Variant of the image's architecture"),
    Option(
        "--volume -v", LIST, "Mount a path of the host or a volume", "[SOURCE:]TARGET[:OPTIONS]"
    ),
    Option("--volume-driver", help="Driver of volumes that -v makes", metavar="NAME"),
    Option("--volumes-from", LIST, "Mount what another container mounts", "CONTAINER[:ro|z]"),
    Option("--workdir -w", help="Working directory", metavar="PATH"),
]


def all_options(more: list[Option]) -> list[Option]:
    shared = [*SHARED, *limit_options.OPTIONS, *limit_options.PLACES, *refused.OPTIONS]
    return sorted([*shared, *more], key=lambda option: option.names[0])


def build(
    values: dict[str, Any], command: list[str], settings: Settings, *, detach: bool
) -> RunOptions:
    """RunOptions from the parsed flags."""
    refused.refuse(values, limits=settings.limits)
    places = limit_options.limits(values, effort=settings.limits == "best-effort")
    asked = network_words.asked(values["network"], settings.network, values)
    network = asked["network"]
    security = words.security(values["security_opt"])
    environment = options.environment(values["env"], values["env_file"], os.environ)
    uts = isolation.parse("uts", values["uts"])
    isolation.check_hostname(values["hostname"] or "", uts)
    policy, most = words.restart(values["restart"])
    if policy != "no" and values["rm"]:
        raise UsageError("--rm and --restart", "a container that is removed cannot be restarted")
    if values["env_host"]:
        environment = {**os.environ, **environment}
    if values["tz"] and values["tz"] != "local":
        environment.setdefault("TZ", values["tz"])
    return {
        "name": names.check(values["name"]) if values["name"] else "",
        "command": command,
        "entrypoint": words.entrypoint(values["entrypoint"]),
        "env": environment,
        "unset_env": ["*"] if values["unsetenv_all"] else values["unsetenv"],
        "proxy_env": words.proxies(network) if values["http_proxy"] else {},
        "workdir": words.workdir(values["workdir"]),
        "user": words.user(values["user"]),
        "hostname": values["hostname"] or "",
        "tty": values["tty"],
        "stdin": values["interactive"] or "stdin" in words.streams(values["attach"]),
        "detach": detach,
        "rm": values["rm"],
        "privileged": values["privileged"],
        "read_only": values["read_only"],
        "read_only_tmpfs": values["read_only_tmpfs"],
        "cap_add": values["cap_add"],
        "cap_drop": values["cap_drop"],
        **security,
        "init": words.init_program(values) if values["init"] else "",
        "ulimits": options.ulimits(values["ulimit"]),
        "sysctls": options.sysctls(values["sysctl"], private_network=network != "host"),
        "group_add": words.groups(values["group_add"]),
        "passwd_entries": [
            words.host_user(word) for word in values["hostuser"] if values["passwd"]
        ],
        "add_hosts": options.extra_hosts(values["add_host"]),
        "no_hosts": values["no_hosts"],
        "dns": values["dns"],
        "dns_search": values["dns_search"],
        "dns_options": values["dns_option"],
        "labels": options.labels(values["label"], values["label_file"]),
        "annotations": options.pairs(values["annotation"], "annotation"),
        "mounts": _mounts(values),
        "volumes_from": values["volumes_from"],
        "image_volume": words.image_volume(values["image_volume"]),
        "devices": [words.device(word) for word in values["device"]],
        "shm_size": sizes.size(values["shm_size"], "--shm-size"),
        **asked,
        **words.published(values, network),
        "pid": isolation.parse("pid", values["pid"]),
        "ipc": isolation.parse("ipc", values["ipc"]),
        "uts": uts,
        "cgroupns": isolation.parse("cgroupns", values["cgroupns"]),
        "userns": values["userns"] or settings.userns,
        "uidmap": values["uidmap"],
        "gidmap": values["gidmap"],
        "umask": words.umask(values["umask"]),
        "tz": values["tz"] or "",
        "oom_score_adj": words.oom_score(values["oom_score_adj"]),
        "preserve_fds": int(values.get("preserve_fds") or 0),
        "timeout": values["timeout"],
        "stop_signal": values["stop_signal"] or "",
        "stop_timeout": values["stop_timeout"],
        "log_driver": words.log_driver(values["log_driver"] or settings.log_driver),
        "log_options": words.log_options(values["log_opt"]),
        "restart": policy,
        "restart_max": most,
        **words.secrets(values["secret"]),
        **words.health(values),
        "resources": places["resources"],
        "pretend_ids": False,
        "cgroups": places["cgroups"],
        "cgroup_parent": places["cgroup_parent"],
    }


def _mounts(values: dict[str, Any]) -> list[dict[str, Any]]:
    if not (values["volume"] or values["mount"] or values["tmpfs"]):
        return []
    from sampan.model import mount_words

    driver = values["volume_driver"] or "local"
    mounts = [mount_words.volume(word, driver) for word in values["volume"]]
    mounts += [mount_words.mount(word, driver) for word in values["mount"]]
    mounts += [mount_words.tmpfs(word) for word in values["tmpfs"]]
    return words.check_mounts(mounts)
