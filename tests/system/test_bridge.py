"""bridge: containers that talk by name on networks of the user's, and what keeps them apart."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from networks import (
    ask,
    fake,
    fetch,
    free_port,
    holder,
    listens,
    needs,
    own_address,
    serve,
    serving,
)
from system_tools import BUSYBOX, DEBIAN, Sampan, ended, until

pytestmark = needs("slirp4netns")
SLEEP = (BUSYBOX, "sleep", "1000")


def start(sampan: Sampan, name: str, *words: str) -> str:
    return sampan.text("run", "-d", "--name", name, *words, *SLEEP)


def settings(sampan: Sampan, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sampan.text("inspect", name))[0]["NetworkSettings"]
    return found


def address(sampan: Sampan, name: str, network: str) -> str:
    return str(settings(sampan, name)["Networks"][network]["IPAddress"])


def resolve(sampan: Sampan, name: str, wanted: str) -> list[str]:
    """The addresses that a container's resolver gives; none if it does not know the name."""
    shown = sampan("exec", name, "getent", "ahosts", wanted).stdout.decode()
    return sorted({line.split()[0] for line in shown.splitlines()})


def pings(sampan: Sampan, name: str, target: str, *words: str) -> bool:
    """Whether a connection is refused, and so answered, at a port where nobody listens."""
    script = f"exec 3<>/dev/tcp/{target}/9"
    result = sampan("exec", *words, name, "timeout", "1", "bash", "-c", script)
    return b"refused" in result.stderr


@pytest.fixture
def net(sampan: Sampan) -> str:
    return sampan.text("network", "create", "net")


@pytest.fixture
def two(sampan: Sampan, net: str) -> str:
    return sampan.text("network", "create", "two")


def debian(sampan: Sampan, name: str, *words: str) -> str:
    return sampan.text("run", "-d", "--name", name, *words, DEBIAN, "sleep", "1000")


def test_containers_find_each_other_by_name(sampan: Sampan, net: str) -> None:
    web = debian(sampan, "web", "--network", net, "--network-alias", "www", "--network-alias", "w2")
    debian(sampan, "c", "--network", net)
    found = address(sampan, "web", net)
    for name in ("web", "WEB", "www", "w2", web[:12], web[:20], f"web.{net}"):
        assert resolve(sampan, "c", name) == [found], name
    assert resolve(sampan, "web", "web") == [found]
    reverse = sampan.text("exec", "c", "getent", "hosts", found)
    assert reverse.split() == [found, f"web.{net}"]
    assert pings(sampan, "c", "web") and pings(sampan, "web", "c")
    sampan.text("rm", "-f", "-t", "0", "web")
    assert until(lambda: resolve(sampan, "c", "web") == [])


def test_names_end_at_the_border_of_a_network(sampan: Sampan, net: str, two: str) -> None:
    debian(sampan, "a", "--network", net)
    debian(sampan, "b", "--network", two)
    assert resolve(sampan, "b", "a") == []
    assert not pings(sampan, "b", address(sampan, "a", net))


def test_the_default_network_has_no_names(sampan: Sampan) -> None:
    debian(sampan, "a", "--network", "bridge")
    debian(sampan, "b", "--network", "bridge")
    assert resolve(sampan, "b", "a") == []
    assert pings(sampan, "b", address(sampan, "a", "bridge"))
    row = json.loads(sampan.text("network", "inspect", "bridge"))[0]
    assert row["Name"] == "bridge" and not row["DNSEnabled"] and len(row["Containers"]) == 2


