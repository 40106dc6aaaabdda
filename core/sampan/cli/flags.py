"""Global flags: podman's, with their meaning or a clear answer.  They may stand after the verb too.

`SETTINGS` become settings; the rest is looked up in a table of what it means that sampan gets one.
"""

from __future__ import annotations

import os

from sampan.errors import UnsupportedError, UsageError
from sampan.settings import LOG_LEVELS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.settings import Settings

SETTINGS = {  # flag: settings key
    "--root": "root",
    "--run-dir": "run_dir",
    "--runroot": "run_dir",
    "--storage-driver": "storage_driver",
    "--runtime": "runtime",
    "--log-level": "log_level",
    "--cgroup-manager": "cgroup_manager",
    "--events-backend": "events_backend",
    "--volumepath": "volume_path",
}
SHORT = {"-D": "--debug", "-r": "--remote", "-c": "--connection"}
SWITCHES = ("--debug", "--noout", "--remote", "--syslog", "--transient-store")
REMOTE = ("--remote", "--url", "--connection", "--context", "--identity", "--ssh")
ABSENT = {  # flag with a value: what sampan does not have
    "--conmon": "no conmon: its monitor is its own",
    "--default-mounts-file": "no default mounts",
    "--hooks-dir": "no OCI hooks: plugins amend containers",
    "--imagestore": "one store for images and containers",
    "--module": "no containers.conf",
    "--namespace": "no namespaces of libpod",
    "--network-cmd-path": "slirp4netns from PATH",
    "--network-config-dir": "its networks in the store",
    "--registries-conf": "the variable CONTAINERS_REGISTRIES_CONF instead",
    "--storage-opt": "a table of the driver in sampan.toml instead",
    "--syslog": "no messages for syslog",
    "--tmpdir": "--run-dir instead",
    "--transient-store": "no transient store",
}


class LevelError(UsageError):
    """Of the log level: podman's sentence, which stands alone, and its status."""

    exit_status = 1
    prefix = ""


class Flags:
    """What was given before the verb, and after it. `settings` is shared with the context."""

    def __init__(self, settings: dict[str, str | None]) -> None:
        self.settings = settings
        self.others: dict[str, list[str]] = {}

    def remote(self) -> bool:
        """Whether a service was named: then `--remote` goes without saying."""
        told = any(name in self.others for name in ("--url", "--connection", "--context"))
        return told or bool({"CONTAINER_HOST", "CONTAINER_CONNECTION"} & set(os.environ))

    def take(self, word: str, rest: list[str]) -> bool:
        """One global flag, its value taken from `rest` (reversed) if need be; False if it is none."""
        name, equals, value = word.partition("=")
        name = SHORT.get(name, name)
        if name in SWITCHES:
            if not equals or value.lower() in ("true", "1"):
                self.others.setdefault(name, [])
            return True
        if name not in SETTINGS and name not in REMOTE + ("--config", "--runtime-flag", *ABSENT):
            return False
        if not equals:
            if not rest:
                raise UsageError("sampan", f"flag needs an argument: {name}", "see 'sampan --help'")
            value = rest.pop()
        if name in SETTINGS:
            self.settings[SETTINGS[name]] = value
        else:
            self.others.setdefault(name, []).append(value)
        return True

    def apply(self) -> None:
        """Do what the flags mean, before a verb runs."""
        self._levels()
        if self.others.pop("--noout", None) is not None:
            null = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(null, 1)
        if self.others.pop("--config", None):
            os.write(
                2, b"The --config flag is ignored by sampan. Exists for Docker compatibility\n"
            )
        if self.others.get("--context", ["default"]) == ["default"]:  # Docker's name of "here"
            self.others.pop("--context", None)
        for name, values in self.others.items():
            if name in REMOTE:
                raise UnsupportedError(
                    f"option {name} is not supported",
                    "sampan works on this machine and has no remote client",
                    "leave it out",
                )
            if name in ABSENT and values != [""]:
                raise UnsupportedError(
                    f"option {name} is not supported", f"sampan has {ABSENT[name]}"
                )

    def _levels(self) -> None:
        level = self.settings.get("log_level")
        if level is not None and level not in LOG_LEVELS:
            raise LevelError(
                f'Log Level "{level}" is not supported, choose from: {", ".join(LOG_LEVELS)}'
            )
        if "--debug" in self.others:
            if level is not None:
                raise LevelError("Setting --log-level and --debug is not allowed")
            del self.others["--debug"]
            self.settings["log_level"] = "debug"

    def check_runtime(self, runtime: str) -> None:
        """`--runtime-flag`: the runtimes are drivers, which have their own tables of options."""
        for flag in self.others.get("--runtime-flag", []):
            raise UnsupportedError(
                f"unknown flag --{flag.lstrip('-')} of the runtime {runtime}",
                "a runtime takes its options from sampan.toml",
                f"[runtime.{runtime}]",
                exit_status=126,
            )


def report(settings: Settings) -> None:
    """`--log-level trace|debug|info`: what this command runs with, one line each."""
    from sampan import __version__

    lines = [("info", f"sampan {__version__}, process {os.getpid()}")]
    for key, value in settings.values.items():
        lines.append(("debug", f"{key} = {value!r} ({settings.sources[key]})"))
    for name in sorted(os.environ):
        if name.startswith(("SAMPAN_", "XDG_", "CONTAINERS_")):
            lines.append(("trace", f"environment {name}={os.environ[name]}"))
    lines.append(("trace", f"working directory {os.getcwd()}, user {os.getuid()}"))
    wanted = LOG_LEVELS.index(settings.log_level)
    for kind, text in lines:
        if LOG_LEVELS.index(kind) >= wanted:
            _log(kind, text)


def _log(kind: str, text: str) -> None:
    import time

    moment = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    line = f'time="{moment}" level={kind} msg="{quoted}"\n'
    os.write(2, line.encode(errors="backslashreplace"))
