"""Configuration: /etc/sampan/sampan.toml, the user's sampan.toml, SAMPAN_* and flags, the later ones winning.

Each setting remembers where it came from, so that `info` can say why.  Tables named after a concern
(`[storage.overlay]`) belong to plugins, which declare their keys themselves.
"""

from __future__ import annotations

import os
import stat

from sampan.errors import SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONCERNS = ("storage", "network", "runtime", "cgroup", "build", "volume", "registry")
KEYS = {  # key: (default, help); a default of "" is worked out or means auto
    "root": ("", "where images and containers are kept"),
    "run_dir": ("", "where the state of running containers is kept"),
    "volume_path": ("", "where volumes are kept"),
    "storage_driver": ("auto", "storage driver"),
    "runtime": ("native", "OCI runtime"),
    "network": ("", "network backend of containers that name none"),
    "cgroup_manager": ("auto", "cgroup manager"),
    "log_level": ("warn", "trace, debug, info, warn, error, fatal or panic"),
    "log_driver": (
        "k8s-file",
        "how container output is kept: k8s-file, json-file, journald or none",
    ),
    "events_backend": ("file", "where events are kept: file or none"),
    "events_file": ("", "the file in which events are kept, if not `events` in the root"),
    "events_max_size": ("4194304", "bytes that this file may have; then its later half is kept"),
    "base_hosts_file": (
        "",
        "the file with whose entries /etc/hosts of containers begins: a path, image or none",
    ),
    "host_containers_internal_ip": ("", "the address of host.containers.internal in containers"),
    "userns": ("", "user namespace of containers that name none: keep-id, nomap, auto, host"),
    "limits": (
        "enforce",
        "enforce or best-effort: what to do with a limit that cannot be delivered",
    ),
}
LOG_LEVELS = ("trace", "debug", "info", "warn", "warning", "error", "fatal", "panic")
# Where containers of root get their ids when /etc/subuid grants root nothing: high, and unlikely to be in use.
ROOT_RANGE = (1_879_048_192, 65536)


class Settings:
    """What was configured. `sources` tells where each value came from; `tables` holds the plugins' own."""

    __slots__ = ("sources", "tables", "values")

    def __init__(
        self, values: dict[str, str], sources: dict[str, str], tables: dict[str, dict[str, Any]]
    ) -> None:
        self.values, self.sources, self.tables = values, sources, tables

    def __getattr__(self, name: str) -> str:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None

    def table(self, concern: str, name: str) -> dict[str, Any]:
        """The configuration table of one plugin."""
        return dict(self.tables.get(concern, {}).get(name, {}))


def load(flags: dict[str, str | None]) -> Settings:
    """Read every place. Unknown keys are errors that name file and key."""
    values = {key: default for key, (default, _) in KEYS.items()}
    sources = {key: "default" for key in KEYS}
    tables: dict[str, dict[str, Any]] = {}
    if named := os.environ.get("CONTAINERS_CONF"):
        _merge_podman(named, values, sources)
    for path in config_files():
        _merge_file(path, values, sources, tables)
    for key in KEYS:
        variable = f"SAMPAN_{key.upper()}"
        if text := os.environ.get(variable):
            values[key], sources[key] = text, f"environment {variable}"
    for key, value in flags.items():
        if value is not None:
            values[key], sources[key] = value, f"flag --{key.replace('_', '-')}"
    _validate(values, sources)
    values["cgroup_manager"] = MANAGERS.get(values["cgroup_manager"], values["cgroup_manager"])
    if not values["root"]:
        values["root"] = default_root()
    values["root"] = os.path.abspath(values["root"])
    values["volume_path"] = os.path.abspath(values["volume_path"] or f"{values['root']}/volumes")
    if not values["run_dir"]:
        values["run_dir"], sources["run_dir"] = default_run_dir()
    return Settings(values, sources, tables)


def config_files() -> list[str]:
    places = ["/etc/sampan/sampan.toml", user_file()]
    return [path for path in places if path and os.path.exists(path)]


def user_file() -> str:
    """Where the user's own configuration is looked for; empty without a home directory."""
    base = os.environ.get("XDG_CONFIG_HOME")
    if not base and os.environ.get("HOME"):
        base = os.environ["HOME"] + "/.config"
    return base + "/sampan/sampan.toml" if base else ""


def _merge_file(
    path: str, values: dict[str, str], sources: dict[str, str], tables: dict[str, dict[str, Any]]
) -> None:
    from typing import cast

    import tomli

    try:
        with open(path, "rb") as file:
            document: dict[str, Any] = tomli.load(file)
    except (OSError, ValueError) as error:
        raise SampanError(
            f"cannot read {path}", str(error), "mend the file or move it away"
        ) from None
    for key, value in document.items():
        if key in CONCERNS and isinstance(value, dict):
            for name, table in cast("dict[str, Any]", value).items():
                if not isinstance(table, dict):
                    raise SampanError(
                        f"{path}: unknown key {key}.{name}",
                        f"a plugin's keys stand in a table [{key}.PLUGIN]",
                    )
                tables.setdefault(key, {}).setdefault(name, {}).update(table)
                sources.update(
                    {f"{key}.{name}.{inner}": path for inner in cast("dict[str, Any]", table)}
                )
        elif key not in KEYS:
            raise SampanError(f"{path}: unknown key {key}", "", f"known keys: {', '.join(KEYS)}")
        elif not isinstance(value, str):
            raise SampanError(f"{path}: {key} must be a text")
        else:
            values[key], sources[key] = value, path


