"""Published ports: who reaches them, what is refused before anything is made, and that they end with the container."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from networks import ask, free_port, helper_of, listens, needs, own_address, serve
from system_tools import BUSYBOX, Sampan, until

pytestmark = needs("slirp4netns")
SLIRP = ("--network", "slirp4netns")
LOWEST = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())


def inspected(sampan: Sampan, name: str = "c") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sampan.text("inspect", name))[0]
    return found


def refused(sampan: Sampan, *words: str) -> str:
    """What is said, and nothing has been made: not even an image that is not there is asked for."""
    result = sampan("run", "--pull", "never", *SLIRP, *words, "no-such-image")
    assert result.returncode == 125 and result.stdout == b""
    assert sampan.text("ps", "-aq") == ""
    return result.stderr.decode()


def test_a_server_is_reached_and_sees_who_asks(sampan: Sampan) -> None:
    port, address = free_port(), own_address()
    serve(sampan, *SLIRP, "-p", f"{port}:80")
    curl = subprocess.run(
        ["curl", "-sS", f"http://127.0.0.1:{port}/"], capture_output=True, check=True, timeout=20
    )
    assert curl.stdout == b"10.0.2.2"  # the host's loopback address means another one in there
    assert ask(address, port) == address
    assert inspected(sampan)["NetworkSettings"]["ClientAddress"] == "preserved"


def test_ports_are_shown(sampan: Sampan) -> None:
    port, own = free_port(3), own_address()
    words = ("-p", f"{port}-{port + 2}:80-82", "-p", f"{own}:{port}:53/udp", "--expose", "99")
    serve(sampan, *SLIRP, *words)
    shown = f"0.0.0.0:{port}-{port + 2}->80-82/tcp, {own}:{port}->53/udp"
    assert sampan.text("ps", "--format", "{{.Ports}}") == shown
    assert sampan.text("port", "c").splitlines() == [
        *(f"{80 + n}/tcp -> 0.0.0.0:{port + n}" for n in range(3)),
        f"53/udp -> {own}:{port}",
    ]
    assert sampan.text("port", "c", "81") == f"0.0.0.0:{port + 1}"
    assert sampan.text("port", "-a").splitlines()[0].endswith(f"\t80/tcp -> 0.0.0.0:{port}")
    assert b'failed to find published port "83/tcp"' in sampan("port", "c", "83").stderr
    found = inspected(sampan)
    ports = found["NetworkSettings"]["Ports"]
    assert ports["80/tcp"] == [{"HostIp": "0.0.0.0", "HostPort": str(port)}]
    assert ports["53/udp"] == [{"HostIp": own, "HostPort": str(port)}]
    assert ports["99/tcp"] is None
    assert found["HostConfig"]["PortBindings"].keys() == {"80/tcp", "81/tcp", "82/tcp", "53/udp"}
    sampan.text("stop", "-t", "0", "c")
    assert sampan.text("port", "c") == "" == sampan.text("ps", "-a", "--format", "{{.Ports}}")
    assert inspected(sampan)["HostConfig"]["PortBindings"]["80/tcp"][0]["HostPort"] == str(port)


def test_udp(sampan: Sampan) -> None:
    port, address = free_port(), own_address()
    serve(sampan, *SLIRP, "-p", f"{address}:{port}:53/udp", port=53, kind="udp")
    assert ask(address, port, "udp") == address


def test_an_address_is_the_only_one(sampan: Sampan) -> None:
    port = free_port()
    serve(sampan, *SLIRP, "-p", f"127.0.0.1:{port}:80")
    assert ask("127.0.0.1", port) and not listens(port, own_address())


def test_free_ports_are_chosen_and_kept(sampan: Sampan) -> None:
    """No host port, 0, and -P: each gets one of its own, which a restart keeps."""
    words = ("-p", "80", "-p", "0:81", "-p", "127.0.0.1::82", "--expose", "83-84/udp", "-P")
    serve(sampan, *SLIRP, *words)
    lines = sampan.text("port", "c").splitlines()
    inside = [line.partition(" ")[0] for line in lines]
    assert inside == ["80/tcp", "81/tcp", "82/tcp", "83/udp", "84/udp"]
    numbers = [int(line.rpartition(":")[2]) for line in lines]
    assert len(set(numbers)) == 5 and min(numbers) >= LOWEST
    assert lines[2].startswith("82/tcp -> 127.0.0.1:")
    for _ in range(5):
        sampan.text("restart", "-t", "0", "c")
        assert sampan.text("port", "c").splitlines() == lines
        assert until(lambda: ask("127.0.0.1", numbers[0]) != "")


def test_publish_all_publishes_what_the_image_exposes(sampan: Sampan, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\nEXPOSE 8080 53/udp\n")
    sampan.text("build", "-q", "-t", "exposing", str(tmp_path))
    sampan.text("run", "-d", "--name", "c", *SLIRP, "-P", "exposing", "sleep", "100")
    lines = sampan.text("port", "c").splitlines()
    assert sorted(line.partition(" ")[0] for line in lines) == ["53/udp", "8080/tcp"]
    assert inspected(sampan)["HostConfig"]["PublishAllPorts"] is True
    sampan.text("rm", "-f", "-t", "0", "c")
    sampan.text("rmi", "exposing")


def test_a_port_of_another_container_is_refused_with_its_name(sampan: Sampan) -> None:
    port = free_port()
    serve(sampan, *SLIRP, "-p", f"{port}:80", name="holder")
    for word in (f"{port}:81", f"127.0.0.1:{port}:81"):
        result = sampan("run", "--name", "c", *SLIRP, "-p", word, BUSYBOX, "true")
        assert result.returncode == 125
        assert b"address already in use: container holder listens there" in result.stderr
        assert b" is free\n" in result.stderr
    assert sampan.text("ps", "-a", "--format", "{{.Names}}") == "holder"
    sampan.text("stop", "-t", "0", "holder")
    sampan.text("run", "-d", "--name", "c", *SLIRP, "-p", f"{port}:81", BUSYBOX, "sleep", "100")
    result = sampan("start", "holder")
    assert result.returncode == 125 and b"container c listens there" in result.stderr


def test_a_port_of_somebody_else(sampan: Sampan) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        text = refused(sampan, "-p", f"{port}:80")
    assert f"cannot publish 0.0.0.0:{port}->80/tcp: address already in use" in text
    assert "no container of sampan's listens there" in text


@pytest.mark.skipif(LOWEST < 81, reason="this machine has no low ports")
def test_a_low_port_is_explained(sampan: Sampan) -> None:
    text = refused(sampan, "-p", "80:80")
    assert f"net.ipv4.ip_unprivileged_port_start is {LOWEST}" in text
    assert " is free; an administrator can set net.ipv4.ip_unprivileged_port_start=80" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-p", "[::1]:8080:80"), "cannot publish [::1]:8080->80/tcp: the network slirp4netns publishes at IPv4"),
        (("-p", "203.0.113.77:8080:80"), "203.0.113.77 is no address of this machine"),
        (("-p", "8080-8082:80"), "host and container port ranges have different lengths: 3 vs 1"),
        (("-p", "8080:80", "-p", "8080:81"), "conflicting port mappings for host port 8080 (protocol tcp)"),
        (("-p", "80/sctp"), "SCTP is carried by no network"),
        (("-p", "host:80:80"), "'host' is no address"),
        (("--expose", "x"), "invalid port 'x'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_what_cannot_be_published(sampan: Sampan, words: tuple[str, ...], told: str) -> None:
    assert told in refused(sampan, *words)


def test_who_is_nowhere_publishes_nothing(sampan: Sampan) -> None:
    result = sampan("run", "--network", "none", "-p", "8080", BUSYBOX, "true")
    assert result.returncode == 0
    assert result.stderr.startswith(b"Port mappings have been discarded")


@pytest.mark.parametrize("victim", ["Pid", "ConmonPid"])
def test_no_listener_is_left(sampan: Sampan, victim: str) -> None:
    port = free_port()
    serve(sampan, *SLIRP, "-p", f"{port}:80")
    os.kill(sampan.state("c")[victim], signal.SIGKILL)
    assert until(lambda: not listens(port), 1)
    assert until(lambda: sampan.state("c")["Status"] == "exited")
    sampan.text("start", "c")
    assert until(lambda: ask("127.0.0.1", port) != "")


def test_a_new_helper_has_the_ports(sampan: Sampan) -> None:
    port = free_port()
    serve(sampan, *SLIRP, "-p", f"{port}:80")
    for _ in range(3):
        before = helper_of(sampan, "c")
        os.kill(before, signal.SIGKILL)
        assert until(lambda: ask("127.0.0.1", port) != "")
        assert helper_of(sampan, "c") != before


def test_a_restart_policy_opens_them_again(sampan: Sampan) -> None:
    port = free_port()
    serve(sampan, *SLIRP, "-p", f"{port}:80", "--restart", "always")
    for _ in range(3):
        os.kill(sampan.state("c")["Pid"], signal.SIGKILL)
        assert until(lambda: ask("127.0.0.1", port) != "")


def test_a_command_that_ends_at_once_leaves_its_port(sampan: Sampan) -> None:
    port = free_port()
    for _ in range(3):
        sampan.text("run", "--rm", *SLIRP, "-p", f"{port}:80", BUSYBOX, "true")
        assert not listens(port)
    result = sampan("run", "--rm", *SLIRP, "-p", f"{port}:80", BUSYBOX, "no-such-command")
    assert result.returncode == 127 and not listens(port)
