"""The name server over real sockets: askers and other name servers are addresses of the loopback interface."""

from __future__ import annotations

import os
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import dnslib  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan_network import attempts, names, upstream
from sampan_network.directory import Connection, Directory, Entry
from sampan_network.names import NameServer

WEB, DB, OUT, LONE = "127.0.1.1", "127.0.1.2", "127.0.1.3", "127.0.1.4"  # askers
STRANGER = "127.0.1.9"
FIRST, SECOND, THIRD = "127.0.2.1", "127.0.2.2", "127.0.2.3"  # servers that are asked on
NOERROR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = 0, 2, 3, 4, 5
QUESTION = b"\x12\x34" + bytes(dnslib.DNSRecord.question("db").pack())[2:]

Behaviour = Callable[[Any, bytes], list[bytes]]


def knows(address: str) -> Behaviour:
    """A server that says this address of any name."""

    def answer(record: Any, packet: bytes) -> list[bytes]:
        reply = record.reply()
        reply.add_answer(dnslib.RR(record.q.qname, 1, rdata=dnslib.A(address), ttl=60))
        return [bytes(reply.pack())]

    return answer


def says(rcode: int) -> Behaviour:
    def answer(record: Any, packet: bytes) -> list[bytes]:
        reply = record.reply()
        reply.header.rcode = rcode
        return [bytes(reply.pack())]

    return answer


def is_silent(record: Any, packet: bytes) -> list[bytes]:
    return []


