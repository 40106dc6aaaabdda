"""The shapes of a container's documents (JSON values; typed for the checkers alone)."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from sampan.model.network import Endpoint


class RunOptions(TypedDict):
    """What the user asked for, made into values. It is kept in the record."""

    name: str
    command: list[str]
    entrypoint: list[str] | None
    env: dict[str, str]
    unset_env: list[str]  # names; "*" is all that the user did not set
    proxy_env: dict[str, str]
    workdir: str
    user: str
    hostname: str
    tty: bool
    stdin: bool
    detach: bool
    rm: bool
    privileged: bool
    read_only: bool
    read_only_tmpfs: bool
    cap_add: list[str]
    cap_drop: list[str]
    no_new_privileges: bool
    seccomp: str  # "" the default profile, "unconfined", or a path
    nest: bool
    mask: list[str]
    unmask: list[str]
    init: str  # the host's init program, or ""
    ulimits: list[dict[str, Any]]
    sysctls: dict[str, str]
    group_add: list[str]
    passwd_entries: list[str]  # lines that are added to the image's /etc/passwd
    add_hosts: list[tuple[str, str]]
    no_hosts: bool
    dns: list[str]
    dns_search: list[str]
    dns_options: list[str]
    labels: dict[str, str]
    annotations: dict[str, str]
    mounts: list[dict[str, Any]]  # sampan.model.mounts
    volumes_from: list[str]  # CONTAINER[:OPTIONS]
    image_volume: str  # what an image's VOLUME becomes: "anonymous", "tmpfs", "ignore"
    devices: list[dict[str, str]]
    secrets: NotRequired[list[dict[str, Any]]]  # sampan.model.secret; missing without one
    shm_size: int
    network: str  # a backend, or container:ID
    networks: NotRequired[list[Endpoint]]  # those of the backend that it is on
    network_settings: NotRequired[dict[str, str]]  # what followed the backend's name
    ports: NotRequired[list[dict[str, Any]]]  # sampan.model.ports; the next two are missing with it
    expose: NotRequired[list[str]]
    publish_all: NotRequired[bool]
    pid: str  # "", host or container:ID (sampan.model.isolation), as the next three
    ipc: str  # and private, shareable, none
    uts: str
    cgroupns: str
    userns: str  # as --userns has it; "" and host are the store's map; container:ID
    uidmap: list[str]
    gidmap: list[str]
    umask: str
    tz: str
    oom_score_adj: int | None
    preserve_fds: int
    timeout: int
    stop_signal: str
    stop_timeout: int
    log_driver: str
    log_options: dict[str, str]
    restart: str  # no, always, on-failure, unless-stopped
    restart_max: int  # how often on-failure starts again; 0 is without end
    health: NotRequired[dict[str, Any]]  # sampan.engine.health; missing without a check
    resources: dict[str, Any]  # OCI linux.resources that were asked for
    pretend_ids: bool  # calls that give files or processes other ids do nothing, and succeed
    cgroups: str  # enabled, disabled, no-conmon or split
    cgroup_parent: str


class _Optional(TypedDict, total=False):
    idmap: dict[
        str, list[list[int]]
    ]  # of a user namespace nested in the store's (linux.userns.to_json)
    builder: list[int]  # pid and start time of the process that builds with it


class Record(_Optional):
    """A container as it was created: it never changes but for its name, its limits and its restart policy."""

    version: int
    id: str
    name: str
    created: str  # RFC 3339, UTC, nanoseconds
    image: dict[str, Any]  # id, name, digest
    args: list[str]  # what is executed, as the OCI document had it
    storage: dict[str, Any]  # driver, key, chain
    runtime: str
    options: RunOptions
    engine: str  # version that made it


class Exit(TypedDict):
    """How a run ended. code is None when nobody saw it."""

    code: int | None
    finished: str
    started: str
    oom: bool
    error: str
    restarting: bool  # its monitor waits to start it again
    restarts: int  # runs before this one that the restart policy followed


class _Limited(TypedDict, total=False):
    cgroup: str  # the directory of its processes
    cgroup_manager: str
    unenforced: list[str]  # controllers whose limits were asked for and are not delivered


class _Connected(TypedDict, total=False):
    network: dict[str, Any]  # sampan.drivers.Attachment


class Run(_Limited, _Connected):
    """A run that may still be going on: processes are ours only if boot, pid and start time agree."""

    boot: str
    pid: int
    start_time: int
    monitor: int
    monitor_start_time: int
    started: str
    restarts: int