# Of podman's containers.conf, where the variable CONTAINERS_CONF names one: (table, key): ours
PODMAN = {
    ("containers", "userns"): "userns",
    ("containers", "base_hosts_file"): "base_hosts_file",
    ("containers", "host_containers_internal_ip"): "host_containers_internal_ip",
    ("engine", "events_logger"): "events_backend",
    ("engine", "events_logfile_path"): "events_file",
    ("engine", "events_logfile_max_size"): "events_max_size",
}


def _merge_podman(path: str, values: dict[str, str], sources: dict[str, str]) -> None:
    import tomli

    try:
        with open(path, "rb") as file:
            document: dict[str, Any] = tomli.load(file)
    except (OSError, ValueError) as error:
        raise SampanError(f"cannot read {path}", str(error), "CONTAINERS_CONF names it") from None
    for (table, key), ours in PODMAN.items():
        inner = document.get(table)
        value = inner.get(key) if isinstance(inner, dict) else None  # pyright: ignore
        if value is not None:
            values[ours], sources[ours] = str(value), f"{path}, {table}.{key}"  # pyright: ignore


MANAGERS = {"cgroupfs": "delegated"}  # podman's names of cgroup managers


def _validate(values: dict[str, str], sources: dict[str, str]) -> None:
    if values["log_level"] not in LOG_LEVELS:
        raise SampanError(
            f"log level {values['log_level']!r} ({sources['log_level']})",
            "is not supported",
            f"choose from: {', '.join(LOG_LEVELS)}",
        )
    if values["events_backend"] not in ("file", "none"):
        raise SampanError(
            f"events backend {values['events_backend']!r} ({sources['events_backend']})",
            "is not supported",
            "file or none",
        )
    if not values["events_max_size"].isascii() or not values["events_max_size"].isdigit():
        raise SampanError(
            f"events_max_size {values['events_max_size']!r} ({sources['events_max_size']})",
            "is no number of bytes",
        )
    base = values["base_hosts_file"]
    if base not in ("", "image", "none") and not (base[0] == "/" and os.access(base, os.R_OK)):
        raise SampanError(
            f"base_hosts_file {base!r} ({sources['base_hosts_file']})",
            "is no file that can be read",
            "an absolute path, image or none",
        )
    address = values["host_containers_internal_ip"]
    if address and not _is_address(address):
        raise SampanError(
            f"host_containers_internal_ip {address!r} ({sources['host_containers_internal_ip']})",
            "is no address",
        )
    if values["limits"] not in ("enforce", "best-effort"):
        raise SampanError(
            f"limits = {values['limits']!r} ({sources['limits']})", "", "enforce or best-effort"
        )


def _is_address(word: str) -> bool:
    import _socket

    try:
        return bool(_socket.inet_pton(_socket.AF_INET6 if ":" in word else _socket.AF_INET, word))
    except OSError:
        return False


def default_root() -> str:
    """$XDG_DATA_HOME/sampan, ~/.local/share/sampan, or /var/lib/sampan for root."""
    if os.getuid() == 0:
        return "/var/lib/sampan"
    if base := os.environ.get("XDG_DATA_HOME"):
        return base + "/sampan"
    home = os.environ.get("HOME") or _home()
    if not home or not os.path.isdir(home):
        raise SampanError(
            "there is no place for images and containers",
            f"the home directory {home or '(HOME is not set)'} does not exist",
            "name one with --root or SAMPAN_ROOT",
        )
    return home + "/.local/share/sampan"


def _home() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def default_run_dir() -> tuple[str, str]:
    """The first of the usual places that is ours, private and no link: (path, where it came from)."""
    uid = os.getuid()
    if uid == 0:
        return "/run/sampan", "default"
    for base, source in (
        (os.environ.get("XDG_RUNTIME_DIR"), "environment XDG_RUNTIME_DIR"),
        (f"/run/user/{uid}", "default"),
    ):
        if base and _is_private(base, uid):
            return base + "/sampan", source
    path = f"/tmp/sampan-{uid}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    if not _is_private(path, uid):
        raise SampanError(
            f"cannot keep run state in {path}",
            "it is a link, belongs to another user or is open to others",
            "set XDG_RUNTIME_DIR or SAMPAN_RUN_DIR to a directory of your own with mode 0700",
        )
    return path, "default (no XDG_RUNTIME_DIR)"


def _is_private(path: str, uid: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == uid
        and not status.st_mode & 0o077
        and os.access(path, os.W_OK | os.X_OK)
    )
