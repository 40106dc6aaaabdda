"""The pumps between a container, its log and whoever is attached."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sampan import files
from sampan.engine.logfile import LOG, LogWriter, parse_record
from sampan.engine.streams import Client, Sink, Streams
from sampan.linux import sockets

pytestmark = pytest.mark.timeout(30)


class Attached:
    """The other side of a client: its socket and pipes."""

    def __init__(self, stdin: bytes | None = None, kind: str = "pipe") -> None:
        self.sock, theirs = sockets.pair()
        source = os.open("/dev/null", os.O_RDONLY)
        self.input = -1
        if stdin is not None:
            source, self.input = os.pipe()
            os.write(self.input, stdin)
        self.out, out = _pair(kind)
        self.err, err = _pair(kind)
        self.flags = os.dup(out)
        self.client = Client(theirs, [source, out, err], stdin is not None)

    def messages(self) -> list[str]:
        found: list[str] = []
        while select.select([self.sock.fileno()], [], [], 0)[0]:
            data, _ = sockets.receive(self.sock)
            if not data:
                break
            found.append(json.loads(data)["kind"])
        return found


def _pair(kind: str) -> tuple[int, int]:
    if kind == "pipe":
        return os.pipe()
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


class Container:
    """The container's ends of its pipes, and the pumps at the other ones."""

    def __init__(self, place: Path, *, stdin: bool = False) -> None:
        out, self.out = os.pipe()
        err, self.err = os.pipe()
        self.stdin, entry = os.pipe() if stdin else (-1, -1)
        directory = files.open_directory(str(place))
        files.unlink(directory, LOG)
        self.log = place / LOG
        self.streams = Streams(
            {out: b"stdout", err: b"stderr"}, entry, LogWriter(directory, "k8s-file"), tty=False
        )
        os.close(directory)

    def turn(self, wait: int = 0) -> bool:
        """One round of the monitor's loop; False if nothing was ready."""
        poll = select.poll()
        for fd, events in self.streams.interest().items():
            poll.register(fd, events)
        ready = poll.poll(wait)
        for fd, events in ready:
            self.streams.handle(fd, events)
        return bool(ready)

    def settle(self) -> None:
        while self.turn():
            pass

    def logged(self, stream: bytes) -> bytes:
        rows = [parse_record(line) for line in self.log.read_bytes().split(b"\n")[:-1]]
        return b"".join(row[2] for row in rows if row and row[1] == stream)


def take(fd: int, size: int = 1 << 20) -> bytes:
    os.set_blocking(fd, False)
    data = b""
    try:
        while chunk := os.read(fd, size):
            data += chunk
    except BlockingIOError:
        pass
    return data


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    yield Container(tmp_path)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=3000)), max_size=12))
def test_every_byte_to_everybody(tmp_path: Path, pieces: list[tuple[bool, bytes]]) -> None:
    made = Container(tmp_path)
    people = [Attached(), Attached(kind="socket")]
    made.streams.clients += [person.client for person in people]
    for to_err, data in pieces:
        os.write(made.err if to_err else made.out, data)
        made.settle()
    for to_err, name in ((False, b"stdout"), (True, b"stderr")):
        wanted = b"".join(data for err, data in pieces if err == to_err)
        assert made.logged(name) == wanted
        for person in people:
            assert take(person.err if to_err else person.out) == wanted
    for fd in (made.out, made.err):
        os.close(fd)
    made.settle()
    assert made.streams.sources == {}
    for person in people:
        person.client.close()
        for fd in (person.out, person.err, person.flags):
            os.close(fd)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_reader_that_stops_slows_the_container_and_nobody_waits(
    container: Container, kind: str
) -> None:
    """The monitor never blocks in a write: it stops reading, and goes on when there is room."""
    person = Attached(kind=kind)
    container.streams.clients.append(person.client)
    os.set_blocking(container.out, False)
    written = received = b""
    begun = time.monotonic()
    for _ in range(200):
        try:
            data = os.urandom(4096)
            written += data[: os.write(container.out, data)]
        except BlockingIOError:
            break
        container.settle()
    else:
        pytest.fail("the container was never slowed")
    assert time.monotonic() - begun < 5
    assert set(container.streams.interest()) == {person.client.sinks[b"stdout"].fd}
    while len(received) < len(written):
        received += take(person.out)
        container.settle()
    assert received == written == container.logged(b"stdout")
    assert not person.client.pending()