def test_one_container_on_two_networks(sampan: Sampan, net: str, two: str) -> None:
    """It reaches a peer on each; taken off one while it runs, the other goes on; a third is reached from neither."""
    three = sampan.text("network", "create", "three")
    debian(sampan, "a", "--network", net)
    debian(sampan, "b", "--network", two)
    debian(sampan, "far", "--network", three)
    debian(sampan, "mid", "--network", f"{net},{two}")
    for peer in ("a", "b"):
        assert pings(sampan, "mid", peer) and pings(sampan, peer, "mid")
        assert not pings(sampan, "far", address(sampan, peer, {"a": net, "b": two}[peer]))
        assert not pings(sampan, peer, address(sampan, "far", three))
    sampan.text("network", "disconnect", net, "mid")
    assert pings(sampan, "mid", "b") and pings(sampan, "b", "mid")
    assert not pings(sampan, "mid", "a") and resolve(sampan, "a", "mid") == []
    with serving(own_address()) as port:
        script = f"exec 3<>/dev/tcp/{own_address()}/{port}"
        sampan.text("exec", "mid", "bash", "-c", script)
    sampan.text("network", "disconnect", two, "mid")
    assert settings(sampan, "mid")["Networks"] == {}
    sampan.text("network", "connect", "--alias", "again", net, "mid")
    assert resolve(sampan, "a", "again") == [address(sampan, "mid", net)]
    assert pings(sampan, "mid", "a")


def test_connections_are_recorded_and_outlive_a_restart(sampan: Sampan, net: str, two: str) -> None:
    start(sampan, "c", "--network", net)
    sampan.text("network", "connect", "--ip", _at(sampan, two, 77), two, "c")
    result = sampan("network", "connect", two, "c")
    assert result.returncode == 125 and b"is already connected" in result.stderr
    sampan.text("restart", "-t", "0", "c")
    assert address(sampan, "c", two) == _at(sampan, two, 77)
    assert set(settings(sampan, "c")["Networks"]) == {net, two}
    sampan.text("stop", "-t", "0", "c")
    sampan.text("network", "disconnect", net, "c")
    sampan.text("start", "c")
    assert set(settings(sampan, "c")["Networks"]) == {two}
    assert sampan.text("ps", "--format", "{{.Networks}}") == two
    assert sampan.text("ps", "-q", "--filter", f"network={two}")
    assert not sampan.text("ps", "-q", "--filter", f"network={net}")


def _at(sampan: Sampan, network: str, number: int) -> str:
    subnet = json.loads(sampan.text("network", "inspect", network))[0]["Subnets"][0]["subnet"]
    return f"{subnet.rpartition('.')[0]}.{number}"


def test_only_who_started_on_a_bridge_joins_one(sampan: Sampan, net: str) -> None:
    start(sampan, "c", "--network", "slirp4netns")
    result = sampan("network", "connect", net, "c")
    assert result.returncode == 125
    assert b'"slirp4netns" is not supported: invalid network mode' in result.stderr


def test_addresses_as_asked(sampan: Sampan, net: str) -> None:
    ip, mac = _at(sampan, net, 200), "02:00:00:00:12:34"
    start(sampan, "c", "--network", net, "--ip", ip, "--mac-address", mac)
    found = settings(sampan, "c")
    assert (found["IPAddress"], found["MacAddress"]) == (ip, mac)
    assert sampan.text("exec", "c", "cat", "/sys/class/net/eth0/address") == mac
    hosts = sampan.text("exec", "c", "cat", "/etc/hosts").splitlines()
    identity = sampan.text("inspect", "-f", "{{.Id}}", "c")
    assert f"{ip}\t{identity[:12]} c" in hosts
    result = sampan("run", "--rm", "--network", net, "--ip", ip, BUSYBOX, "true")
    assert result.returncode == 125 and f"address {ip} is in use".encode() in result.stderr
    result = sampan("run", "--rm", "--network", net, "--ip", "192.0.2.1", BUSYBOX, "true")
    assert result.returncode == 125 and b"it is not in the subnet" in result.stderr
    words = f"{net}:ip={_at(sampan, net, 201)},interface_name=lan,alias=x"
    shown = sampan.text("run", "--rm", "--network", words, BUSYBOX, "ip", "addr", "show", "lan")
    assert _at(sampan, net, 201) in shown


def test_an_internal_network_has_no_way_out(sampan: Sampan) -> None:
    sampan.text("network", "create", "--internal", "inner")
    debian(sampan, "a", "--network", "inner")
    debian(sampan, "b", "--network", "inner")
    assert pings(sampan, "a", "b")
    with serving(own_address()) as port:
        result = sampan("exec", "a", *fetch(own_address(), port))
        assert own_address().encode() not in result.stdout
    assert "default" not in sampan.text("run", "--rm", "--network", "inner", BUSYBOX, "ip", "route")


