"""No network: a network namespace with a loopback interface, which the runtime brings up."""

from __future__ import annotations

from sampan.model.contract import Probe
from sampan.model.plain_network import PlainNetwork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.model.contract import DriverContext


def sampan_network_backend(context: DriverContext) -> PlainNetwork:
    return PlainNetwork()


def sampan_probe(context: DriverContext) -> Probe:
    return Probe(True, "needs nothing", rank=1)
