"""The options of --network slirp4netns:... and pasta:...: what is refused, and what the helpers make of the others."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from inside import as_root
from networks import ask, free_port, needs, own_address, serving
from sampan.errors import UsageError
from sampan.linux import interfaces, libc, processes, sockets
from sampan.model.plain_network import PlainNetwork
from sampan_network.host import HostBackend
from sampan_network.pasta import PastaBackend
from sampan_network.slirp import SlirpBackend

WAY_OUT = next(
    (line.split()[0] for line in open("/proc/net/route") if line.split()[1] == "00000000"), "lo"
)
GOOD: list[tuple[type[PlainNetwork], dict[str, str]]] = [
    (PlainNetwork, {}),
    (SlirpBackend, {}),
    (SlirpBackend, {"mtu": "1500", "cidr": "10.0.9.0/25", "enable_ipv6": "false"}),
    (SlirpBackend, {"allow_host_loopback": "true", "port_handler": "slirp4netns"}),
    (SlirpBackend, {"outbound_addr": "192.0.2.1", "outbound_addr6": "2001:db8::1"}),
    (SlirpBackend, {"outbound_addr": WAY_OUT, "outbound_addr6": WAY_OUT}),
    (PastaBackend, {}),
    (PastaBackend, {"--mtu": "1500", "-I": "eth0", "-a": "192.0.2.7", "-n": "24", "-g": "192.0.2.1"}),
    (PastaBackend, {"--netmask": "255.255.255.0", "--address": "2001:db8::7", "--interface": WAY_OUT}),
    (PastaBackend, {"--no-tcp": "", "--no-udp": "", "--no-icmp": "", "--no-ra": "", "--map-gw": ""}),
    (PastaBackend, {"-T": "5432", "--udp-ns": "53:5353", "--outbound-if4": WAY_OUT, "-M": "02:00:00:00:00:01"}),
    (PastaBackend, {"-T": "auto", "-U": "none"}),
    (PastaBackend, {"-T": "8000-8010:9000-9010", "--dns-forward": "192.0.2.53"}),
]  # fmt: skip
BAD: list[tuple[type[PlainNetwork], dict[str, str], str]] = [
    (PlainNetwork, {"mtu": "1500"}, "--network none:mtu: the network none takes no options"),
    (HostBackend, {"mtu": "1500"}, "--network host:mtu: the network host takes no options"),
    (SlirpBackend, {"mut": "1500"}, "slirp4netns:mut: unknown option; known: allow_host_loopback, mtu"),
    (SlirpBackend, {"": ""}, "slirp4netns:: unknown option"),
    *((SlirpBackend, {"mtu": value}, f"mtu={value}: it is a number from 68 to 65521")
      for value in ("67", "65522", "9" * 40, "-1", "1e3", "x", "²")),
    (SlirpBackend, {"mtu": ""}, "--network slirp4netns:mtu: it is a number"),
    *((SlirpBackend, {"cidr": value}, f"cidr={value}: it is a network of IPv4 of at most 25 bits")
      for value in ("10.0.9.0/26", "10.0.9.5/24", "10.0.9.0", "fd00::/24", "10.0.9.0/255.255.255.0", "0.0.0.0/0")),
    (SlirpBackend, {"allow_host_loopback": "1"}, "allow_host_loopback=1: it is true or false"),
    (SlirpBackend, {"enable_ipv6": "no"}, "enable_ipv6=no: it is true or false"),
    (SlirpBackend, {"enable_ipv6": "false", "outbound_addr6": WAY_OUT}, "outbound_addr6: it needs enable_ipv6=true"),
    *((SlirpBackend, {"outbound_addr": value}, "it is an address of IPv4, or an interface of this machine")
      for value in ("no-such0", "2001:db8::1", "../lo", "--help", "")),
    (SlirpBackend, {"outbound_addr6": "192.0.2.1"}, "it is an address of IPv6, or an interface of this machine"),
    (SlirpBackend, {"port_handler": "rootlesskit"}, "it would hide the addresses of those who connect"),
    (SlirpBackend, {"port_handler": "x"}, "port_handler=x: it is slirp4netns"),
    (PastaBackend, {"--pcap": "x"}, "--network pasta:--pcap: unknown option; known: --mtu"),
    *((PastaBackend, {option: "x"}, f"{option}: unknown option")
      for option in ("--log-file", "--pid", "-P", "--runas", "--netns", "--userns", "--fd", "-F", "--config-net", "x")),
    (PastaBackend, {"-t": "80"}, "--tcp-ports: ports are published with -p; leave it out"),
    (PastaBackend, {"--udp-ports": "auto"}, "--udp-ports: ports are published with -p; leave it out"),
    (PastaBackend, {"-4": ""}, "--ipv4-only: ports are published for each family"),
    (PastaBackend, {"-m": "65521"}, "--mtu,65521: it is a number from 68 to 65520"),
    (PastaBackend, {"--mtu": ""}, "--network pasta:--mtu: it is a number"),
    (PastaBackend, {"--no-tcp": "80"}, "--no-tcp,80: it takes no value"),
    *((PastaBackend, {"-I": value}, "it is the name of an interface, at most 15 letters")
      for value in ("", "lo", "a/b", "..", "x" * 16, "e%d", "e h", "é")),
    (PastaBackend, {"-i": "no-such0"}, "--interface,no-such0: it is an interface of this machine"),
    (PastaBackend, {"--address": "192.0.2.256"}, "it is an address of IPv4 or IPv6"),
    (PastaBackend, {"--netmask": "33"}, "it is a number of bits, or a netmask"),
    (PastaBackend, {"--ns-mac-addr": "01:00:00:00:00:01"}, "it is an address such as 02:00:00:00:00:01"),
    *((PastaBackend, {"-T": value}, "it is none, auto or ports")
      for value in ("", "all", "0", "65536", "1-2-3", "1:2:3", "80,81", "~80", "127.0.0.1/80")),
]  # fmt: skip


@pytest.mark.parametrize(("backend", "settings"), GOOD, ids=str)
def test_what_may_be_said(backend: type[PlainNetwork], settings: dict[str, str]) -> None:
    backend().check_settings(settings)


@pytest.mark.parametrize(("backend", "settings", "told"), BAD, ids=str)
def test_what_is_refused(backend: type[PlainNetwork], settings: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        backend().check_settings(settings)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def connected(
    backend: PlainNetwork,
    settings: Mapping[str, str],
    action: Callable[[], Any],
    ports: Sequence[dict[str, Any]] = (),
) -> tuple[dict[str, Any], Any]:
    """(The attachment of a new network namespace, what `action` gives in it)."""

    def run() -> tuple[dict[str, Any], Any]:
        here, there = sockets.pair()
        pid = os.fork()
        if pid == 0:
            processes.die_with_parent()
            libc.unshare(libc.CLONE_NEWNET)
            mark = socket.socket(socket.AF_INET)
            sockets.send(there, b"made", [mark.fileno()])
            sockets.receive(there)
            sockets.send(there, pickle.dumps(action()))
            signal.pause()
        there.close()
        _, (network,) = sockets.receive(here, 1)
        with tempfile.TemporaryDirectory() as place:
            directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            options = {"ports": list(ports), "directory": directory, "settings": settings}
            try:
                attachment = backend.attach("c", network, options)
                sockets.send(here, b"connected")
                return attachment, pickle.loads(sockets.receive(here)[0])
            finally:
                backend.detach("c", {})
                os.kill(pid, signal.SIGKILL)

    found: tuple[dict[str, Any], Any] = as_root(run)
    return found


def shown(name: str) -> Callable[[], str]:
    """What ip(8) says of an interface."""
    words = ["ip", "address", "show", name]
    return lambda: subprocess.run(words, capture_output=True, text=True, check=True).stdout


@needs("slirp4netns")
def test_slirp4netns_does_what_it_is_told() -> None:
    settings = {"mtu": "1400", "cidr": "10.0.77.0/25", "enable_ipv6": "false"}
    attachment, said = connected(SlirpBackend(), settings, shown("tap0"))
    assert (attachment["address"], attachment["prefix"]) == ("10.0.77.100", 25)
    assert attachment["gateway"] == "10.0.77.2"
    assert "mtu 1400 " in said and "inet 10.0.77.100/25 " in said


@needs("slirp4netns")
@pytest.mark.parametrize("allowed", ["true", "false"])
def test_the_loopback_interface_is_open_to_who_asks(allowed: str) -> None:
    settings = {"allow_host_loopback": allowed, "cidr": "10.0.2.0/24"}
    with serving("127.0.0.1") as port:
        _, found = connected(SlirpBackend(), settings, lambda: ask("10.0.2.2", port))
    assert found == ("127.0.0.1" if allowed == "true" else "")


@needs("slirp4netns")
@pytest.mark.parametrize("bound", ["address", "interface"])
def test_slirp4netns_goes_out_with_the_address_that_is_named(bound: str) -> None:
    own = own_address()
    settings = {"outbound_addr": own if bound == "address" else WAY_OUT}
    with serving(own) as port:
        _, found = connected(SlirpBackend(), settings, lambda: ask(own, port))
    assert found == own


@needs("pasta")
def test_pasta_does_what_it_is_told() -> None:
    settings = {"-m": "1400", "-I": "up0", "-a": "192.0.2.77", "-n": "25", "-g": "192.0.2.78"}
    attachment, said = connected(PastaBackend(), settings, shown("up0"))
    assert (attachment["address"], attachment["prefix"]) == ("192.0.2.77", 25)
    assert (attachment["gateway"], attachment["interface"]) == ("192.0.2.78", "up0")
    assert attachment["mac"] in said
    assert "mtu 1400 " in said and "inet 192.0.2.77/25 " in said


@needs("pasta")
@pytest.mark.parametrize("settings", [{"--map-gw": ""}, {}], ids=str)
def test_the_loopback_interface_is_behind_the_gateway_for_who_asks(
    settings: dict[str, str],
) -> None:
    gateway = interfaces.default_gateway()
    with serving("127.0.0.1") as port:
        _, found = connected(PastaBackend(), settings, lambda: ask(gateway, port))
    assert bool(found) == bool(settings)


@needs("pasta")
def test_one_port_of_the_machine_for_who_asks() -> None:
    with serving("127.0.0.1") as port:
        for settings, answer in (({"-T": str(port)}, "127.0.0.1"), ({}, "")):
            assert connected(PastaBackend(), settings, lambda: ask("127.0.0.1", port))[1] == answer


@needs("pasta")
def test_a_port_of_a_protocol_that_is_left_out_is_refused(
    capfd: pytest.CaptureFixture[str],
) -> None:
    port = {
        "host_ip": "127.0.0.1",
        "host_port": free_port(),
        "container_port": 80,
        "protocol": "tcp",
    }
    with pytest.raises(AssertionError):
        connected(PastaBackend(), {"--no-tcp": ""}, shown("tap0"), [port])
    assert "->80/tcp: --network pasta:--no-tcp carries none" in capfd.readouterr().err
