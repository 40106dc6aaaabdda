"""What a build was asked for beside its Dockerfile: the options of the request as values."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from sampan.drivers import Secret
from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.model.rfc3339 import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

SECRET_LIMIT = 512_000  # bytes, as the store's secrets have it
FORMATS = ("oci", "docker")
PULLS = ("always", "missing", "newer", "never")


@dataclass(slots=True)
class Options:
    """secrets: what each id holds; ssh: the agents' sockets; epoch: seconds, None for now; jobs: 0 without a limit."""

    arguments: Mapping[str, str] = field(default_factory=lambda: dict[str, str]())
    target: str = ""
    no_cache: bool = False
    no_cache_filter: frozenset[str] = frozenset()
    pull: str = "missing"
    platform: str = ""
    secrets: Mapping[str, Secret] = field(default_factory=lambda: dict[str, Secret]())
    ssh: Mapping[str, str] = field(default_factory=lambda: dict[str, str]())
    network: str = "default"
    hosts: Sequence[tuple[str, str]] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: dict[str, str]())
    annotations: Mapping[str, str] = field(default_factory=lambda: dict[str, str]())
    squash: str = ""  # "new" or "all" of the layers
    epoch: int | None = None
    form: str = "oci"
    jobs: int = 0
    run: Mapping[str, Any] = field(default_factory=lambda: dict[str, Any]())

    @property
    def now(self) -> str:
        """The time of what is made now (RFC 3339)."""
        return stamp(time.time_ns() if self.epoch is None else self.epoch * 10**9)

    def ignores_cache(self, stage: str) -> bool:
        return self.no_cache or stage.lower() in self.no_cache_filter


def read(given: Mapping[str, Any]) -> Options:
    """The options of a request, whose keys are those of `sampan build` with _ for -."""
    return Options(
        arguments=given.get("build_arg") or {},
        target=given.get("target") or "",
        no_cache=bool(given.get("no_cache")),
        no_cache_filter=frozenset(name.lower() for name in given.get("no_cache_filter") or ()),
        pull=_one_of("pull", given.get("pull") or "missing", PULLS),
        platform=given.get("platform") or "",
        secrets={row["id"]: _secret(row) for row in given.get("secret") or ()},
        ssh=_agents(given.get("ssh") or {}),
        network=given.get("network") or "default",
        hosts=[(name, address) for name, address in given.get("add_host") or ()],
        labels=given.get("label") or {},
        annotations=given.get("annotation") or {},
        squash=_one_of("squash", given.get("squash") or "", ("", "new", "all")),
        epoch=given.get("timestamp"),
        form=_one_of("format", given.get("format") or "oci", FORMATS),
        jobs=int(given.get("jobs") or 0),
        run=given.get("run") or {},
    )


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise UsageError(
            f"--{name}={value}", "no such value", f"one of {', '.join(filter(None, known))}"
        )
    return value


def _secret(row: Mapping[str, str]) -> Secret:
    """Read once, before anything runs."""
    if "env" in row:
        value = os.environ.get(row["env"])
        if value is None:
            raise SampanError(
                f"secret {row['id']}", f"the environment has no {row['env']}", "set it, or use src="
            )
        return Secret(os.fsencode(value))
    path = row.get("src") or row["id"]
    try:
        with open(path, "rb") as file:
            data = file.read(SECRET_LIMIT + 1)
    except OSError as error:
        raise SampanError(f"cannot read secret {row['id']}", f"{path}: {error.strerror}") from None
    if len(data) > SECRET_LIMIT:
        raise SampanError(
            f"cannot read secret {row['id']}", f"{path} has more than {SECRET_LIMIT} bytes"
        )
    return Secret(data)


def _agents(given: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, path in given.items():
        path = path or os.environ.get("SSH_AUTH_SOCK", "")
        if not path:
            raise SampanError(
                f"--ssh {name}",
                "no agent is running",
                "start ssh-agent, or name a socket: --ssh ID=PATH",
            )
        if not os.path.exists(path):
            raise SampanError(f"--ssh {name}", f"{path} does not exist")
        if os.path.isfile(path):
            raise UnsupportedError(
                f"--ssh {name}={path}", "it is a key, and only an agent's socket can be lent",
                "ssh-add it to an agent",
            )  # fmt: skip
        found[name] = os.path.abspath(path)
    return found