class Stub:
    """Another name server, UDP and TCP, in a thread.  asked: (packet, port of the asker, over TCP)."""

    def __init__(self, address: str, port: int, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.asked: list[tuple[bytes, int, bool]] = []
        self._udp, self._tcp = listening(address, port)
        self._end, self._leash = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leash.close()
        self._thread.join()
        for sock in (self._udp, self._tcp, self._end):
            sock.close()

    def _serve(self) -> None:
        poll = select.poll()
        for sock in (self._udp, self._tcp, self._end):
            poll.register(sock, select.POLLIN)
        while True:
            ready = [fd for fd, _ in poll.poll()]
            if self._end.fileno() in ready:
                return
            if self._udp.fileno() in ready:
                packet, sender = self._udp.recvfrom(65535)
                for answer in self._answers(packet, sender[1], False):
                    self._udp.sendto(answer, sender)
            if self._tcp.fileno() in ready:
                self._converse()

    def _converse(self) -> None:
        sock, sender = self._tcp.accept()
        with sock:
            sock.settimeout(5)
            packet = framed(sock)
            for answer in self._answers(packet, sender[1], True):
                sock.sendall(struct.pack("!H", len(answer)) + answer)

    def _answers(self, packet: bytes, port: int, stream: bool) -> list[bytes]:
        self.asked.append((packet, port, stream))
        return self.behaviour(dnslib.DNSRecord.parse(packet), packet)


def listening(address: str, port: int = 0) -> tuple[socket.socket, socket.socket]:
    """UDP and TCP at one port; that the kernel gives one port for UDP does not make it free for TCP."""
    for number in [port] if port else random.sample(range(20000, 32000), 100):
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            for sock in (udp, tcp):
                sock.bind((address, number))
            tcp.listen(128)
            return udp, tcp
        except OSError:
            udp.close()
            tcp.close()
    raise OSError(f"no port at {address}")


def framed(sock: socket.socket) -> bytes:
    with sock.makefile("rb") as file:
        (length,) = struct.unpack("!H", file.read(2))
        return file.read(length)


class Net:
    """The name server, driven while somebody waits for an answer."""

    def __init__(self, conf: Path, inside: socket.socket | None, port: int) -> None:
        self.conf = conf
        self.directory = Directory()
        self.udp, self.tcp = listening("127.0.0.1")
        self.address = self.udp.getsockname()
        for sock in filter(None, (self.udp, self.tcp, inside)):
            sock.setblocking(False)
        self.server = NameServer(self.directory, self.udp, self.tcp, inside, str(conf), port)
        self._clients: dict[str, socket.socket] = {}
        self._streams: list[socket.socket] = []

    def close(self) -> None:
        self.server.close()
        for sock in (*self._clients.values(), *self._streams):
            sock.close()

    def name_servers(self, *addresses: str) -> None:
        self.conf.write_text("".join(f"nameserver {address}\n" for address in addresses))

    def drive(self, wanted: socket.socket | None, seconds: float = 10.0) -> bool:
        """Serve until the socket can be read, or for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            poll = select.poll()
            for fd, events in self.server.interest().items():
                poll.register(fd, events)
            if wanted:
                poll.register(wanted, select.POLLIN)
            moment = min(self.server.next_moment() or end, end)
            ready = poll.poll(max(0.0, moment - time.monotonic()) * 1000 + 1)
            if wanted and any(fd == wanted.fileno() for fd, _ in ready):
                return True
            for fd, events in ready:
                self.server.handle(fd, events)
            self.server.tick()
        return False

    def client(self, address: str) -> socket.socket:
        if address not in self._clients:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((address, 0))
            sock.connect(self.address)
            self._clients[address] = sock
        return self._clients[address]

    def exchange(self, packet: bytes, asker: str = WEB, seconds: float = 10.0) -> bytes | None:
        client = self.client(asker)
        client.send(packet)
        return client.recv(65535) if self.drive(client, seconds) else None

    def ask(self, name: str, kind: str = "A", asker: str = WEB) -> Any:
        """The parsed answer, which has the id and the question as they were asked."""
        query = dnslib.DNSRecord.question(name, kind)
        answer = self.exchange(bytes(query.pack()), asker)
        assert answer is not None
        return checked(query, answer)

    def rows(self, name: str, kind: str = "A", asker: str = WEB) -> list[str]:
        answer = self.ask(name, kind, asker)
        assert answer.header.rcode == NOERROR
        return [str(row.rdata) for row in answer.rr]

    def connect(self, asker: str = WEB) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(10)
        sock.bind((asker, 0))
        sock.connect(self.address)
        self._streams.append(sock)
        return sock

    def ask_stream(self, sock: socket.socket, name: str, kind: str = "A") -> Any:
        query = dnslib.DNSRecord.question(name, kind)
        packet = bytes(query.pack())
        sock.sendall(struct.pack("!H", len(packet)) + packet)
        assert self.drive(sock)
        return checked(query, framed(sock))


def checked(query: Any, answer: bytes) -> Any:
    parsed = dnslib.DNSRecord.parse(answer)
    assert parsed.header.id == query.header.id and parsed.header.qr
    assert parsed.q.qname.label == query.q.qname.label, "the case too"
    assert (parsed.q.qtype, parsed.q.qclass) == (query.q.qtype, query.q.qclass)
    return parsed


def place(network: str, names: str, addresses: str, named: bool = True) -> Connection:
    return Connection(network, tuple(names.split()), tuple(addresses.split()), named)


@pytest.fixture
def inside() -> socket.socket | None:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


@pytest.fixture
def port() -> int:
    """One that is free at all the servers' addresses, as good as certainly: none that the kernel gives away."""
    udp, tcp = listening(FIRST)
    with udp, tcp:
        return int(udp.getsockname()[1])


@pytest.fixture
def net(tmp_path: Path, inside: socket.socket | None, port: int) -> Iterator[Net]:
    net = Net(tmp_path / "resolv.conf", inside, port)
    front = place("front", "web www", f"{WEB} fd00::1")
    net.directory.set(Entry("a" * 64, {"f": front}, []))
    back = place("back", "db", "10.9.0.2")
    net.directory.set(Entry("b" * 64, {"f": place("front", "db", DB), "b": back}, []))
    net.directory.set(Entry("c" * 64, {"b": place("back", "out", OUT)}, []))
    net.directory.set(Entry("d" * 64, {"x": place("bridge", "lone", LONE, False)}, []))
    net.name_servers(FIRST)
    yield net
    net.close()


@pytest.fixture
def first(port: int) -> Iterator[Stub]:
    with Stub(FIRST, port, knows("192.0.2.1")) as stub:
        yield stub


@pytest.fixture
def second(port: int) -> Iterator[Stub]:
    with Stub(SECOND, port, knows("192.0.2.2")) as stub:
        yield stub


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "PATIENCE", 0.2)


def test_addresses_of_members(net: Net) -> None:
    assert net.rows("db") == [DB]
    assert net.rows("WwW.Front.") == [WEB]
    assert net.rows("web", "AAAA", DB) == ["fd00::1"]
    assert sorted(net.rows("db", "A", DB)) == ["10.9.0.2", DB]


def test_the_flags_of_an_answer(net: Net) -> None:
    answer = net.ask("db")
    header = answer.header
    assert (header.aa, header.ra, header.rd, header.tc) == (0, 1, 1, 0)
    assert answer.rr[0].ttl == 0


@pytest.mark.parametrize("kind", ["AAAA", "MX", "HTTPS", "TXT", "ANY", "PTR"])
def test_a_name_of_ours_is_never_passed_on(net: Net, first: Stub, kind: str) -> None:
    assert net.rows("db", kind) == []
    assert first.asked == []