def test_both_families(sampan: Sampan) -> None:
    sampan.text("network", "create", "--ipv6", "six")
    debian(sampan, "a", "--network", "six")
    debian(sampan, "b", "--network", "six", "--ip6", "")
    found = settings(sampan, "a")["Networks"]["six"]
    assert found["GlobalIPv6Address"].startswith("fd") and found["GlobalIPv6PrefixLen"] == 64
    assert resolve(sampan, "b", "a") == sorted([found["IPAddress"], found["GlobalIPv6Address"]])
    for target in (found["GlobalIPv6Address"], found["IPAddress"]):
        assert pings(sampan, "b", target)


def test_a_member_cannot_take_anothers_address(sampan: Sampan, net: str) -> None:
    """With NET_ADMIN it may do in its own namespace what it likes; nothing of that gets through."""
    debian(sampan, "victim", "--network", net)
    debian(sampan, "peer", "--network", net)
    start(sampan, "bad", "--network", net, "--cap-add", "NET_ADMIN")
    own, stolen = address(sampan, "bad", net), address(sampan, "victim", net)
    assert pings(sampan, "peer", stolen)
    sampan.text("exec", "bad", "ip", "addr", "add", f"{stolen}/24", "dev", "eth0")
    script = f"arping -U -c 2 -I eth0 {stolen}; arping -A -c 2 -I eth0 {stolen}"
    sampan("exec", "--privileged", "bad", "sh", "-c", script)
    listing = sampan.text("exec", "peer", "cat", "/proc/net/arp")
    victim_mac = settings(sampan, "victim")["MacAddress"]
    bad_mac = settings(sampan, "bad")["MacAddress"]
    assert victim_mac in listing and bad_mac not in listing
    # its own packets with the stolen address do not arrive
    sampan.text("exec", "bad", "ip", "addr", "del", f"{own}/24", "dev", "eth0")
    peer = address(sampan, "peer", net)
    assert b"refused" not in sampan("exec", "bad", "timeout", "2", "nc", peer, "9").stderr
    # nor those with another hardware address
    start(sampan, "worse", "--network", net, "--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW")
    assert b"refused" in sampan("exec", "worse", "timeout", "2", "nc", peer, "9").stderr
    change = (
        "ip link set eth0 down && ip link set eth0 address 02:00:00:00:00:99 && ip link set eth0 up"
    )
    sampan.text("exec", "worse", "sh", "-c", change)
    assert b"refused" not in sampan("exec", "worse", "timeout", "2", "nc", peer, "9").stderr
    assert pings(sampan, "peer", stolen)


def test_the_bridge_and_its_rules_are_out_of_reach(sampan: Sampan, net: str) -> None:
    start(sampan, "other", "--network", net)
    shown = sampan.text(
        "run", "--rm", "--privileged", "--network", net, BUSYBOX, "ip", "-o", "link"
    )
    assert {line.split(":")[1].split("@")[0].strip() for line in shown.splitlines()} == {
        "lo",
        "eth0",
    }
    gateway = settings(sampan, "other")["Gateway"]
    for port in ("1", "20000", "111"):  # nothing but names is answered there
        assert b"refused" not in sampan("exec", "other", "timeout", "1", "nc", gateway, port).stderr


@pytest.mark.parametrize(
    "words",
    [(), ("--userns=auto",), ("--userns=keep-id",), ("--privileged",), ("--pid=host",)],
    ids=" ".join,
)
def test_with_other_namespaces(sampan: Sampan, net: str, words: tuple[str, ...]) -> None:
    result = sampan("run", "--rm", "--network", net, *words, BUSYBOX, "ip", "addr", "show", "eth0")
    if result.returncode and b"subordinate" in result.stderr:
        pytest.skip("one id")
    assert b"10.89." in result.stdout, result.stderr


