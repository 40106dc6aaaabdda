"""The contracts of the concerns: what a driver of each offers.

A driver imports only `sampan.drivers`, `sampan.hookspecs`, `sampan.http`, `sampan.model`,
`sampan.linux`, `sampan.files` and `sampan.errors`.  These are Protocols: a driver need not inherit.  A driver that
lacks a feature says so with a typed answer (`features`, `Probe`), and the engine takes the
ordinary path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

from sampan.drivers.build import (
    BaseImage,
    BuildCache,
    Builder,
    BuildHost,
    BuildRequest,
    Cached,
    Checker,
    Command,
    Digests,
    Layer,
    Layers,
    LayerTar,
    Notes,
    Output,
    RunMount,
    Secret,
)
from sampan.drivers.registry import (
    RegistryHost,
    RegistryRepository,
    RegistryServer,
    RegistryUpload,
    ServeRequest,
)
from sampan.linux.userns import IdMap
from sampan.model.contract import DriverContext, Io, Probe, Process
from sampan.model.mount import Snapshot
from sampan.model.volume import Volume

__all__ = [
    "Attachment",
    "BaseImage",
    "BuildCache",
    "BuildHost",
    "BuildRequest",
    "Builder",
    "Cached",
    "CgroupManager",
    "Change",
    "Checker",
    "Command",
    "ConfigTable",
    "Digests",
    "DriverContext",
    "Io",
    "Layer",
    "LayerTar",
    "LayerWriter",
    "Layers",
    "NetworkBackend",
    "Notes",
    "Output",
    "Probe",
    "Process",
    "RegistryHost",
    "RegistryRepository",
    "RegistryServer",
    "RegistryUpload",
    "RunMount",
    "Runtime",
    "Secret",
    "ServeRequest",
    "Snapshot",
    "StorageDriver",
    "Volume",
    "VolumeDriver",
]


ConfigTable = Mapping[str, tuple[type, Any, str]]  # key -> (type, default, help)


class LayerWriter(Protocol):
    """Where a layer is unpacked: `fd` is the directory, empty at first (or a copy of the parent's
    tree).
    """

    fd: int
    complete: bool  # True: holds the parent's tree too; whiteouts are then removals by the caller

    def whiteout(self, dir_fd: int, name: bytes) -> None:
        """Hide `name` of the lower layers in the directory."""
        ...

    def opaque(self, dir_fd: int) -> None:
        """Hide everything of the lower layers in the directory."""
        ...


class Change(NamedTuple):
    """One path where a snapshot differs from its chain. kind: A added, C changed, D deleted.

    C: type, mode, owner, time (not of the root), size, content, link target or an attribute differs; a
    file that was only opened for writing is no change.  Of a deleted or replaced directory only the
    directory itself is told, of an added one everything in it.  Paths have no slash in front; the
    root is b"".  So every driver tells the same of the same change.
    """

    kind: str
    path: bytes


class StorageDriver(Protocol):
    """Layers as directories and snapshots over them.

    `prepare` is called as the user, on the hot path; `adopt` first as the user, and again like the others where that
    is refused; every other method inside a user namespace of the store's map, as its root, so that what belongs to a
    subordinate id can be made and removed.
    Keys are names of at most 64 characters out of [0-9a-z-]; a layer's key is its chain id's
    digest.
    """

    name: str

    @property
    def features(self) -> frozenset[str]:
        """What it can do beyond the contract.

        "independent-layers": a layer may be unpacked before its parent.
        "mapped-owners": `prepare` takes `owners`; without it the engine copies the layers.
        "removes-as-user": `remove` may be called as the user, and enters the namespace where it must.
        "adopts": it has `adopt`; without it the engine unpacks the layer that it wrote.
        """
        ...

    def layer(self, key: str, parent: str | None) -> AbstractContextManager[LayerWriter]:
        """Write a layer; it exists under `key` when the block ends without an exception, and not
        before.
        """
        ...

    def rename(self, key: str, new: str) -> None:
        """Give a layer another key; one that had it before and has no record goes. Called as the user."""
        ...

    def lower(self, chain: Sequence[str]) -> list[int]:
        """Descriptors of the layers' directories, topmost first, for looking up what lies below."""
        ...

    def prepare(
        self,
        key: str,
        chain: Sequence[str],
        *,
        readonly: bool = False,
        owners: IdMap | None = None,
    ) -> Snapshot:
        """A snapshot over the chain (bottom first), made if it does not exist.

        owners: show what belongs to an id of the image as that of another id of the store's user
        namespace (inside, outside, count); the same is given each time that the snapshot is used.
        NotFoundError: a lost layer.
        """
        ...

    def changes(self, key: str, chain: Sequence[str]) -> Iterable[Change]:
        """What the snapshot changed against its chain, sorted by path."""
        ...

    def adopt(self, key: str, layer: str, without: Sequence[bytes], told: bool) -> None:
        """What a snapshot that is not mounted changed becomes a layer, without a copy; the snapshot is used up.

        without: paths that are no part of it, what lies in a directory before the directory.
        told: the layer has an entry for its root.
        """
        ...

    def usage(self, key: str) -> int:
        """Bytes that a layer or snapshot takes on disk."""
        ...

    def remove(self, key: str) -> None:
        """Remove a layer or snapshot; one that does not exist is no error. Works on a full disk."""
        ...


