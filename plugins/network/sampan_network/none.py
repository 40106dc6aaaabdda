"""No network: a network namespace with a loopback interface, which the runtime brings up."""

from __future__ import annotations

from sampan.errors import UnsupportedError, UsageError
from sampan.model.contract import Probe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sampan.model.contract import DriverContext


class NoneBackend:
    """Nothing to connect."""

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


def sampan_network_backend(context: DriverContext) -> NoneBackend:
    return NoneBackend()


def sampan_probe(context: DriverContext) -> Probe:
    return Probe(True, "needs nothing", rank=1)