def test_published_ports_keep_the_clients_address(sampan: Sampan, net: str) -> None:
    port = free_port()
    serve(sampan, "--network", net, "-p", f"{port}:80")
    assert ask(own_address(), port) == own_address()
    assert ask("127.0.0.1", port).startswith("198.18.")  # the way in, as the documents say
    assert settings(sampan, "c")["ClientAddress"] == "preserved"
    assert sampan.text("port", "c") == f"80/tcp -> 0.0.0.0:{port}"
    sampan.text("kill", "c")
    assert until(lambda: not listens(port), 1)
    for _ in range(3):
        sampan.text("start", "c")
        assert until(lambda: bool(ask(own_address(), port)))
        sampan.text("stop", "-t", "0", "c")
        assert not listens(port)


@pytest.fixture
def by_pasta(sampan: Sampan, tmp_path: Path) -> Iterator[None]:
    """Whoever starts the holder has it use pasta."""
    (tmp_path / "sampan").mkdir()
    (tmp_path / "sampan/sampan.toml").write_text('[network.bridge]\nuplink = "pasta"\n')
    assert until(lambda: holder(sampan) == 0, 3)
    sampan.environment["XDG_CONFIG_HOME"] = str(tmp_path)
    yield
    del sampan.environment["XDG_CONFIG_HOME"]
    sampan("rm", "-af", "-t", "0")
    assert until(lambda: holder(sampan) == 0, 3)


@needs("pasta")
def test_pasta_as_the_way_out(sampan: Sampan, net: str, by_pasta: None) -> None:
    port, other = free_port(), free_port()
    serve(sampan, "--network", net, "-p", f"{port}:80", "-p", f"{port}:80/udp")
    serve(sampan, "--network", net, "-p", f"{other}:81", name="d", port=81)
    for one in (port, other):
        assert ask(own_address(), one) == own_address()
        assert ask("127.0.0.1", one) == settings(sampan, "c")["Gateway"]
    with serving(own_address()) as outside:
        request = f"exec 3<>/dev/tcp/{own_address()}/{outside}; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3"
        text = sampan.text("exec", "c", "bash", "-c", request)
        assert own_address() in text
    sampan.text("rm", "-f", "-t", "0", "d")
    assert not listens(other) and ask(own_address(), port) == own_address()
    assert until(
        lambda: len(helpers_of(holder(sampan))) == 2
    )  # the way out, and the way in of the ports
    children = helpers_of(holder(sampan))
    for child in children:
        os.kill(child, signal.SIGKILL)
    assert until(lambda: ask(own_address(), port) == own_address())
    sampan.text("kill", "c")
    assert until(lambda: not listens(port), 1)


def test_ports_follow_the_container_to_another_network(sampan: Sampan, net: str, two: str) -> None:
    port = free_port()
    serve(sampan, "--network", f"{net},{two}", "-p", f"{port}:80", "-p", f"{port}:80/udp")
    sampan.text("network", "disconnect", net, "c")
    assert ask(own_address(), port) == own_address()
    sampan.text("network", "connect", net, "c")
    sampan.text("network", "disconnect", two, "c")
    assert ask(own_address(), port) == own_address()


def test_many_ports_are_no_more_work_for_the_uplink(
    sampan: Sampan, net: str, tmp_path: Path
) -> None:
    """That it works here is asked as often for one port as for fifty."""
    asked: list[int] = []
    for count in (1, 50):
        log = tmp_path / "log"
        log.write_text("")
        log.chmod(0o666)
        real = shutil.which("slirp4netns")
        environment = fake(tmp_path, "slirp4netns", f'echo "$1" >> {log}; exec {real} "$@"')
        words = ("run", "--rm", "--network", net, "--expose", f"1-{count}", "-P", BUSYBOX, "true")
        result = sampan(*words, env=environment)
        assert result.returncode == 0, result.stderr
        asked.append(log.read_text().count("--version"))
    assert asked[1] <= asked[0] <= 3


