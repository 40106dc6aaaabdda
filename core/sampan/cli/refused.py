"""Docker's and podman's options of `run` that belong to parts that sampan does not have yet.

They are known by name, so that the answer is clear: a value that asks for what sampan does anyway is taken,
every other one is refused.  With `limits = "best-effort"` a limit is a warning (podman's sentence).
"""

from __future__ import annotations

import os

from sampan.cli.parse import FLAG, LIST, Option
from sampan.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIMITS = "real-time limits and device rules"
TOPICS = {
    LIMITS: "cpu-rt-period cpu-rt-runtime device-cgroup-rule",
    "links of Docker's": "link link-local-ip",
    "named id ranges": "subgidname subuidname",
    "pods": "init-ctr pod pod-id-file",
    "GPUs": "gpus",
    "systemd support": "sdnotify systemd",
    "dependencies of containers": "requires",
    "credentials by flag (--authfile names a file)": "creds cert-dir decryption-key",
    "storage options of a container": "storage-opt",
    "personalities": "personality",
    "further entries for passwd and group": "group-entry passwd-entry chrootdirs",
}  # fmt: skip
SWITCHES = {
    "--rootfs": "containers without an image",
    "--env-merge": "merged variables",
}
SAME = {  # values that ask for what is so anyway
    "sdnotify": ("ignore",),
    "systemd": ("false", "true"),
}
NO_LIMIT = ("0", "-1", "")
_NAMES = {name: topic for topic, names in TOPICS.items() for name in names.split()}
OPTIONS = [
    *(Option(f"--{name}", LIST, f"(no {topic} yet)") for name, topic in _NAMES.items()),
    *(Option(names, FLAG, f"(no {topic} yet)") for names, topic in SWITCHES.items()),
    Option("--disable-content-trust", FLAG, "(for compatibility; images are always verified)"),
    Option("--kernel-memory", help="(for compatibility; without effect)", metavar="BYTES"),
]  # fmt: skip


def refuse(values: dict[str, Any], *, limits: str) -> None:
    """Say which option cannot be had, instead of ignoring it."""
    if values["kernel_memory"]:
        _warn("The --kernel-memory flag is no longer supported. This flag is a noop.")
    told = False
    for name, topic in _NAMES.items():
        given: list[str] = values[name.replace("-", "_")]
        given = [value for value in given if value not in SAME.get(name, ())]
        if not given:
            continue
        if topic == LIMITS:
            told = _limit(name, given, limits, told)
        else:
            _refuse(f"--{name}", topic)
    for names, topic in SWITCHES.items():
        name = names.split()[0]
        if values[name.lstrip("-").replace("-", "_")]:
            _refuse(name, topic)


def _limit(name: str, given: list[str], limits: str, told: bool) -> bool:
    """Whether the user has been told that limits are ignored."""
    if limits != "best-effort":
        if all(value in NO_LIMIT for value in given):
            return told
        raise UnsupportedError(
            f"option --{name} is not supported",
            f"sampan has no {LIMITS} yet",
            'limits = "best-effort" in sampan.toml makes this a warning',
        )
    if not told:
        _warn(f"Resource limits are ignored: sampan has no {LIMITS} yet")
    return True


def _refuse(option: str, topic: str) -> None:
    raise UnsupportedError(f"option {option} is not supported", f"sampan has no {topic} yet")


def _warn(text: str) -> None:
    os.write(2, f"{text}\n".encode())
