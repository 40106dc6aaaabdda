"""Who is on which user network, under which names: what the name server answers from.

It is pure bookkeeping: members come and go with `set` and `drop`, and a question is looked up in two indices, one by
address and one by (network, name), so that an answer costs the same with three members and with a thousand.  A
network is seen only by its members: whoever asks is told the names of the networks that he is on himself.
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT = 12  # hex digits of an id that stand for it, as Docker shows them
MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, IPv4 as an IPv6 socket sees it (RFC 4291 2.5.5.2)


class Connection:
    """A member's place on one network. names: the container's and its aliases; not served where `named` is False."""

    __slots__ = ("addresses", "named", "names", "network")

    def __init__(
        self, network: str, names: tuple[str, ...], addresses: tuple[str, ...], named: bool = True
    ) -> None:
        self.network = network
        self.names = names
        self.addresses = addresses
        self.named = named


class Entry:
    """One member, a container. networks: by their ids. servers: whom it wants to be asked for names of elsewhere."""

    __slots__ = ("id", "networks", "servers")

    def __init__(
        self, id: str, networks: dict[str, Connection], servers: list[str] | None = None
    ) -> None:
        self.id = id
        self.networks = networks
        self.servers = servers or []


class Directory:
    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._keys: dict[str, list[str | tuple[str, str]]] = {}  # what each member is found by
        self._at: dict[str | tuple[str, str], dict[str, Entry]] = {}  # address, (network, name)

    def set(self, entry: Entry) -> None:
        """It is a member as told here, whatever was told of it before."""
        self.drop(entry.id)
        keys = list(dict.fromkeys(_keys(entry)))
        self._entries[entry.id] = entry
        self._keys[entry.id] = keys
        for key in keys:
            self._at.setdefault(key, {})[entry.id] = entry

    def drop(self, id: str) -> None:
        self._entries.pop(id, None)
        for key in self._keys.pop(id, ()):
            members = self._at[key]
            del members[id]
            if not members:
                del self._at[key]

    def asker(self, address: str) -> Entry | None:
        """Who has the address; of two it is the one that came last, the other is about to go."""
        members = self._at.get(plain(address))
        return next(reversed(members.values())) if members else None

    def owns(self, address: str) -> bool:
        return plain(address) in self._at

    def addresses(self, asker: Entry, name: str) -> list[str] | None:
        """Of everybody who has that name on a network that the asker is on too; None: the name is not ours."""
        name = name.lower().removesuffix(".")
        found: dict[str, None] = {}
        ours = False
        for network, connection in asker.networks.items():
            suffix = f".{connection.network.lower()}"
            for spelling in dict.fromkeys((name, name.removesuffix(suffix))):
                for member in self._named(network, spelling):
                    ours = True
                    found.update(dict.fromkeys(member.networks[network].addresses))
        return list(found) if ours else None

    def _named(self, network: str, name: str) -> list[Entry]:
        """Those that have the name, and those whose id begins so."""
        found = list(self._at.get((network, name), {}).values())
        if len(name) > SHORT:
            same = self._at.get((network, name[:SHORT]), {}).values()
            found += [entry for entry in same if entry.id.startswith(name)]
        return found

    def name_of(self, asker: Entry, address: str) -> str | None:
        """NAME.NETWORK of whoever has the address on a network of the asker's."""
        address = plain(address)
        for member in self._at.get(address, {}).values():
            for network, connection in member.networks.items():
                seen = network in asker.networks and connection.named and connection.names
                if seen and address in map(plain, connection.addresses):
                    return f"{connection.names[0]}.{connection.network}"
        return None


def _keys(entry: Entry) -> Iterator[str | tuple[str, str]]:
    for network, connection in entry.networks.items():
        yield from map(plain, connection.addresses)
        if connection.named:
            yield network, entry.id[:SHORT]
            yield from ((network, name.lower()) for name in connection.names)


def plain(address: str) -> str:
    """One spelling of an address; of an IPv4 address also if an IPv6 socket tells it; without the interface."""
    address = address.partition("%")[0]
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    try:
        packed = _socket.inet_pton(family, address)
    except (OSError, ValueError):
        return address
    if packed.startswith(MAPPED):
        return _socket.inet_ntop(_socket.AF_INET, packed[len(MAPPED) :])
    return _socket.inet_ntop(family, packed)