def test_names_of_addresses(net: Net, first: Stub) -> None:
    assert net.rows("2.1.0.127.in-addr.arpa", "PTR") == ["db.front."]
    nibbles = ".".join(reversed("fd00" + "0" * 27 + "1"))
    assert net.rows(f"{nibbles}.ip6.ARPA", "PTR", DB) == ["web.front."]
    assert net.rows("2.1.0.127.in-addr.arpa", "A") == []
    assert net.ask("3.1.0.127.in-addr.arpa", "PTR").header.rcode == NXDOMAIN, "on another network"
    assert net.ask("4.1.0.127.in-addr.arpa", "PTR", LONE).header.rcode == NXDOMAIN, "no names there"
    assert first.asked == []
    for name in (
        "9.9.9.9.in-addr.arpa",
        "1.0.127.in-addr.arpa",
        "x.ip6.arpa",
        "999.1.1.1.in-addr.arpa",
    ):
        assert net.ask(name, "PTR").header.rcode == NOERROR
    assert len(first.asked) == 4


def test_names_that_no_packet_holds(net: Net) -> None:
    for number, name in enumerate(("a..b", "x" * 64, ".".join(["y" * 60] * 5))):
        net.directory.set(Entry("e" * 64, {"f": place("front", name, f"10.8.0.{number}")}, []))
        answer = net.ask(f"{number}.0.8.10.in-addr.arpa", "PTR")
        assert answer.header.rcode == NXDOMAIN


def test_members_with_one_alias_have_their_turns(net: Net) -> None:
    addresses = [f"10.8.0.{number}" for number in range(1, 5)]
    for number, address in enumerate(addresses):
        net.directory.set(
            Entry(f"{number}" * 64, {"f": place("front", f"c{number} all", address)}, [])
        )
    answers = [net.rows("all") for _ in range(40)]
    assert all(sorted(answer) == addresses for answer in answers)
    assert {answer[0] for answer in answers} == {*addresses}


def test_an_answer_that_is_too_long_for_a_datagram(net: Net) -> None:
    for number in range(100):
        entry = Entry(
            f"{number:064}", {"f": place("front", f"c{number} all", f"10.8.0.{number}")}, []
        )
        net.directory.set(entry)
    query = dnslib.DNSRecord.question("all")
    packet = net.exchange(bytes(query.pack()))
    assert packet is not None and 480 < len(packet) <= 512
    answer = checked(query, packet)
    assert answer.header.tc and len(answer.rr) == 30
    whole = net.ask_stream(net.connect(), "all")
    assert not whole.header.tc and len(whole.rr) == 100


def test_other_names_are_passed_on(net: Net, first: Stub) -> None:
    assert net.rows("example.com") == ["192.0.2.1"]
    assert net.rows("out") == ["192.0.2.1"], "of a network that the asker is not on"
    assert net.rows("db", "A", LONE) == ["192.0.2.1"], "of a network without names"
    assert [stream for _, _, stream in first.asked] == [False] * 3


def test_ids_and_ports_are_new_each_time(net: Net, first: Stub) -> None:
    query = bytes(dnslib.DNSRecord.question("example.com").pack())
    for _ in range(8):
        answer = net.exchange(query)
        assert answer is not None and answer[:2] == query[:2]
    assert len({packet[:2] for packet, _, _ in first.asked}) > 6
    assert len({port for _, port, _ in first.asked}) > 6
    assert {packet[2:] for packet, _, _ in first.asked} == {query[2:]}


def test_edns_is_passed_on_as_it_is(net: Net, first: Stub) -> None:
    query = dnslib.DNSRecord.question("example.com")
    query.add_ar(dnslib.EDNS0(flags="do", udp_len=4096))
    packet = bytes(query.pack())
    assert net.exchange(packet) is not None
    assert first.asked[0][0][2:] == packet[2:]


def test_labels_that_are_no_text_are_passed_on(net: Net, port: int) -> None:
    odd = QUESTION[:12] + b"\x03a\xff.\0" + QUESTION[-4:]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((FIRST, port))
        net.client(WEB).send(odd)
        assert net.drive(server)
        packet, sender = server.recvfrom(512)
        assert packet[2:] == odd[2:]
        server.sendto(packet[:2] + b"\x81\x83" + packet[4:], sender)
        assert net.drive(net.client(WEB))
        assert net.client(WEB).recv(512) == odd[:2] + b"\x81\x83" + odd[4:]


def test_the_case_is_as_it_was_asked(net: Net, first: Stub) -> None:
    def lowers(record: Any, packet: bytes) -> list[bytes]:
        (answer,) = knows("192.0.2.7")(record, packet)
        return [answer.replace(b"ExAmple", b"example")]

    first.behaviour = lowers
    assert net.rows("ExAmple.com") == ["192.0.2.7"]


