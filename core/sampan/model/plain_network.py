"""A network backend that does nothing (sampan.drivers.NetworkBackend): what others begin with, in a plugin or here."""

from __future__ import annotations

from sampan.errors import UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class PlainNetwork:
    """Nothing to connect, and no networks."""

    name = "none"
    namespace = "private"
    networks = False

    def name_servers(self, settings: Mapping[str, str]) -> tuple[str, ...]:
        return ()

    @property
    def publishes(self) -> tuple[str, ...]:
        return ()

    def check_ports(self, ports: Sequence[Mapping[str, Any]]) -> None:
        return

    def check_settings(self, settings: Mapping[str, str]) -> None:
        for option in settings:
            raise UsageError(
                f"--network {self.name}:{option}", f"the network {self.name} takes no options"
            )

    def host_address(self) -> str:
        return ""

    def home(self) -> int:
        return -1

    def create(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        raise UnsupportedError(
            f"cannot create network {name}", f"{self.name} has no networks of its own"
        )

    def remove(self, name: str) -> None:
        raise UnsupportedError(
            f"cannot remove network {name}", f"{self.name} has no networks of its own"
        )

    def attach(self, container: str, network: int, options: Mapping[str, Any]) -> dict[str, Any]:
        return {}

    def detach(self, container: str, attachment: dict[str, Any]) -> None:
        return

    def change(
        self, container: str, attachment: dict[str, Any], networks: Sequence[Any]
    ) -> dict[str, Any]:
        raise UnsupportedError(
            "cannot connect the container", f"{self.name} has no networks of its own"
        )

    def watched(self, container: str) -> tuple[int, ...]:
        return ()

    def status(self, container: str, attachment: dict[str, Any]) -> dict[str, Any]:
        return attachment

    def describe(self, name: str) -> dict[str, Any]:
        return {"Name": self.name, "Driver": self.name}
