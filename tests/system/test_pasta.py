"""pasta: the machine's own addresses inside, its ports, and what becomes of its helper."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from networks import (
    ask,
    fake,
    fetch,
    free_port,
    helper_of,
    listens,
    needs,
    own_address,
    serve,
    serving,
)
from sampan.linux import interfaces
from system_tools import BUSYBOX, Sampan, ended, has_subordinate_ids, until

pytestmark = needs("pasta")
PASTA = ("--network", "pasta")
six = pytest.mark.skipif(not interfaces.has_ipv6(), reason="this machine has no way out for IPv6")


def test_it_has_the_addresses_of_the_machine(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", *PASTA, BUSYBOX, "sleep", "100")
    settings = json.loads(sampan.text("inspect", "c"))[0]["NetworkSettings"]
    assert settings["IPAddress"] == own_address()
    assert settings["Gateway"] == interfaces.default_gateway() != ""
    assert own_address() in sampan.text("exec", "c", "ip", "-4", "address", "show", "tap0")
    assert settings["MacAddress"] == sampan.text("exec", "c", "cat", "/sys/class/net/tap0/address")
    assert json.loads(sampan.text("inspect", "c"))[0]["HostConfig"]["NetworkMode"] == "pasta"


def test_the_loopback_interface_of_the_machine_is_closed(sampan: Sampan) -> None:
    """Behind the gateway's address pasta would show it."""
    with serving("127.0.0.1") as port:
        for address in ("127.0.0.1", interfaces.default_gateway(), own_address()):
            result = sampan("run", "--rm", *PASTA, BUSYBOX, *fetch(address, port), timeout=30)
            assert result.stdout == b""


def test_resolv_conf_has_the_servers_that_it_reaches(sampan: Sampan) -> None:
    lines = sampan.text("run", "--rm", *PASTA, BUSYBOX, "cat", "/etc/resolv.conf").splitlines()
    given = Path("/etc/resolv.conf").read_text().splitlines()
    loopback = ("nameserver 127.", "nameserver ::1")
    assert [line for line in given if not line.startswith(loopback)] == lines


def test_it_does_not_reach_the_machine_and_says_so(sampan: Sampan) -> None:
    result = sampan("run", "--rm", *PASTA, "--add-host", "up:host-gateway", BUSYBOX, "true")
    assert result.returncode == 125
    assert b"the network pasta does not reach this machine" in result.stderr


def test_ports_and_who_asks(sampan: Sampan) -> None:
    """From this machine the kernel's loopback interface is spliced, and its own address is the gateway's."""
    port = free_port()
    serve(sampan, *PASTA, "-p", f"{port}:80", "-p", f"127.0.0.1:{port}:53/udp")
    assert ask("127.0.0.1", port) == "127.0.0.1"
    assert ask(own_address(), port) == interfaces.default_gateway()
    settings = json.loads(sampan.text("inspect", "c"))[0]["NetworkSettings"]
    assert settings["ClientAddress"] == "preserved"
    assert f"0.0.0.0:{port}->80/tcp" in sampan.text("ps", "--format", "{{.Ports}}")


def test_udp(sampan: Sampan) -> None:
    """This version of pasta answers the machine itself at the same port only, and others always."""
    port = free_port()
    serve(sampan, *PASTA, "-p", f"{port}:{port}/udp", port=port, kind="udp")
    assert until(lambda: ask("127.0.0.1", port, "udp") == "127.0.0.1")


@six
def test_both_families(sampan: Sampan) -> None:
    one, two = free_port(), free_port()
    serve(sampan, *PASTA, "-p", f"{one}:80", "-p", f"[::1]:{two}:80")
    assert sampan.text("port", "c").splitlines() == [
        f"80/tcp -> 0.0.0.0:{one}",
        f"80/tcp -> [::]:{one}",
        f"80/tcp -> [::1]:{two}",
    ]
    assert ask("::1", one) == ask("::1", two) == "::1"
    assert not listens(two) and listens(one)


def test_a_port_at_two_addresses_is_refused_by_name(sampan: Sampan) -> None:
    port = free_port()
    words = ("-p", f"127.0.0.1:{port}:80", "-p", f"{own_address()}:{port}:81")
    result = sampan("run", "--rm", *PASTA, *words, BUSYBOX, "true")
    assert result.returncode == 125
    assert b"pasta opens a port at one address or at all of them" in result.stderr


@pytest.mark.parametrize("victim", ["Pid", "ConmonPid"])
def test_no_helper_and_no_listener_is_left(sampan: Sampan, victim: str) -> None:
    port = free_port()
    serve(sampan, *PASTA, "-p", f"{port}:80")
    pid = helper_of(sampan, "c")
    os.kill(sampan.state("c")[victim], signal.SIGKILL)
    assert until(lambda: ended(pid) and not listens(port), 1)
    assert until(lambda: sampan.state("c")["Status"] == "exited")
    sampan.text("start", "c")
    assert until(lambda: ask("127.0.0.1", port) != "")


def test_a_new_helper_has_the_ports(sampan: Sampan) -> None:
    port = free_port()
    serve(sampan, *PASTA, "-p", f"{port}:80")
    for _ in range(3):
        before = helper_of(sampan, "c")
        os.kill(before, signal.SIGKILL)
        assert until(lambda: ask("127.0.0.1", port) != "")
        assert helper_of(sampan, "c") != before


def test_restarts(sampan: Sampan) -> None:
    serve(sampan, *PASTA, "-p", "80")
    line = sampan.text("port", "c", "80").splitlines()[0]
    for _ in range(5):
        sampan.text("restart", "-t", "0", "c")
        assert sampan.text("port", "c", "80").splitlines()[0] == line
        assert until(lambda: ask("127.0.0.1", int(line.rpartition(":")[2])) != "")


@pytest.mark.parametrize(
    "words",
    [("--userns=auto",), ("--userns=nomap",), ("--pid=host",), ("--read-only",)],
    ids=" ".join,
)
def test_with_other_namespaces(sampan: Sampan, words: tuple[str, ...]) -> None:
    if not has_subordinate_ids() and any("userns" in word for word in words):
        pytest.skip("one id only")
    text = sampan.text("run", "--rm", *PASTA, *words, BUSYBOX, "cat", "/proc/net/route")
    assert "tap0" in text


def test_a_wrong_program_is_told_by_name(sampan: Sampan, tmp_path: Path) -> None:
    environment = fake(tmp_path, "pasta", "echo 'invalid option: --ns-ifname' >&2; exit 1")
    result = sampan("run", "--rm", *PASTA, BUSYBOX, "true", env=environment)
    assert result.returncode == 125 and b"invalid option: --ns-ifname" in result.stderr