def test_a_server_that_is_silent(net: Net, first: Stub, second: Stub) -> None:
    first.behaviour = is_silent
    net.name_servers(FIRST, SECOND)
    start = time.monotonic()
    assert net.rows("example.com") == ["192.0.2.2"]
    assert 1.9 < time.monotonic() - start < 3


def test_a_server_that_answers_at_the_second_time(net: Net, first: Stub, hasty: None) -> None:
    def sleepy(record: Any, packet: bytes) -> list[bytes]:
        return knows("192.0.2.1")(record, packet) if len(first.asked) > 1 else []

    first.behaviour = sleepy
    assert net.rows("example.com") == ["192.0.2.1"]


def test_all_servers_are_silent(net: Net, first: Stub, second: Stub, hasty: None) -> None:
    first.behaviour = second.behaviour = is_silent
    net.name_servers(FIRST, SECOND)
    assert net.ask("example.com").header.rcode == SERVFAIL
    assert len(first.asked) == len(second.asked) == 2
    assert net.server.next_moment() is None


def test_servers_that_are_not_there(net: Net, second: Stub) -> None:
    net.name_servers(FIRST, "no-address", "fe80::1%nowhere")
    start = time.monotonic()
    assert net.ask("example.com").header.rcode == SERVFAIL
    assert time.monotonic() - start < 1
    net.name_servers(FIRST, "fe80::1%nowhere", SECOND)
    time.sleep(upstream.CHECK)
    assert net.rows("example.com") == ["192.0.2.2"]


@pytest.mark.parametrize("rcode", [SERVFAIL, REFUSED, NOTIMP])
def test_a_server_that_cannot_tell(net: Net, first: Stub, second: Stub, rcode: int) -> None:
    first.behaviour = says(rcode)
    net.name_servers(FIRST, SECOND)
    assert net.rows("example.com") == ["192.0.2.2"]
    second.behaviour = says(REFUSED)
    assert net.ask("example.com").header.rcode == REFUSED, "the last one's"
    assert len(first.asked) == len(second.asked) == 2, "none is asked again"


def test_a_failure_without_the_question(net: Net, first: Stub) -> None:
    first.behaviour = lambda record, packet: [packet[:2] + b"\x81\x85" + bytes(8)]
    assert net.ask("example.com").header.rcode == REFUSED


def test_no_such_name_is_an_answer(net: Net, first: Stub, second: Stub) -> None:
    first.behaviour = says(NXDOMAIN)
    net.name_servers(FIRST, SECOND)
    assert net.ask("example.com").header.rcode == NXDOMAIN
    assert second.asked == []


def test_what_is_no_answer_is_not_heard(net: Net, first: Stub) -> None:
    def confused(record: Any, packet: bytes) -> list[bytes]:
        (right,) = knows("192.0.2.1")(record, packet)
        (wrong,) = knows("192.0.2.66")(record, packet)
        other = dnslib.DNSRecord.question("example.org")
        (elsewhere,) = knows("192.0.2.66")(other, b"")
        kind = wrong.replace(b"\x03com\0\0\1", b"\x03com\0\x1c")
        no_question = wrong[:4] + b"\0\0" + wrong[6:]
        false_id = bytes([wrong[0] ^ 1]) + wrong[1:]
        return [
            false_id,
            packet,
            packet[:2] + elsewhere[2:],
            kind,
            no_question,
            b"",
            b"x",
            wrong[:12],
            wrong[:14],
            right,
        ]

    first.behaviour = confused
    assert net.rows("example.com") == ["192.0.2.1"]


def test_nobody_but_the_server_is_heard(net: Net, first: Stub) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
        forger.bind((FIRST, 0))

        def late(record: Any, packet: bytes) -> list[bytes]:
            (forged,) = knows("192.0.2.66")(record, packet)
            try:
                forger.sendto(forged, ("127.0.0.1", first.asked[-1][1]))
            except ConnectionRefusedError:
                pass
            time.sleep(0.1)
            return knows("192.0.2.1")(record, packet)

        first.behaviour = late
        assert net.rows("example.com") == ["192.0.2.1"]


def test_an_answer_that_was_cut_is_passed_on(net: Net, first: Stub) -> None:
    def cut(record: Any, packet: bytes) -> list[bytes]:
        reply = record.reply()
        reply.header.tc = 1
        return [bytes(reply.pack())]

    first.behaviour = cut
    assert net.ask("example.com").header.tc == 1


def test_a_large_answer_is_passed_on(net: Net, first: Stub) -> None:
    first.behaviour = lambda record, packet: [knows("192.0.2.1")(record, packet)[0] + bytes(4000)]
    answer = net.exchange(bytes(dnslib.DNSRecord.question("example.com").pack()))
    assert answer is not None and len(answer) > 4000


