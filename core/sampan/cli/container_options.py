"""The options of `run` and `create`, declared once, and how their words become RunOptions."""

from __future__ import annotations

import os

from sampan.cli import refused
from sampan.cli.parse import FLAG, INTEGER, LIST, Option
from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.model import names, options, sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    from sampan.model.container import RunOptions
    from sampan.settings import Settings

    class _Security(TypedDict):
        no_new_privileges: bool
        seccomp: str
        nest: bool
        mask: list[str]
        unmask: list[str]


PROXY = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
SHARED = [
    Option("--add-host", LIST, "Add a line to /etc/hosts", "NAME:IP"),
    Option("--annotation", LIST, "Add an OCI annotation", "KEY=VALUE"),
    Option("--arch", help="Architecture of the image"),
    Option("--attach -a", LIST, "Attach to stdin, stdout or stderr", "STREAM"),
    Option("--cap-add", LIST, "Add a capability", "NAME"),
    Option("--cap-drop", LIST, "Drop a capability", "NAME"),
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
    Option("--group-add", LIST, "Add a supplementary group", "GROUP"),
    Option("--hostuser", LIST, "Add a user of the host to /etc/passwd", "NAME|UID"),
    Option("--hostname -h", help="Host name in the container", metavar="NAME"),
    Option("--http-proxy", FLAG, "Pass the proxy variables of the host", default=True),
    Option("--init", FLAG, "Run an init inside that forwards signals and reaps processes"),
    Option("--init-path", help="The init program of the host", metavar="PATH"),
    Option("--interactive -i", FLAG, "Keep stdin open"),
    Option("--label -l", LIST, "Set a label", "KEY=VALUE"),
    Option("--label-file", LIST, "Read labels from a file", "FILE"),
    Option("--log-driver", help="How output is kept: k8s-file, json-file or none", metavar="NAME"),
    Option("--log-opt", LIST, "Option of the log driver", "KEY=VALUE"),
    Option("--mount", LIST, "Mount: type=bind|tmpfs,source=...,target=...", "SPEC"),
    Option("--name", help="Name of the container"),
    Option("--network --net", help="none or host", metavar="NAME"),
    Option("--no-hosts", FLAG, "Leave the image's /etc/hosts as it is"),
    Option("--oom-score-adj", INTEGER, "Adjust the OOM score (-1000 to 1000)"),
    Option("--os", help="Operating system of the image"),
    Option("--pidfile", help="Write the container's pid to a file", metavar="FILE"),
    Option("--platform", help="Platform of the image", metavar="OS/ARCH[/VARIANT]"),
    Option("--privileged", FLAG, "No masks, no seccomp, every capability of the user namespace"),
    Option("--pull", help="always, missing, newer or never", default="missing", metavar="POLICY"),
    Option("--quiet -q", FLAG, "Show no progress of a pull"),
    Option("--read-only", FLAG, "Make the root file system read-only"),
    Option(
        "--read-only-tmpfs", FLAG, "With --read-only: tmpfs on /run, /tmp, /var/tmp", default=True
    ),
    Option("--replace", FLAG, "Remove a container of the same name first"),
    Option("--rm", FLAG, "Remove the container when it ends"),
    Option(
        "--security-opt", LIST, "no-new-privileges, seccomp=FILE, mask=, unmask=, nest", "OPTION"
    ),
    Option("--shm-size", help="Size of /dev/shm", default="64m", metavar="BYTES"),
    Option("--stop-signal", help="Signal that stops the container", metavar="SIGNAL"),
    Option("--stop-timeout", INTEGER, "Seconds before it is killed", default=10),
    Option("--sysctl", LIST, "Set a sysctl of the container's namespaces", "KEY=VALUE"),
    Option("--timeout", INTEGER, "Seconds after which the container is killed", default=0),
    Option("--tls-verify", FLAG, "Verify the registry's certificate", default=True),
    Option("--tmpfs", LIST, "Mount a tmpfs", "TARGET[:OPTIONS]"),
    Option("--tty -t", FLAG, "Give the container a terminal"),
    Option("--tz", help="Time zone: a name, or local", metavar="ZONE"),
    Option("--ulimit", LIST, "Resource limit of processes", "NAME=SOFT[:HARD]"),
    Option("--umask", help="File mode mask", default="0022"),
    Option("--unsetenv", LIST, "Remove an environment variable", "NAME"),
    Option("--unsetenv-all", FLAG, "Remove all variables but those of the command line"),
    Option("--user -u", help="Who runs the command", metavar="USER[:GROUP]"),
    Option("--variant", help="Variant of the image's architecture"),
    Option("--volume -v", LIST, "Mount a path of the host", "SOURCE:TARGET[:OPTIONS]"),
    Option("--workdir -w", help="Working directory", metavar="PATH"),
]