def test_the_clients_own_pipe_stays_blocking(container: Container) -> None:
    person = Attached()
    container.streams.clients.append(person.client)
    os.write(container.out, b"x")
    container.settle()
    assert os.get_blocking(person.flags), (
        "the description is the caller's: its shell writes to it too"
    )


def test_a_reader_that_goes_away(container: Container) -> None:
    """It is told once; the log and the other one go on, and so does its other stream."""
    leaving, staying = Attached(), Attached()
    container.streams.clients += [leaving.client, staying.client]
    os.close(leaving.out)
    os.write(container.out, b"one\n")
    container.settle()
    os.write(container.out, b"two\n")
    os.write(container.err, b"err\n")
    container.settle()
    assert leaving.messages() == ["broken"] and list(leaving.client.sinks) == [b"stderr"]
    assert take(leaving.err) == b"err\n"
    assert take(staying.out) == b"one\ntwo\n" == container.logged(b"stdout")
    assert staying.messages() == []


def test_a_client_whose_socket_is_closed(container: Container) -> None:
    person = Attached()
    container.streams.clients.append(person.client)
    person.sock.close()
    os.close(person.out)
    os.write(container.out, b"x")
    container.settle()
    assert container.logged(b"stdout") == b"x"


def test_input_and_its_end(tmp_path: Path) -> None:
    made = Container(tmp_path, stdin=True)
    person = Attached(stdin=b"hello")
    made.streams.clients.append(person.client)
    made.settle()
    assert os.read(made.stdin, 100) == b"hello"
    os.close(person.input)
    made.settle()
    assert os.read(made.stdin, 100) == b"" and person.client.stdin == -1


def test_more_input_than_the_container_takes(tmp_path: Path) -> None:
    made = Container(tmp_path, stdin=True)
    person = Attached(stdin=b"")
    made.streams.clients.append(person.client)
    writer = subprocess.Popen(["head", "-c", "3000000", "/dev/zero"], stdout=person.input)
    os.close(person.input)
    made.settle()
    os.write(made.out, b"alive\n")  # output moves while input waits
    made.settle()
    assert take(person.out) == b"alive\n"
    received = 0
    while writer.poll() is None or made.streams.stdin >= 0:
        made.turn(50)
        received += len(take(made.stdin))
    assert received + len(take(made.stdin)) == 3_000_000


def test_a_container_that_closes_its_input(tmp_path: Path) -> None:
    made = Container(tmp_path, stdin=True)
    person = Attached(stdin=b"unread")
    made.streams.clients.append(person.client)
    os.close(made.stdin)
    made.settle()
    assert made.streams.stdin == -1 and person.client.stdin == -1
    os.write(made.out, b"goes on\n")
    made.settle()
    assert take(person.out) == b"goes on\n"


def test_nothing_spins(container: Container) -> None:
    """With nothing to do there is nothing to wake for, also after an end of file."""
    person = Attached()
    container.streams.clients.append(person.client)
    os.close(container.err)
    container.settle()
    assert not container.turn(50) and len(container.streams.sources) == 1


def test_the_drain_has_an_end(container: Container) -> None:
    """A process outside keeps the pipe open; what was written is moved, then the time is over."""
    holder = subprocess.Popen(["sleep", "30"], pass_fds=[container.out])
    os.write(container.out, b"last\n")
    os.close(container.out)
    os.close(container.err)
    begun = time.monotonic()
    container.streams.drain(0.3)
    assert 0.2 < time.monotonic() - begun < 3 and container.logged(b"stdout") == b"last\n"
    holder.kill()
    holder.wait()


def test_a_file_as_output(tmp_path: Path) -> None:
    """It is appended to if it was opened so."""
    path = tmp_path / "file"
    path.write_bytes(b"before\n")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    sink = Sink(fd)
    sink.pending = b"x" * 300_000
    assert sink.push() and sink.pending == b""
    assert path.read_bytes() == b"before\n" + b"x" * 300_000
    os.close(sink.fd)