def test_the_configuration_is_read_again(
    net: Net, first: Stub, second: Stub, tmp_path: Path
) -> None:
    """It is changed, replaced by a link, and the link by another."""
    assert net.rows("example.com") == ["192.0.2.1"]
    (tmp_path / "a").write_text(f"# no\nnameserver  {FIRST}  \n;nameserver 192.0.2.9\noptions x\n")
    (tmp_path / "b").write_text(f"nameserver\nnameserver\t{SECOND}\n")
    steps: list[tuple[Callable[[], object], str]] = [
        (lambda: net.name_servers(SECOND), "192.0.2.2"),
        (lambda: os.replace(link(tmp_path / "l", "a"), net.conf), "192.0.2.1"),
        (lambda: os.replace(link(tmp_path / "l", "b"), net.conf), "192.0.2.2"),
    ]
    for step, address in steps:
        step()
        time.sleep(upstream.CHECK + 0.1)
        assert net.rows("example.com") == [address]


def link(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path


def test_the_configuration_is_looked_at_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path: looked.append(path) or stat(path))  # type: ignore[func-returns-value]
    (tmp_path / "conf").write_text("nameserver 192.0.2.1\n")
    configuration = upstream.Configuration(str(tmp_path / "conf"))
    for _ in range(100):
        assert configuration.servers() == ["192.0.2.1"]
    assert len(looked) == 1


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        (None, ["127.0.0.1"]),
        ("", ["127.0.0.1"]),
        ("search example.com\n#nameserver 192.0.2.1\nnameserver\n", ["127.0.0.1"]),
        ("nameserver fe80::1%eth0\nnameserver ::1", ["fe80::1%eth0", "::1"]),
        (
            "".join(f"nameserver 192.0.2.{n}\n" for n in range(5)),
            [f"192.0.2.{n}" for n in range(3)],
        ),
        ("\xff\0\nnameserver 192.0.2.1 # the gateway\r\n", ["192.0.2.1"]),
    ],
)
def test_the_servers_of_a_configuration(
    tmp_path: Path, text: str | None, servers: list[str]
) -> None:
    if text is not None:
        (tmp_path / "conf").write_bytes(text.encode("latin-1"))
    assert upstream.Configuration(str(tmp_path / "conf")).servers() == servers


def test_a_server_with_an_ipv6_address(net: Net, port: int) -> None:
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        sock.bind(("::1", port))
    except OSError:
        pytest.skip("there is no IPv6 here")
    net.name_servers("::1")
    with sock:
        client = net.client(WEB)
        client.send(bytes(dnslib.DNSRecord.question("example.com").pack()))
        assert net.drive(sock)
        packet, sender = sock.recvfrom(512)
        sock.sendto(knows("192.0.2.6")(dnslib.DNSRecord.parse(packet), packet)[0], sender)
        assert net.drive(client)


def test_an_address_with_an_interface() -> None:
    family, address = attempts.place("fe80::1%lo", 53)
    assert family == socket.AF_INET6
    assert address[1:] == (53, 0, socket.if_nametoindex("lo"))


def test_a_socket_of_either_family_asks_ipv4() -> None:
    assert attempts.place("192.0.2.1", 53, socket.AF_INET6)[1][:2] == ("::ffff:192.0.2.1", 53)
    with pytest.raises(OSError):
        attempts.place("::1", 53, socket.AF_INET)


def own_servers(net: Net, *servers: str) -> None:
    net.directory.set(Entry("a" * 64, {"f": place("front", "web", WEB)}, list(servers)))


