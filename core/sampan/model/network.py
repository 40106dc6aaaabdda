"""The shapes of networks: what a user makes, and what a container asks of one."""

from __future__ import annotations

from typing import TypedDict


class Subnet(TypedDict):
    """Addresses of one family. range: out of which containers get theirs; "" is all of the subnet."""

    subnet: str
    gateway: str
    range: str


class Network(TypedDict):
    """A network as it was made; it never changes."""

    version: int
    id: str  # 64 hexadecimal digits
    name: str
    driver: str  # of its backend
    created: str  # RFC 3339
    labels: dict[str, str]
    options: dict[str, str]  # of the driver: mtu, ...
    subnets: list[Subnet]
    internal: bool  # it has no way out
    named: bool  # its members find each other by name


class Endpoint(TypedDict):
    """A container's end of a network; what is empty is the backend's choice."""

    id: str  # of the network, once it is settled
    name: str
    named: bool  # whether it knows its members by name
    ip: str
    ip6: str
    mac: str
    aliases: list[str]
    interface: str


class _Asked(TypedDict):
    network: str  # a mode, or the driver once it is settled


class Asked(_Asked, total=False):
    """What --network and the options beside it say."""

    networks: list[Endpoint]
    network_settings: dict[str, str]  # of slirp4netns:..., pasta:...