def all_options(more: list[Option]) -> list[Option]:
    return sorted([*SHARED, *more, *refused.OPTIONS], key=lambda option: option.names[0])


def build(
    values: dict[str, Any], command: list[str], settings: Settings, *, detach: bool
) -> RunOptions:
    """RunOptions from the parsed flags."""
    refused.refuse(values, limits=settings.limits, network=values["network"])
    network = values["network"] or settings.network or "none"
    security = _security(values["security_opt"])
    environment = options.environment(values["env"], values["env_file"], os.environ)
    if values["env_host"]:
        environment = {**os.environ, **environment}
    if values["tz"] and values["tz"] != "local":
        environment.setdefault("TZ", values["tz"])
    mounts = [options.volume(word) for word in values["volume"]]
    mounts += [options.mount(word) for word in values["mount"]]
    mounts += [options.tmpfs(word) for word in values["tmpfs"]]
    _check_mounts(mounts)
    return {
        "name": names.check(values["name"]) if values["name"] else "",
        "command": command,
        "entrypoint": _entrypoint(values["entrypoint"]),
        "env": environment,
        "unset_env": ["*"] if values["unsetenv_all"] else values["unsetenv"],
        "proxy_env": _proxies() if values["http_proxy"] else {},
        "workdir": _workdir(values["workdir"]),
        "user": _user(values["user"]),
        "hostname": values["hostname"] or "",
        "tty": values["tty"],
        "stdin": values["interactive"] or "stdin" in streams(values["attach"]),
        "detach": detach,
        "rm": values["rm"],
        "privileged": values["privileged"],
        "read_only": values["read_only"],
        "read_only_tmpfs": values["read_only_tmpfs"],
        "cap_add": values["cap_add"],
        "cap_drop": values["cap_drop"],
        **security,
        "init": _init_program(values) if values["init"] else "",
        "ulimits": options.ulimits(values["ulimit"]),
        "sysctls": options.sysctls(values["sysctl"], private_network=network != "host"),
        "group_add": values["group_add"],
        "passwd_entries": [_host_user(word) for word in values["hostuser"]],
        "add_hosts": options.extra_hosts(values["add_host"]),
        "no_hosts": values["no_hosts"],
        "dns": values["dns"],
        "dns_search": values["dns_search"],
        "dns_options": values["dns_option"],
        "labels": options.labels(values["label"], values["label_file"]),
        "annotations": options.pairs(values["annotation"], "annotation"),
        "mounts": mounts,
        "devices": [_device(word) for word in values["device"]],
        "shm_size": sizes.size(values["shm_size"], "--shm-size"),
        "network": network,
        "umask": _umask(values["umask"]),
        "tz": values["tz"] or "",
        "oom_score_adj": values["oom_score_adj"],
        "preserve_fds": int(values.get("preserve_fds") or 0),
        "timeout": values["timeout"],
        "stop_signal": values["stop_signal"] or "",
        "stop_timeout": values["stop_timeout"],
        "log_driver": _log_driver(values["log_driver"] or settings.log_driver),
        "log_options": _log_options(values["log_opt"]),
    }


def _security(words: list[str]) -> _Security:
    result: _Security = {
        "no_new_privileges": False, "seccomp": "", "nest": False, "mask": [], "unmask": [],
    }  # fmt: skip
    for word in words:
        name, separator, value = word.partition("=")
        if not separator:
            name, _, value = word.partition(":")
        if name in ("no-new-privileges", "no_new_privileges") and value in ("", "true", "false"):
            result["no_new_privileges"] = value != "false"
        elif name == "seccomp" and value:
            result["seccomp"] = value if value == "unconfined" else os.path.abspath(value)
        elif name == "nest" and not value:
            result["nest"] = True
        elif name == "mask" and value:
            result["mask"] += value.split(":")
        elif name == "unmask" and value:
            result["unmask"] += value.split(":")
        elif (name, value) == ("systempaths", "unconfined"):
            result["unmask"].append("ALL")
        elif (name, value) in (("label", "disable"), ("apparmor", "unconfined")):
            continue  # neither is applied to an unprivileged user's containers
        else:
            raise UnsupportedError(
                f"security option {word!r} is not supported",
                "no such option, or the machine's security module cannot deliver it",
                "known: no-new-privileges, seccomp=FILE|unconfined, mask=, unmask=, nest, label=disable, "
                "apparmor=unconfined",
            )
    return result