@pytest.mark.parametrize("outside", [False, True])
def test_an_asker_with_servers_of_his_own(
    tmp_path: Path, port: int, first: Stub, second: Stub, outside: bool
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inside:
        net = Net(tmp_path / "resolv.conf", None if outside else inside, port)
        net.name_servers(FIRST)
        own_servers(net, SECOND)
        for _ in range(3):
            assert net.rows("example.com") == ["192.0.2.2"]
        assert net.rows("web") == [WEB]
        assert first.asked == []
        ports = {port for _, port, _ in second.asked}
        assert len(ports) == 3 if outside else ports == {inside.getsockname()[1]}
        net.close()


def test_own_servers_are_asked_in_turn(net: Net, first: Stub, second: Stub, hasty: None) -> None:
    first.behaviour = is_silent
    own_servers(net, "::1", FIRST, SECOND)
    assert net.rows("example.com") == ["192.0.2.2"]
    second.behaviour = is_silent
    assert net.ask("example.com").header.rcode == SERVFAIL


def test_own_servers_over_tcp_are_asked_over_udp(net: Net, second: Stub) -> None:
    own_servers(net, SECOND)
    assert str(net.ask_stream(net.connect(), "example.com").rr[0].rdata) == "192.0.2.2"
    assert [stream for _, _, stream in second.asked] == [False]


def test_nobody_else_is_heard_inside(
    net: Net, inside: socket.socket, port: int, second: Stub
) -> None:
    """The socket is not connected: a container that guesses the id must also have the address."""
    own_servers(net, SECOND)
    with Stub(THIRD, port, is_silent) as forger:

        def late(record: Any, packet: bytes) -> list[bytes]:
            (forged,) = knows("192.0.2.66")(record, packet)
            forger._udp.sendto(forged, ("127.0.0.1", second.asked[-1][1]))  # pyright: ignore[reportPrivateUsage]
            time.sleep(0.1)
            return knows("192.0.2.2")(record, packet)

        second.behaviour = late
        assert net.rows("example.com") == ["192.0.2.2"]


def test_a_stranger_is_refused(net: Net, first: Stub) -> None:
    for name in ("db", "example.com"):
        assert net.ask(name, "A", STRANGER).header.rcode == REFUSED
    assert net.ask_stream(net.connect(STRANGER), "db").header.rcode == REFUSED
    assert first.asked == []


def test_what_is_no_ordinary_question(net: Net, first: Stub) -> None:
    query = dnslib.DNSRecord.question("db")
    query.header.opcode = 4  # NOTIFY
    answer = net.exchange(bytes(query.pack()))
    assert answer is not None and checked(query, answer).header.rcode == NOTIMP
    assert net.ask("example.com", "AXFR").header.rcode == NOTIMP
    assert first.asked == []


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0",
        QUESTION[:11],
        QUESTION[:12],
        QUESTION[:-1],
        QUESTION[:2] + b"\x81\x80" + QUESTION[4:],
        QUESTION[:4] + b"\0\0" + QUESTION[6:],
        QUESTION[:4] + b"\0\2" + QUESTION[6:],
        QUESTION[:12] + b"\xc0\x0c\0\1\0\1",
        QUESTION[:12] + b"\1a\xc0\x0c\0\1\0\1",
        QUESTION[:12] + b"\x40a\0\0\1\0\1",
        QUESTION[:12] + b"\x3f" + b"a" * 63,
        QUESTION[:12] + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
        QUESTION[:12] + b"\1a" * 127 + b"\1a\0\0\1\0\1",
        bytes(65000),
    ],
)
def test_what_is_no_question_is_dropped(net: Net, packet: bytes) -> None:
    assert net.exchange(packet, seconds=0.05) is None
    assert net.rows("db") == [DB]


def test_the_longest_name(net: Net, first: Stub) -> None:
    longest = QUESTION[:12] + b"\1a" * 127 + b"\0\0\1\0\1"
    answer = net.exchange(longest, STRANGER)
    assert answer is not None and answer[12:] == longest[12:]
    assert net.exchange(longest) is not None


@settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.one_of(
        st.binary(max_size=200), st.binary(max_size=60).map(lambda rest: QUESTION[:12] + rest)
    )
)
def test_arbitrary_bytes_do_no_harm(net: Net, packet: bytes) -> None:
    for asker in (WEB, STRANGER):
        net.exchange(packet, asker, 0.002)
    sock = net.connect()
    sock.sendall(struct.pack("!H", len(packet)) + packet)
    net.drive(sock, 0.002)
    sock.close()
    client = net.client(DB)
    client.send(QUESTION)
    assert net.drive(client)
    assert client.recv(512)[:2] == QUESTION[:2]


@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.binary(max_size=300), max_size=3))
def test_arbitrary_answers_do_no_harm(net: Net, first: Stub, answers: list[bytes]) -> None:
    def confused(record: Any, packet: bytes) -> list[bytes]:
        broken = [answer for rest in answers for answer in (packet[:2] + rest, rest)]
        return [*broken, *knows("192.0.2.1")(record, packet)]

    first.behaviour = confused
    answer = net.exchange(bytes(dnslib.DNSRecord.question("example.com").pack()))
    assert answer is not None and answer[2] & 0x80


def flood(net: Net, asker: str, count: int) -> None:
    client = net.client(asker)
    for number in range(count):
        client.send(bytes(dnslib.DNSRecord.question(f"x{number}.example.com").pack()))
        net.drive(None, 0.0005)
    net.drive(None, 0.02)


def refused_now(net: Net, asker: str) -> int:
    """How many answers have come, all SERVFAIL."""
    client = net.client(asker)
    count = 0
    while select.select([client], [], [], 0)[0]:
        assert client.recv(512)[3] & 15 == SERVFAIL
        count += 1
    return count


