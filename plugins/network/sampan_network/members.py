"""Who is on which bridge network, with which addresses: the holder's books. Nothing is changed here but the books."""

from __future__ import annotations

from sampan.errors import UsageError
from sampan_network import firewall, subnets
from sampan_network.links import Bridge, Change, Plug, hardware_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.linux.sockets import Socket
    from sampan.model.network import Endpoint, Network

ENTRY = 20000  # the first port at which an uplink delivers
MTU = 16384  # as slirp4netns has it


class Net:
    """A network that has members."""

    def __init__(self, record: Network, bridge: Bridge) -> None:
        self.record, self.bridge = record, bridge
        self.pools = [subnets.Pool(subnet) for subnet in record["subnets"]]
        self.members: set[str] = set()


class Member:
    """One container. ends: by the network's id; plugs likewise."""

    def __init__(self, sock: Socket, namespace: int, told: Mapping[str, Any]) -> None:
        self.sock, self.namespace = sock, namespace
        self.id: str = told["container"]
        self.name: str = told["name"]
        self.servers: list[str] = told["servers"]
        self.pid: int = told["pid"]
        self.ends: dict[str, Endpoint] = {}
        self.plugs: dict[str, Plug] = {}
        self.ports: list[dict[str, Any]] = [dict(port) for port in told["ports"]]

    def main(self) -> Plug | None:
        """The plug with the way out; of several the first."""
        plugs = list(self.plugs.values())
        return next((plug for plug in plugs if plug.outward), plugs[0] if plugs else None)

    def retarget(self) -> list[str]:
        """What is delivered for its ports goes to the address of its way out: the rules that make it so."""
        main = self.main()
        rules: list[str] = []
        addresses = [row[0] for row in main.addresses] if main else []
        for port in self.ports:
            six = ":" in port["host_ip"]
            address = next((address for address in addresses if (":" in address) == six), "")
            if port.get("address", "") != address:
                if port.get("address"):
                    rules.append(firewall.port("delete", port))
                port["address"] = address
                if address:
                    rules.append(firewall.port("add", port))
        return rules


class Books:
    """All networks with members. Each method that plans adds to the Change what must be done to make it so."""

    def __init__(self, reserved: Mapping[str, Mapping[str, list[str]]]) -> None:
        """reserved: addresses of members that will come back: {container: {network: addresses}}."""
        self.nets: dict[str, Net] = {}
        self._reserved = {container: dict(nets) for container, nets in reserved.items()}
        self._count = 0

    def plan_join(self, member: Member, record: Network, end: Endpoint, change: Change) -> None:
        """Give the member an end of the network. The books are as before if that cannot be."""
        new = record["id"] not in self.nets
        net = self.nets.get(record["id"]) or self._begin(record)
        plug = Plug(
            net.bridge.name, self._name("v"), _interface(member, end), end["mac"] or hardware_address(),
            net.bridge.mtu, outward=not record["internal"],
        )  # fmt: skip
        for address in self._reserved.get(member.id, {}).pop(record["id"], []):
            for pool in net.pools:
                pool.give_back(address)
        try:
            _address(net, end, plug)
        except BaseException:
            for address, _, _ in plug.addresses:
                for pool in net.pools:
                    pool.give_back(address)
            raise
        if new:
            self.nets[record["id"]] = net
            change.bridges.append(net.bridge)
            change.rules += _bridge_rules("add", net)
        net.members.add(member.id)
        member.ends[record["id"]] = end
        member.plugs[record["id"]] = plug
        change.plugs.append(plug)
        change.rules += plug.firewall("add")

    def plan_leave(self, member: Member, network: str, change: Change) -> None:
        net, plug = self.nets[network], member.plugs.pop(network)
        del member.ends[network]
        for address, _, _ in plug.addresses:
            for pool in net.pools:
                pool.give_back(address)
        change.unplugged.append(plug)
        change.rules += plug.firewall("delete")
        net.members.discard(member.id)
        if not net.members:
            del self.nets[network]
            change.removed.append(net.bridge)
            change.rules += _bridge_rules("delete", net)

    def _begin(self, record: Network) -> Net:
        for other in self.nets.values():
            for one in record["subnets"]:
                for two in other.record["subnets"]:
                    subnets.check_apart(record["name"], one, other.record["name"], two)
        addresses = [(subnet["gateway"], subnets.prefix(subnet)) for subnet in record["subnets"]]
        mtu = int(record["options"].get("mtu", MTU))
        bridge = Bridge(self._name("sb"), addresses, mtu, internal=record["internal"])
        net = Net(record, bridge)
        for nets in self._reserved.values():
            for address in nets.get(record["id"], []):
                for pool in net.pools:
                    pool.used.add(address)
        return net

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def enter_ports(self, members: list[Member], member: Member) -> None:
        """Number the ports at which the uplink delivers what is for the member; a port of both families has one."""
        ports = [port for other in members for port in other.ports if "entry" in port]
        entries: dict[tuple[str, int, int], int] = {}
        for port in member.ports:
            used = {one["entry"] for one in ports if one["protocol"] == port["protocol"]}
            free = (number for number in range(ENTRY, 1 << 16) if number not in used)
            # pasta of Debian 12 answers UDP of the machine itself only at the same port
            same = port["host_port"]
            key = (port["protocol"], same, port["container_port"])
            if key not in entries:
                entries[key] = next(free) if same in used else same
            port["entry"] = entries[key]
            ports.append(port)


def _bridge_rules(verb: str, net: Net) -> list[str]:
    return firewall.bridge(verb, net.bridge.name, internal=net.bridge.internal)


def _address(net: Net, end: Endpoint, plug: Plug) -> None:
    wanted = {4: end["ip"], 6: end["ip6"]}
    for pool in net.pools:
        address = pool.take(wanted.pop(pool.net.version))
        plug.addresses.append((address, pool.net.prefixlen, pool.gateway))
    for family, address in wanted.items():
        if address:
            raise UsageError(
                f"address {address}",
                f"the network {net.record['name']} has no subnet for IPv{family}",
                "sampan network create --ipv6 makes one that has",
            )


def _interface(member: Member, end: Endpoint) -> str:
    taken = {plug.interface for plug in member.plugs.values()}
    if end["interface"]:
        if end["interface"] in taken:
            raise UsageError(f"interface {end['interface']}", "the container has one of that name")
        return end["interface"]
    return next(name for number in range(1 << 16) if (name := f"eth{number}") not in taken)
