"""The host's network: no network namespace is made."""

from __future__ import annotations

from sampan.model.contract import Probe
from sampan.model.plain_network import PlainNetwork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.model.contract import DriverContext


class HostBackend(PlainNetwork):
    """Everything is connected already."""

    name = "host"
    namespace = "host"

    def host_address(self) -> str:
        return "127.0.0.1"


def sampan_network_backend(context: DriverContext) -> HostBackend:
    return HostBackend()


def sampan_probe(context: DriverContext) -> Probe:
    return Probe(
        True, "needs nothing; the container shares every interface and port of the host", rank=0
    )
