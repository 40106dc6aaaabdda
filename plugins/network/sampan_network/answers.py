"""Questions as they come in packets (RFC 1035), and the answers that are known here.

Of a packet only the header and the question are read: what follows (EDNS, signatures) is between the asker and the
server that it is passed on to.  The borders of the question are found here, since dnslib follows compression
pointers in circles and takes UTF-8 alone for a label; dnslib writes the answers.
"""

from __future__ import annotations

import struct
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

import dnslib  # type: ignore[import-untyped]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan_network.directory import Directory, Entry

TTL = 0  # seconds: a container that is started again has another address at once
HEADER = struct.Struct("!HHHHHH")  # id, flags, questions, answers, authorities, additional records
RESPONSE, OPCODE, TRUNCATED, DESIRED, AVAILABLE = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080
NOERROR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 2, 3, 4, 5
A, PTR, AAAA, TRANSFERS = 1, 12, 28, (251, 252)  # IXFR, AXFR
IN = 1
LONGEST = 255  # bytes of a name
SMALL = 512  # bytes of a datagram that everybody takes
V4, V6 = ".in-addr.arpa", ".ip6.arpa"


class Query:
    """One question. name: without the last dot; "" if it is not text.  end: where it ends in the packet."""

    __slots__ = ("end", "family", "flags", "id", "kind", "labels", "name", "packet")

    def __init__(self, packet: bytes) -> None:
        """Raises ValueError if it is not one question."""
        if len(packet) < HEADER.size:
            raise ValueError("too short")
        self.id, self.flags, questions, *_ = HEADER.unpack_from(packet)
        if self.flags & RESPONSE or questions != 1:
            raise ValueError("not one question")
        self.packet = packet
        self.labels, end = _labels(packet)
        self.end = end + 4
        if len(packet) < self.end:
            raise ValueError("too short")
        self.kind, self.family = struct.unpack_from("!HH", packet, end)
        name = b".".join(self.labels)
        self.name = name.decode() if name.isascii() else ""

    @property
    def supported(self) -> bool:
        """An ordinary question: no notification, update or transfer."""
        return not self.flags & OPCODE and self.kind not in TRANSFERS

    def with_id(self, id: bytes) -> bytes:
        return id + self.packet[2:]

    def answered_by(self, answer: bytes) -> bool:
        """Whether it is about this question; a failure may leave the question away."""
        if len(answer) < HEADER.size or not answer[2] & 0x80:
            return False
        if len(answer) == HEADER.size:
            return rcode(answer) != NOERROR
        return answer[4:6] == b"\0\1" and self._same(answer[HEADER.size : self.end])

    def _same(self, told: bytes) -> bool:
        asked = self.packet[HEADER.size : self.end]
        return told[:-4].lower() == asked[:-4].lower() and told[-4:] == asked[-4:]

    def restored(self, answer: bytes) -> bytes:
        """The answer with the id and the question as they were asked: a server may change the case."""
        if len(answer) == HEADER.size:
            return failure(self, rcode(answer))
        question = self.packet[HEADER.size : self.end]
        return self.packet[:2] + answer[2 : HEADER.size] + question + answer[self.end :]


def _labels(packet: bytes) -> tuple[list[bytes], int]:
    """The labels of the question and where its name ends; nothing is before it that it could point to."""
    labels: list[bytes] = []
    at = HEADER.size
    while at < len(packet) and at < HEADER.size + LONGEST:
        length = packet[at]
        if length > 63:
            break
        if not length:
            return labels, at + 1
        labels.append(packet[at + 1 : at + 1 + length])
        at += 1 + length
    raise ValueError("no name")


def rcode(answer: bytes) -> int:
    return answer[3] & 15


def failure(query: Query, code: int) -> bytes:
    return _pack(query, code, [])


def local(directory: Directory, asker: Entry, query: Query, limit: int) -> bytes | None:
    """The answer of at most `limit` bytes; None if the name is not of ours."""
    address = _reverse(query.name.lower())
    if address:
        return _local_address(directory, asker, query, address)
    addresses = directory.addresses(asker, query.name) if query.name else None
    if addresses is None:
        return None
    wanted = {A: AF_INET, AAAA: AF_INET6}.get(query.kind) if query.family == IN else None
    make = dnslib.A if query.kind == A else dnslib.AAAA
    found = [make(tuple(packed)) for packed in _packed(addresses, wanted)]
    first = query.id % len(found) if found else 0  # each of them has its turn
    return _pack(query, NOERROR, found[first:] + found[:first], limit)


def _local_address(directory: Directory, asker: Entry, query: Query, address: str) -> bytes | None:
    """An address that is in use here is not looked for elsewhere."""
    name = directory.name_of(asker, address)
    if name is None:
        return failure(query, NXDOMAIN) if directory.owns(address) else None
    if query.kind != PTR or query.family != IN:
        return failure(query, NOERROR)
    labels = name.encode().split(b".")
    if len(name) > LONGEST - 2 or not all(0 < len(label) < 64 for label in labels):
        return failure(query, NXDOMAIN)  # no packet can hold it
    return _pack(query, NOERROR, [dnslib.PTR(dnslib.DNSLabel(labels))])


def _packed(addresses: list[str], wanted: int | None) -> list[bytes]:
    """Those of the family."""
    v6 = wanted == AF_INET6
    return [inet_pton(wanted, text) for text in addresses if (":" in text) == v6] if wanted else []


def _reverse(name: str) -> str:
    """The address that the name of a PTR question stands for, "" if none."""
    v6 = name.endswith(V6)
    if not v6 and not name.endswith(V4):
        return ""
    parts = name.removesuffix(V6 if v6 else V4).split(".")[::-1]
    if v6 and (len(parts) != 32 or not all(len(part) == 1 for part in parts)):
        return ""
    try:
        if v6:
            return inet_ntop(AF_INET6, bytes.fromhex("".join(parts)))
        return inet_ntop(AF_INET, inet_pton(AF_INET, ".".join(parts)))
    except (OSError, ValueError):
        return ""


def _pack(query: Query, code: int, found: list[Any], limit: int = SMALL) -> bytes:
    """As many of the records as there is room for; the asker comes again over TCP if that is not all."""
    packed = _packet(query, code, found)
    if len(packed) <= limit:
        return packed
    each = (len(packed) - query.end) // len(found)  # they are all of one size
    return _packet(query, code | TRUNCATED, found[: (limit - query.end) // each])


def _packet(query: Query, bits: int, found: list[Any]) -> bytes:
    name = dnslib.DNSLabel(query.labels)
    record: Any = dnslib.DNSRecord(
        dnslib.DNSHeader(
            id=query.id, bitmap=RESPONSE | AVAILABLE | query.flags & (OPCODE | DESIRED) | bits
        ),
        q=dnslib.DNSQuestion(name, query.kind, query.family),
    )
    for data in found:
        record.add_answer(dnslib.RR(name, query.kind, query.family, TTL, data))
    return bytes(record.pack())