def test_one_asker_has_a_limit(net: Net, first: Stub) -> None:
    first.behaviour = is_silent
    before = len(net.server.interest())
    flood(net, WEB, 80)
    assert refused_now(net, WEB) == 16
    assert len(net.server.interest()) == before + 64
    assert net.rows("db") == [DB], "what is known is told"
    first.behaviour = knows("192.0.2.1")
    assert net.rows("example.com", "A", DB) == ["192.0.2.1"], "others are not kept waiting"


def test_all_askers_have_a_limit(net: Net, first: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "PENDING", 100)
    first.behaviour = is_silent
    flood(net, WEB, 64)
    flood(net, DB, 64)
    assert (refused_now(net, WEB), refused_now(net, DB)) == (0, 28)


def test_what_is_answered_makes_room(net: Net, first: Stub, hasty: None) -> None:
    first.behaviour = is_silent
    flood(net, WEB, 64)
    net.drive(None, 0.6)
    assert refused_now(net, WEB) == 64
    first.behaviour = knows("192.0.2.1")
    assert net.rows("example.com") == ["192.0.2.1"]


def test_over_tcp(net: Net, first: Stub) -> None:
    sock = net.connect()
    assert str(net.ask_stream(sock, "db").rr[0].rdata) == DB
    assert str(net.ask_stream(sock, "example.com").rr[0].rdata) == "192.0.2.1"
    assert net.ask_stream(sock, "db", "MX").rr == []
    assert [stream for _, _, stream in first.asked] == [True]


def test_a_large_answer_over_tcp(net: Net, first: Stub) -> None:
    first.behaviour = lambda record, packet: [
        knows("192.0.2.1")(record, packet)[0].ljust(65535, b"\0")
    ]
    sock = net.connect()
    packet = bytes(dnslib.DNSRecord.question("example.com").pack())
    sock.sendall(struct.pack("!H", len(packet)) + packet)
    read = b""
    while len(read) < 65537 and net.drive(sock):
        read += sock.recv(65536)
    assert read[:2] == b"\xff\xff" and read[2:4] == packet[:2]


def test_many_questions_at_once_over_tcp(net: Net) -> None:
    """Also if the asker says no more after them, and in pieces."""
    packet = struct.pack("!H", len(QUESTION)) + QUESTION
    sock = net.connect()
    sock.sendall(packet[:1])
    net.drive(None, 0.01)
    sock.sendall(packet[1:20])
    net.drive(None, 0.01)
    sock.sendall(packet[20:] + packet * 999)
    sock.shutdown(socket.SHUT_WR)
    read = b""
    while net.drive(sock) and (chunk := sock.recv(65536)):
        read += chunk
    answers: list[bytes] = []
    while read:
        (length,) = struct.unpack_from("!H", read)
        answers.append(read[2 : 2 + length])
        read = read[2 + length :]
    assert len(answers) == 1000 and len({*answers}) == 1
    assert len(net.server.interest()) == 3, "the connection is gone"


def test_the_asker_says_no_more_while_others_are_asked(net: Net, first: Stub) -> None:
    sock = net.connect()
    packet = bytes(dnslib.DNSRecord.question("example.com").pack())
    sock.sendall(struct.pack("!H", len(packet)) + packet)
    sock.shutdown(socket.SHUT_WR)
    assert net.drive(sock)
    assert framed(sock)[:2] == packet[:2]


def test_who_takes_no_answers_is_not_read(net: Net) -> None:
    """There are 8 KB for each question."""
    net.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # its connections have it too
    addresses = " ".join(f"10.8.{number // 250}.{number % 250}" for number in range(500))
    net.directory.set(Entry("e" * 64, {"f": place("front", "all", addresses)}, []))
    packet = bytes(dnslib.DNSRecord.question("all").pack())
    sock = net.connect()
    sock.sendall((struct.pack("!H", len(packet)) + packet) * 200)
    net.drive(None, 0.4)
    (one,) = net.server._conversations.values()  # pyright: ignore[reportPrivateUsage]
    assert 32 << 10 < len(one.stream._going) < 80 << 10  # pyright: ignore[reportPrivateUsage]
    assert net.rows("db") == [DB]
    left = 200 * (2 + 21 + 16 * 500)
    while left and net.drive(sock):
        left -= len(sock.recv(65536))
    assert left == 0, "and nothing is lost of them"