def test_a_taken_port_is_refused_before_anything_is_made(sampan: Sampan, net: str) -> None:
    port = free_port()
    start(sampan, "first", "--network", net, "-p", f"{port}:80")
    result = sampan("run", "-d", "--name", "second", "--network", net, "-p", f"{port}:80", *SLEEP)
    assert result.returncode == 125 and b"container first listens there" in result.stderr
    assert sampan("container", "exists", "second").returncode == 1


def helpers_of(pid: int) -> list[int]:
    """The living children of the holder."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children if not ended(int(child))]


def test_the_holder_is_there_while_a_member_is(sampan: Sampan, net: str) -> None:
    assert until(lambda: holder(sampan) == 0, 2)
    start(sampan, "a", "--network", net)
    first = holder(sampan)
    start(sampan, "b", "--network", net)
    assert first and holder(sampan) == first
    sampan.text("rm", "-f", "-t", "0", "a")
    time.sleep(2)
    assert holder(sampan) == first
    sampan.text("rm", "-f", "-t", "0", "b")
    assert until(lambda: holder(sampan) == 0, 2)
    assert sampan.leftovers() == []
    assert os.listdir(sampan.run_dir / "bridge/members") == []


def test_garbage_at_the_holders_socket(sampan: Sampan, net: str) -> None:
    debian(sampan, "a", "--network", net)
    first = holder(sampan)
    for said in (
        b"garbage",
        b"[1]",
        b'{"kind": "attach"}',
        b'{"kind": "nosuch"}',
        b"{}",
        b'{"kind": "change"}',
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            directory = os.open(sampan.run_dir / "bridge", os.O_PATH)
            sock.connect(f"/proc/self/fd/{directory}/holder")
            os.close(directory)
            sock.send(said)
            sock.settimeout(5)
            assert b"error" in sock.recv(4096) or not said.startswith(b"{")
    debian(sampan, "b", "--network", net)
    assert pings(sampan, "a", "b") and holder(sampan) == first


def test_a_killed_holder_is_told_and_repaired(sampan: Sampan, net: str) -> None:
    port = free_port()
    serve(sampan, "--network", net, "-p", f"{port}:80", "--network-alias", "www")
    debian(sampan, "peer", "--network", net)
    before = settings(sampan, "c")
    os.kill(holder(sampan), signal.SIGKILL)
    assert until(lambda: not listens(port), 1)
    assert until(lambda: "holds the bridge networks ended" in sampan.state("c")["Error"])
    assert sampan.state("c")["Running"]
    for name in ("c", "peer"):
        told = ("--filter", f"container={sampan.text('inspect', '-f', '{{.Id}}', name)}")
        shown = sampan.text("events", "--stream=false", "--filter", "event=disconnect", *told)
        assert shown.count("container disconnect") == 1
    debian(sampan, "new", "--network", net)  # the next attach repairs
    assert until(lambda: ask(own_address(), port) == own_address())
    after = settings(sampan, "c")
    for key in ("IPAddress", "MacAddress", "Gateway"):
        assert after[key] == before[key]
    for name in ("peer", "new"):
        assert resolve(sampan, name, "www") == [before["IPAddress"]]
        assert pings(sampan, name, "c")
    assert sampan.state("c")["Error"] == ""
    assert "reconnect" in sampan.text("events", "--stream=false", "--filter", "container=c")


def test_a_holder_that_stands_still_is_given_up_and_followed(
    sampan: Sampan, net: str, two: str
) -> None:
    """What was given up does not come true later; who leaves does not wait long."""
    port = free_port()
    start(sampan, "a", "--network", net)
    start(sampan, "b", "--network", net, "-p", f"{port}:80")
    pid = holder(sampan)
    os.kill(pid, signal.SIGSTOP)
    try:
        result = sampan("network", "connect", two, "a")
        assert result.returncode == 125 and b"did not answer for 20 s" in result.stderr
        begun = time.monotonic()
        sampan.text("rm", "-f", "-t", "0", "b")
        assert time.monotonic() - begun < 5
    finally:
        os.kill(pid, signal.SIGCONT)
    interfaces = ("exec", "a", "ls", "/sys/class/net")
    assert until(lambda: sampan.text(*interfaces).split() == ["eth0", "lo"], 3)
    assert list(settings(sampan, "a")["Networks"]) == [net]
    assert until(lambda: not listens(port), 3)
    sampan.text("network", "connect", two, "a")
    assert sampan.text(*interfaces).split() == ["eth0", "eth1", "lo"]
    assert settings(sampan, "a")["Networks"][two]["IPAddress"]


def test_a_killed_uplink_is_started_again(sampan: Sampan, net: str) -> None:
    port = free_port()
    serve(sampan, "--network", net, "-p", f"{port}:80")
    for child in helpers_of(holder(sampan)):
        os.kill(child, signal.SIGKILL)
    assert until(lambda: ask(own_address(), port) == own_address())
    assert until(
        lambda: "reconnect" in sampan.text("events", "--stream=false", "--filter", "container=c")
    )


def test_a_killed_monitor_leaves_nothing(sampan: Sampan, net: str) -> None:
    port = free_port()
    serve(sampan, "--network", net, "-p", f"{port}:80")
    start(sampan, "other", "--network", net)
    found = address(sampan, "c", net)
    monitor = sampan.state("c")["ConmonPid"]
    os.kill(monitor, signal.SIGKILL)
    assert until(lambda: ended(monitor))
    assert until(lambda: not listens(port), 1)
    start(sampan, "next", "--network", net, "--ip", found)


def test_a_restarting_container_keeps_the_holder(sampan: Sampan, net: str) -> None:
    sampan.text(
        "run", "-d", "--name", "c", "--restart", "always", "--network", net, BUSYBOX, "sleep", "1.5"
    )
    first = holder(sampan)
    assert until(lambda: int(sampan.text("inspect", "-f", "{{.RestartCount}}", "c")) >= 2, 20)
    assert holder(sampan) == first
    assert until(lambda: bool(address(sampan, "c", net)))


def test_dns_servers_of_a_container_are_asked_by_the_networks_server(
    sampan: Sampan, net: str
) -> None:
    words = ("--network", net, "--dns", "192.0.2.53", "--dns-search", "example.org")
    text = sampan.text("run", "--rm", *words, BUSYBOX, "cat", "/etc/resolv.conf")
    assert text.splitlines() == [
        "search example.org",
        "nameserver 169.254.53.53",
        "options ndots:0",
    ]
    plain = ("--network", "bridge", "--dns", "192.0.2.53")
    text = sampan.text("run", "--rm", *plain, BUSYBOX, "cat", "/etc/resolv.conf")
    assert "nameserver 192.0.2.53" in text and "169.254" not in text


def test_a_container_joined_to_another_is_on_its_networks(sampan: Sampan, net: str) -> None:
    debian(sampan, "a", "--network", net)
    debian(sampan, "b", "--network", net)
    debian(sampan, "joined", "--network", "container:a")
    assert pings(sampan, "joined", "b")
    assert resolve(sampan, "joined", "b") == [address(sampan, "b", net)]
    shares = ("--pid", "container:a", "--network", net)
    assert (
        sampan.text("run", "--rm", *shares, BUSYBOX, "cat", "/sys/class/net/eth0/operstate") == "up"
    )
    start(sampan, "outside", "--network", "none")
    result = sampan("run", "--rm", "--pid", "container:outside", "--network", net, BUSYBOX, "true")
    assert result.returncode == 125 and b"lives outside" in result.stderr


def test_twenty_at_once(sampan: Sampan, net: str) -> None:
    names = [f"c{number}" for number in range(20)]
    started = [
        sampan.spawn("run", "-d", "--name", name, "--network", net, *SLEEP, stdout=-3)
        for name in names
    ]
    assert [process.wait(60) for process in started] == [0] * 20
    assert len({address(sampan, name, net) for name in names}) == 20
    row = json.loads(sampan.text("network", "inspect", net))[0]
    assert len(row["Containers"]) == 20
    sampan.text("rm", "-f", "-t", "0", *names)
    assert until(lambda: holder(sampan) == 0, 3)
