"""The conductor: an immutable Engine that the verbs, one module each, are played on."""

from __future__ import annotations

import os

from sampan import files
from sampan.linux.userns import IdMap
from sampan.model.contract import DriverContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import NetworkBackend, StorageDriver
    from sampan.plugins import Plugins
    from sampan.settings import Settings
    from sampan.store.blobs import BlobStore
    from sampan.store.containers import ContainerStore
    from sampan.store.images import ImageStore
    from sampan.store.layers import LayerStore
    from sampan.store.networks import NetworkStore
    from sampan.store.secrets import SecretStore
    from sampan.store.volumes import VolumeStore


def warn(text: str) -> None:
    """A notice to the user, on standard error."""
    os.write(2, f"sampan: {text}\n".encode(errors="replace"))


class Engine:
    """Settings, plugins and stores.  Stores and drivers are opened when they are first asked for."""

    def __init__(self, settings: Settings, idmap: IdMap, plugins: Plugins | None = None) -> None:
        self.settings = settings
        self.idmap = idmap
        self._made: dict[str, Any] = {"plugins": plugins} if plugins else {}
        files.private_directory(settings.root)
        files.private_directory(settings.run_dir)
        self.root_fd = files.open_directory(settings.root)

    def _once(self, name: str, make: Any) -> Any:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    @property
    def plugins(self) -> Plugins:
        def make() -> Plugins:
            from sampan.plugins import Plugins

            return Plugins(self.settings.run_dir)

        return self._once("plugins", make)  # type: ignore[no-any-return]

    @property
    def blobs(self) -> BlobStore:
        def make() -> BlobStore:
            from sampan.store.blobs import BlobStore

            return BlobStore(self.root_fd)

        return self._once("blobs", make)  # type: ignore[no-any-return]

    @property
    def images(self) -> ImageStore:
        def make() -> ImageStore:
            from sampan.store.images import ImageStore

            return ImageStore(self.root_fd)

        return self._once("images", make)  # type: ignore[no-any-return]

    @property
    def containers(self) -> ContainerStore:
        def make() -> ContainerStore:
            from sampan.store.containers import ContainerStore

            return ContainerStore(self.root_fd, self.settings.run_dir)

        return self._once("containers", make)  # type: ignore[no-any-return]

    @property
    def layers(self) -> LayerStore:
        def make() -> LayerStore:
            from sampan.store.layers import LayerStore

            return LayerStore(self.root_fd, self.storage, self.idmap)

        return self._once("layers", make)  # type: ignore[no-any-return]

    def has_volumes(self) -> bool:
        """Whether a volume was ever made; to ask costs nothing."""
        return os.path.isdir(self.settings.volume_path)

    @property
    def volumes(self) -> VolumeStore:
        def make() -> VolumeStore:
            from sampan.store.volumes import VolumeStore

            return VolumeStore(self.settings.volume_path)

        return self._once("volumes", make)  # type: ignore[no-any-return]

    @property
    def networks(self) -> NetworkStore:
        def make() -> NetworkStore:
            from sampan.store.networks import NetworkStore

            return NetworkStore(self.root_fd)

        return self._once("networks", make)  # type: ignore[no-any-return]

    @property
    def secrets(self) -> SecretStore:
        def make() -> SecretStore:
            from sampan.store.secrets import SecretStore

            return SecretStore(self.root_fd)

        return self._once("secrets", make)  # type: ignore[no-any-return]

    @property
    def storage(self) -> StorageDriver:
        def make() -> StorageDriver:
            from sampan.engine.choose import storage_driver

            return self.driver("storage", storage_driver(self))  # type: ignore[no-any-return]

        return self._once("storage", make)  # type: ignore[no-any-return]

    def context(self, concern: str, name: str) -> DriverContext:
        """What a driver is made with; a storage driver gets a directory of its own."""
        fd = self.root_fd
        if concern == "storage":
            fd = files.open_directory(name, dir_fd=self.root_fd, create=True)
        options = self.plugins.configure(concern, name, self.settings)
        return DriverContext(fd, self.settings.run_dir, self.idmap, options, warn)

    def network(self, name: str) -> NetworkBackend:
        """The backend of a container's network; of `container:ID` and `ns:PATH` there is nothing to do."""
        if name.startswith(("container:", "ns:")):
            from sampan.engine.joinednet import JoinedNetwork

            return JoinedNetwork()
        backend: NetworkBackend = self.driver("network", name)
        return backend

    def driver(self, concern: str, name: str) -> Any:
        """A driver by concern and name."""
        return self._once(
            f"{concern}/{name}",
            lambda: self.plugins.driver(concern, name, self.context(concern, name)),
        )

    def close(self) -> None:
        os.close(self.root_fd)