def _check_mounts(mounts: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    for mount in mounts:
        target = os.path.normpath(mount["destination"])
        if target in seen:
            raise UsageError(f"{target}: duplicate mount destination", "", "mount each target once")
        seen.add(target)
        if mount["type"] == "bind" and not os.path.lexists(mount["source"]):
            raise SampanError(
                f"cannot mount {mount['source']}",
                "no such file or directory",
                "make it on the host first",
            )


def _entrypoint(text: str | None) -> list[str] | None:
    if text is None:
        return None
    if text.startswith("["):
        import json

        try:
            words: list[Any] = json.loads(text)
            if all(isinstance(word, str) for word in words):
                return words
        except ValueError:
            pass
    return [text] if text else []


def _workdir(text: str | None) -> str:
    if text and not text.startswith("/"):
        raise UsageError(f"invalid working directory {text!r}", "it must be an absolute path")
    return text or ""


def _user(text: str | None) -> str:
    from sampan.model import users

    for part in (text or "").split(":", 1) if text else ():
        users.number(part, "user")
    return text or ""


def _umask(text: str) -> str:
    if not text or not set(text) <= set("01234567") or int(text, 8) > 0o777:
        raise UsageError(f"invalid umask {text!r}", "", "octal digits up to 0777")
    return text


def _log_driver(name: str) -> str:
    known = ("k8s-file", "json-file", "none")
    if name not in known:
        raise UnsupportedError(
            f"log driver {name!r} is not supported", "", f"known: {', '.join(known)}"
        )
    return name


def _log_options(words: list[str]) -> dict[str, str]:
    chosen = options.pairs(words, "log option")
    for name, value in chosen.items():
        if name == "max-size":
            sizes.decimal_size(value, "log option max-size")
        elif name != "tag" and (name, value) != ("max-file", "1"):
            raise UnsupportedError(
                f"log option {name}={value} is not supported", "", "known: max-size, tag"
            )
    return chosen


def streams(words: list[str]) -> list[str]:
    """The streams of --attach."""
    for word in words:
        if word.lower() not in ("stdin", "stdout", "stderr"):
            raise UsageError(
                f'invalid stream "{word}" for --attach', "it must be stdin, stdout or stderr"
            )
    return [word.lower() for word in words]


def _host_user(word: str) -> str:
    """The line of /etc/passwd for a user of the host."""
    import pwd

    try:
        found = (
            pwd.getpwuid(int(word)) if word.isdecimal() and word.isascii() else pwd.getpwnam(word)
        )
    except (KeyError, OverflowError):
        raise SampanError(
            f"unable to find user {word} on the host", "", "--hostuser NAME|UID", exit_status=126
        ) from None
    return (
        f"{found.pw_name}:*:{found.pw_uid}:{found.pw_gid}:{found.pw_gecos}:{found.pw_dir}:/bin/sh"
    )


def _proxies() -> dict[str, str]:
    return {
        name: os.environ[name]
        for lower in PROXY
        for name in (lower, lower.upper())
        if os.environ.get(name)
    }


def _init_program(values: dict[str, Any]) -> str:
    path: str = values["init_path"] or ""
    if path:
        if not os.access(path, os.X_OK):
            raise SampanError(f"cannot use the init {path}", "it is not an executable file")
        return os.path.abspath(path)
    for name in ("catatonit", "tini", "docker-init", "dumb-init"):
        for place in (
            "/usr/libexec/podman",
            "/usr/bin",
            "/usr/libexec",
            "/usr/local/bin",
            "/usr/sbin",
        ):
            if os.access(f"{place}/{name}", os.X_OK):
                return f"{place}/{name}"
    raise UnsupportedError(
        "cannot run an init in the container",
        "no catatonit, tini or dumb-init is installed on the host",
        "install one of them, or name it with --init-path",
    )


def _device(word: str) -> dict[str, str]:
    import stat

    parts = word.split(":")
    access = "rwm"
    if len(parts) > 1 and parts[-1] and set(parts[-1]) <= set("rwm"):
        access = parts.pop()
    source, target = parts[0], parts[1] if len(parts) > 1 else parts[0]
    if len(parts) > 2 or not target.startswith("/"):
        raise UsageError(f"invalid device {word!r}", "", "HOST[:CONTAINER][:rwm]")
    try:
        mode = os.stat(source).st_mode
    except OSError as error:
        raise SampanError(f"cannot give device {source}", error.strerror or str(error)) from None
    if not (stat.S_ISCHR(mode) or stat.S_ISBLK(mode)):
        raise SampanError(f"cannot give device {source}", "it is not a device", "mount it with -v")
    return {"source": source, "target": target, "access": access}
