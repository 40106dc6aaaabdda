"""The hook specifications (pluggy).

A plugin is a module named by an entry point.  The group is its concern (`sampan.storage`, `sampan.network`,
`sampan.runtime`, `sampan.cgroup`, `sampan.build`, `sampan.volume`, `sampan.registry`) and the entry's name is what the
user types; only the named plugin is imported.  Plugins of the group `sampan.extension` are always loaded, and may wrap
any hook with `@hookimpl(wrapper=True)`.  A module-level function whose name is a hook's is an implementation without
any decorator, so a driver on the hot path need not import pluggy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from sampan.drivers import (
        Builder,
        CgroupManager,
        ConfigTable,
        DriverContext,
        NetworkBackend,
        Probe,
        RegistryServer,
        Runtime,
        StorageDriver,
        VolumeDriver,
    )

PROJECT = "sampan"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec(firstresult=True)
def sampan_storage_driver(context: DriverContext) -> StorageDriver | None:
    """Make the storage driver."""


@hookspec(firstresult=True)
def sampan_network_backend(context: DriverContext) -> NetworkBackend | None:
    """Make the network backend."""


@hookspec(firstresult=True)
def sampan_runtime(context: DriverContext) -> Runtime | None:
    """Make the OCI runtime."""


@hookspec(firstresult=True)
def sampan_cgroup_manager(context: DriverContext) -> CgroupManager | None:
    """Make the cgroup manager."""


@hookspec(firstresult=True)
def sampan_builder(context: DriverContext) -> Builder | None:
    """Make the builder."""


@hookspec(firstresult=True)
def sampan_volume_driver(context: DriverContext) -> VolumeDriver | None:
    """Make the volume driver."""


@hookspec(firstresult=True)
def sampan_registry(context: DriverContext) -> RegistryServer | None:
    """Make the registry's server."""


@hookspec(firstresult=True)
def sampan_probe(context: DriverContext) -> Probe | None:
    """Whether the driver works on this machine, why not, how to fix it."""


@hookspec(firstresult=True)
def sampan_config() -> ConfigTable | None:
    """The plugin's own configuration keys: types, defaults, help."""


@hookspec
def sampan_spec(spec: dict[str, Any], container: dict[str, Any]) -> None:
    """Amend a container's OCI document before it is written (devices, mounts, environment)."""


@hookspec
def sampan_event(event: dict[str, Any]) -> None:
    """Observe an event; what goes wrong here is logged, never fatal."""