def test_servers_over_tcp_fail_over(net: Net, port: int, second: Stub, hasty: None) -> None:
    """The first is not there, then it says nothing, then it hangs up."""
    net.name_servers(FIRST, SECOND)
    sock = net.connect()
    assert str(net.ask_stream(sock, "example.com").rr[0].rdata) == "192.0.2.2"
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deaf.bind((FIRST, port))
        deaf.listen()
        assert str(net.ask_stream(sock, "example.com").rr[0].rdata) == "192.0.2.2"
    with Stub(FIRST, port, is_silent) as stub:
        assert str(net.ask_stream(sock, "example.com").rr[0].rdata) == "192.0.2.2"
        assert len(stub.asked) == 1
        second.behaviour = is_silent
        assert net.ask_stream(sock, "example.com").header.rcode == SERVFAIL


def test_connections_have_limits(net: Net) -> None:
    mine = [net.connect() for _ in range(17)]
    net.drive(mine[16], 2)
    assert mine[16].recv(1) == b"", "closed at once"
    assert str(net.ask_stream(mine[0], "db").rr[0].rdata) == DB
    for address in (DB, OUT, LONE):
        for _ in range(16):
            net.connect(address)
    net.drive(None, 0.05)
    more = net.connect(STRANGER)
    net.drive(more, 2)
    assert more.recv(1) == b""
    mine[0].close()
    net.drive(None, 0.05)
    assert net.ask_stream(net.connect(STRANGER), "db").header.rcode == REFUSED


def test_an_idle_connection_is_closed(net: Net, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that sends a byte at a time; not one whose question is asked elsewhere."""
    monkeypatch.setattr(names, "IDLE", 0.4)
    silent, slow, waits = (net.connect() for _ in range(3))
    packet = bytes(dnslib.DNSRecord.question("example.com").pack())
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        deaf.bind((FIRST, port))
        deaf.listen()
        waits.sendall(struct.pack("!H", len(packet)) + packet)
        assert len(served(net, 0.1)) == 3
        slow.send(b"\0")
        assert len(served(net, 0.2)) == 3
        slow.send(b"\0")
        assert served(net, 0.3) == {waits.getsockname()}
    assert silent.recv(1) == b""


def served(net: Net, seconds: float) -> set[Any]:
    """Whose connections are open when that time has gone by."""
    net.drive(None, seconds)
    open = net.server._conversations.values()  # pyright: ignore[reportPrivateUsage]
    return {one.stream.sock.getpeername() for one in open}


def test_who_hangs_up_before_the_answer(net: Net, first: Stub) -> None:
    def slow(record: Any, packet: bytes) -> list[bytes]:
        time.sleep(0.1)
        return knows("192.0.2.1")(record, packet)

    first.behaviour = slow
    sock = net.connect()
    packet = bytes(dnslib.DNSRecord.question("example.com").pack())
    sock.sendall(struct.pack("!H", len(packet)) + packet)
    net.drive(None, 0.03)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    net.drive(None, 0.3)
    assert len(net.server.interest()) == 3
    assert net.rows("db") == [DB]


def test_no_descriptor_is_left(net: Net) -> None:
    """For a connection or a question: it goes on, and does not turn in circles meanwhile."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    client, sock = net.client(WEB), net.connect()
    used = len(os.listdir("/proc/self/fd"))
    taken: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 8, hard))
        with pytest.raises(OSError):
            while True:
                taken.append(os.dup(0))
        net.server.handle(net.tcp.fileno(), select.POLLIN)
        assert net.tcp.fileno() not in net.server.interest()
        client.send(bytes(dnslib.DNSRecord.question("example.com").pack()))
        net.server.handle(net.udp.fileno(), select.POLLIN)
        assert client.recv(512)[3] & 15 == SERVFAIL
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert str(net.ask_stream(sock, "db").rr[0].rdata) == DB


def test_it_closes_what_it_opens(tmp_path: Path, port: int, first: Stub) -> None:
    first.behaviour = is_silent
    before = len(os.listdir("/proc/self/fd"))
    net = Net(tmp_path / "resolv.conf", None, port)
    net.directory.set(Entry("a" * 64, {"f": place("front", "web", WEB)}, []))
    net.name_servers(FIRST)
    flood(net, WEB, 5)
    sock = net.connect()
    packet = bytes(dnslib.DNSRecord.question("example.com").pack())
    sock.sendall(struct.pack("!H", len(packet)) + packet)
    net.drive(None, 0.05)
    net.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_events_of_what_is_gone_are_ignored(net: Net) -> None:
    for events in (select.POLLIN, select.POLLERR | select.POLLHUP, 0):
        net.server.handle(999, events)
    net.server.handle(net.udp.fileno(), select.POLLIN)
    net.server.handle(net.tcp.fileno(), select.POLLIN)
    assert net.rows("db") == [DB]