Attachment = dict[
    str, Any
]  # what a network backend gave a container: JSON values, kept while it runs


class NetworkBackend(Protocol):
    """Connects containers.

    `attach`, `detach`, `watched` and `status` are called in the container's monitor, as root of its user
    namespace; what a backend must remember between them it keeps in itself.  A program that it runs dies with the
    monitor.
    """

    name: str
    namespace: str  # "private" or "host": what the runtime is to make
    networks: bool  # whether there are networks of this driver, which users make (`create`), and `home` is asked

    @property
    def publishes(self) -> Sequence[str]:
        """What can be published: "tcp" and "udp" at IPv4 addresses, "tcp6" and "udp6" at IPv6 addresses."""
        ...

    def check_ports(self, ports: Sequence[Mapping[str, Any]]) -> None:
        """UnsupportedError: these (sampan.model.ports) cannot be published together, and why. Called in the command."""
        ...

    def name_servers(self, settings: Mapping[str, str]) -> Sequence[str]:
        """Of its own, for /etc/resolv.conf; the host's follow, unless there are networks of the driver."""
        ...

    def check_settings(self, settings: Mapping[str, str]) -> None:
        """UsageError: what followed a colon in --network cannot be had. Called in the command."""
        ...

    def host_address(self) -> str:
        """The address at which a container reaches this machine; "" if it does not."""
        ...

    def create(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """Settle what a new network is made of: {"subnets", "options"} (sampan.model.network).

        options: `subnets` that were asked for, `ipv6`, `internal`, `options`, and `taken`, subnets of other networks.
        UsageError, InUseError: it cannot be had.
        """
        ...

    def remove(self, name: str) -> None:
        """Give back what `create` took. No container is on the network."""
        ...

    def home(self) -> int:
        """A descriptor of the user namespace in which the container's own is to be made; -1 if any will do.

        Called in the command, for a container that is to start on networks of this driver; what is begun for it
        goes on beside the command, and is kept at least until this process ends.
        """
        ...

    def attach(self, container: str, network: int, options: Mapping[str, Any]) -> Attachment:
        """Connect a network namespace, whose container's program has not started yet; {} if there is nothing to do.

        network: a socket in that namespace (ioctl_ns(2) SIOCGSKNS has the namespace itself); the caller closes it.
        options: `ports`, a list of published ports (sampan.model.ports); `directory`, a descriptor of the container's
        directory of running state, for sockets; `settings`, what followed a colon in --network; `name` of the
        container and `pid` of its first process; `servers`, those of --dns.  With networks of the driver: `networks`,
        each as [network, end] (sampan.model.network).
        The attachment has what is known of `address`, `prefix`, `gateway`, `mac`, `interface`, and `clients`:
        "preserved" if the container sees the addresses of those who connect to a published port, or "proxied".
        With networks of the driver: `networks`, {id: {"name", "interface", "mac", "addresses": [[address, length of
        the prefix, gateway]], "aliases"}}, and at the top what is known of the one with the way out.
        """
        ...

    def change(self, container: str, attachment: Attachment, networks: Sequence[Any]) -> Attachment:
        """The container runs, and is to be on these networks from now on. If it cannot, it is as before."""
        ...

    def detach(self, container: str, attachment: Attachment) -> None:
        """Take the connection and its ports away; returns when they are gone."""
        ...

    def watched(self, container: str) -> Sequence[int]:
        """Descriptors that can be read when the connection breaks; `status` is called then."""
        ...

    def status(self, container: str, attachment: Attachment) -> Attachment:
        """The state of the connection; repairs what can be repaired. SampanError: it is broken, and why."""
        ...

    def describe(self, name: str) -> dict[str, Any]: ...


class Runtime(Protocol):
    """OCI's runtime operations over a bundle directory (runtime-spec, runtime.md)."""

    name: str

    def create(self, container: str, bundle: str, io: Io) -> Process: ...

    def start(self, container: str) -> None: ...

    def state(self, container: str) -> dict[str, Any]: ...

    def kill(self, container: str, signal: int) -> None: ...

    def exec(
        self, pid: int, started: int, spec: dict[str, Any], process: dict[str, Any], io: Io
    ) -> Process:
        """A further OCI `process` beside the container's first one, given by pid and start time.

        The returned process ends with the exit status of the program.
        """
        ...

    def delete(self, container: str) -> None: ...


class CgroupManager(Protocol):
    """Where a container's processes are counted and limited: a directory of cgroup version 2.

    A cgroup is named by the absolute path of the directory in which the container's processes are;
    "" is none.  resources are OCI's `linux.resources`; `sampan.model.cgroup_files` makes files of them.
    `create`, `join` and `update` are called as the user, in the command; the others also inside
    a user namespace, in the container's monitor.  A limit that cannot be delivered is an
    UnsupportedError that names the controller and what an administrator can do.
    """

    name: str
    advice: str  # what would deliver the controllers that are missing

    def controllers(self) -> frozenset[str]:
        """Of cpu, cpuset, io, memory and pids those that can be limited here and now."""
        ...

    def create(
        self, container: str, resources: Mapping[str, Any], monitor: int, options: Mapping[str, Any]
    ) -> str:
        """A cgroup for one run. It is empty: the runtime puts the first process in it.

        monitor: the pid of the container's monitor, which may be placed too.
        options: `parent` (--cgroup-parent) and `mode` (--cgroups).
        """
        ...

    def renew(self, cgroup: str, resources: Mapping[str, Any]) -> None:
        """Make the cgroup of the same monitor's last run again, for a further one."""
        ...

    def join(self, cgroup: str, pid: int) -> None:
        """Move one more process of the user (`exec`) into the cgroup."""
        ...

    def update(self, cgroup: str, resources: Mapping[str, Any]) -> None: ...

    def stats(self, cgroup: str) -> dict[str, Any]:
        """The kernel's figures: {"memory": {"current": bytes, "max": bytes or None}, "cpu": {"usage_usec": n},
        "pids": {"current": n, "max": n or None}, "io": {"read_bytes": n, "write_bytes": n}, "oom_kills": n}.
        """
        ...

    def freeze(self, cgroup: str, frozen: bool) -> None:
        """Returns when every process stands still, or goes on."""
        ...

    def kill(self, cgroup: str) -> None:
        """End every process at once. A cgroup that is gone is no error."""
        ...

    def remove(self, cgroup: str) -> None:
        """Remove the cgroup, in which no process is. One that is gone is no error."""
        ...


class VolumeDriver(Protocol):
    """Keeps data that outlives containers. A `Volume` has its name, its options, and a directory of its own
    (`fd`), in which the driver may keep what it likes; the core removes that directory after `remove`.

    `create` and `path` are called as the user; every other method inside a user namespace of the
    store's map, as its root.
    """

    name: str

    def create(self, volume: Volume) -> None:
        """Make what a new volume needs. UsageError: an option that the driver does not know."""
        ...

    def mount(self, volume: Volume) -> int:
        """A detached mount (open_tree(2), fsmount(2)) of the volume's directory, for one container.

        It is called in the container's monitor, each time that the container starts.
        """
        ...

    def path(self, volume: Volume) -> str:
        """Where the host finds the data; "" where it does not."""
        ...

    def usage(self, volume: Volume) -> int:
        """Bytes that the data takes."""
        ...

    def remove(self, volume: Volume) -> None:
        """Give back what `create` took outside of the volume's directory. Once more is no error."""
        ...
