"""Words of the options of `run` and `create`, each made into its value or refused."""

from __future__ import annotations

import os

from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.model import options, sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    class Security(TypedDict):
        no_new_privileges: bool
        seccomp: str
        nest: bool
        mask: list[str]
        unmask: list[str]

    class Health(TypedDict, total=False):
        health: dict[str, Any]

    class Published(TypedDict, total=False):
        ports: list[dict[str, Any]]
        expose: list[str]
        publish_all: bool

    class Secrets(TypedDict, total=False):
        secrets: list[dict[str, Any]]


PROXY = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")


def security(words: list[str]) -> Security:
    result: Security = {
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


# What neither :z and :Z nor :U may change, with all that is below it.
SHARED_PLACES = (
    "/", "/bin", "/boot", "/dev", "/etc", "/etc/passwd", "/etc/pki", "/etc/shadow", "/home", "/lib", "/lib64",
    "/media", "/opt", "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib", "/var/log",
)  # fmt: skip


def check_mounts(mounts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mounts, each once; two different ones of a target are an error."""
    seen: dict[str, dict[str, Any]] = {}
    for mount in mounts:
        target = os.path.normpath(mount["destination"])
        if target in seen and seen[target] != mount:
            raise UsageError(f"{target}: duplicate mount destination")
        seen[target] = mount
        if mount["type"] != "bind":
            continue
        source = mount["source"]
        if not os.path.lexists(source):
            raise SampanError(
                f"cannot mount {source}", "no such file or directory", "make it on the host first"
            )
        if mount.get("relabel") or mount.get("chown"):
            _check_changed(source, mount)
    return list(seen.values())


def _check_changed(source: str, mount: dict[str, Any]) -> None:
    """Whether the path may be labelled (:z, :Z; without SELinux nothing is done) or given away (:U)."""
    path = os.path.realpath(source)
    if path in SHARED_PLACES or path == os.path.realpath(os.environ.get("HOME") or "/"):
        what = (
            f"SELinux relabeling of {path}"
            if mount.get("relabel")
            else f"chowning host path {path}"
        )
        raise SampanError(
            f"{what} is not allowed", "others need it as it is", "mount a directory below it"
        )
    if not mount.get("relabel"):
        return
    if os.stat(path).st_uid != os.getuid():
        os.write(2, f"sampan: {path} keeps its label: it belongs to another user\n".encode())
    elif os.statvfs(path).f_flag & os.ST_RDONLY:
        os.write(2, f"sampan: {path} keeps its label: its file system is read-only\n".encode())


def image_volume(kind: str) -> str:
    known = {"anonymous": "anonymous", "bind": "anonymous", "tmpfs": "tmpfs", "ignore": "ignore"}
    if kind not in known:
        raise UsageError(f"invalid --image-volume {kind!r}", "", "anonymous, bind, tmpfs or ignore")
    return known[kind]


def entrypoint(text: str | None) -> list[str] | None:
    if text is None:
        return None
    if text.startswith("["):
        from sampan import jsontext

        try:
            words: list[Any] = jsontext.loads(text)
            if all(isinstance(word, str) for word in words):
                return words
        except ValueError:
            pass
    return [text] if text else []


def workdir(text: str | None) -> str:
    if text and not text.startswith("/"):
        raise UsageError(f"invalid working directory {text!r}", "it must be an absolute path")
    return text or ""


def user(text: str | None) -> str:
    from sampan.model import users

    for part in (text or "").split(":", 1) if text else ():
        users.number(part, "user")
    return text or ""


def groups(words: list[str]) -> list[str]:
    if "keep-groups" in words and len(words) > 1:
        raise UsageError(
            "the '--group-add keep-groups' option is not allowed with any other --group-add options",
            "it keeps the groups that you have, no others",
        )
    return words


def umask(text: str) -> str:
    if not text or not set(text) <= set("01234567") or int(text, 8) > 0o777:
        raise UsageError(f"invalid umask {text!r}", "", "octal digits up to 0777")
    return text


def oom_score(value: int | None) -> int | None:
    if value is not None and not -1000 <= value <= 1000:
        raise UsageError(f"invalid --oom-score-adj {value}", "", "a number from -1000 to 1000")
    return value


def log_driver(name: str) -> str:
    known = ("k8s-file", "json-file", "journald", "none")
    if name not in known:
        raise UnsupportedError(
            f"log driver {name!r} is not supported", "", f"known: {', '.join(known)}"
        )
    if name == "journald":
        from sampan.engine.journal import check

        check()
    return name


def log_options(words: list[str]) -> dict[str, str]:
    chosen = options.pairs(words, "log option")
    for name, value in chosen.items():
        if name == "max-size":
            sizes.decimal_size(value, "log option max-size")
        elif name == "max-file":
            if not (value.isascii() and value.isdigit() and 0 < int(value) < 1000):
                raise UsageError(f"invalid log option max-file={value}", "", "a number above 0")
        elif name != "tag":
            raise UnsupportedError(
                f"log option {name}={value} is not supported", "", "known: max-size, max-file, tag"
            )
    return chosen


def restart(word: str | None) -> tuple[str, int]:
    """The restart policy, and how often at most."""
    if not word:
        return "no", 0
    from sampan.model.restart import parse

    return parse(word)


def secrets(words: list[str]) -> Secrets:
    """The secrets of --secret; no two of them in one place."""
    if not words:
        return {}
    from sampan.model import secret

    uses = [secret.parse(word) for word in words]
    places = [(use["type"], use["target"]) for use in uses]
    for place in places:
        if places.count(place) > 1:
            raise UsageError("--secret", f"two secrets have the target {place[1]}", "target=OTHER")
    return {"secrets": uses}


def published(values: dict[str, Any], network: str) -> Published:
    """What is said of ports; nothing if nothing is, or if the network has none by choice."""
    if not (values["publish"] or values["expose"] or values["publish_all"]):
        return {}
    from sampan.model import ports

    found: Published = {
        "ports": ports.parse(values["publish"]),
        "expose": ports.exposed(values["expose"]),
        "publish_all": values["publish_all"],
    }
    if network.partition(":")[0] not in ("none", "host", "container", "ns"):
        return found
    if network == "none" and not values["network"]:  # who has chosen nothing is told what to choose
        return found
    if values["publish"] or values["publish_all"]:  # podman's sentence
        text = "as one of the Host, Container, Pod, and None network modes are in use"
        os.write(2, f"Port mappings have been discarded {text}\n".encode())
    return {}


def health(values: dict[str, Any]) -> Health:
    """What the flags say of a health check; nothing if they say nothing."""
    if not values["no_healthcheck"] and all(
        values[name] is None for name in values if name.startswith("health_")
    ):
        return {}
    from sampan.model import health

    return {"health": health.asked(values)}


def streams(words: list[str]) -> list[str]:
    """The streams of --attach."""
    for word in words:
        if word.lower() not in ("stdin", "stdout", "stderr"):
            raise UsageError(
                f'invalid stream "{word}" for --attach', "it must be stdin, stdout or stderr"
            )
    return [word.lower() for word in words]


def host_user(word: str) -> str:
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


def proxies(network: str) -> dict[str, str]:
    """The proxy variables of this process, in both letter cases: programs differ in which they read."""
    found: dict[str, str] = {}
    for lower in PROXY:
        value = os.environ.get(lower) or os.environ.get(lower.upper())
        if value:
            found |= {lower: value, lower.upper(): value}
            if lower != "no_proxy" and network not in ("host", "none") and _is_loopback(value):
                from sampan.engine import warn

                warn(
                    f"{lower.upper()}={value} is on this machine's loopback interface, which the container "
                    "does not reach; --network host, or --http-proxy=false"
                )
    return found


def _is_loopback(url: str) -> bool:
    host = url.partition("://")[2] or url
    host = host.rpartition("@")[2].partition("/")[0]
    return host.startswith(("127.", "localhost", "[::1]"))


def init_program(values: dict[str, Any]) -> str:
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


def device(word: str) -> dict[str, str]:
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
