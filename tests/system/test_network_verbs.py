"""network create, ls, inspect, rm, prune: what is made, what is refused, and what it looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from networks import needs
from system_tools import BUSYBOX, Sampan

pytestmark = needs("slirp4netns")


def inspect(sampan: Sampan, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sampan.text("network", "inspect", name))[0]
    return found


def test_what_create_is_told_is_shown(sampan: Sampan) -> None:
    words = (
        "--subnet", "10.123.0.0/24", "--gateway", "10.123.0.254", "--ip-range", "10.123.0.128/26", "--subnet",
        "fd12:3456::/64", "--internal", "--label", "a=b", "--opt", "mtu=1400",
    )  # fmt: skip
    assert sampan.text("network", "create", *words, "full") == "full"
    found = inspect(sampan, "full")
    assert found["Subnets"] == [
        {"subnet": "10.123.0.0/24", "gateway": "10.123.0.254", "lease_range": "10.123.0.128/26"},
        {"subnet": "fd12:3456::/64", "gateway": "fd12:3456::1"},
    ]
    assert found["EnableIPv6"] and found["Internal"] and found["DNSEnabled"]
    assert (found["Labels"], found["Options"]) == ({"a": "b"}, {"mtu": "1400"})
    shown = sampan.text("run", "--rm", "--network", "full", BUSYBOX, "ip", "addr", "show", "eth0")
    assert "mtu 1400" in shown and "inet 10.123.0.128/24" in shown and "fd12:3456::2/64" in shown


def test_lists(sampan: Sampan) -> None:
    sampan.text("network", "create", "--label", "kind=x", "one")
    sampan.text("network", "create", "--label", "kind=y", "two")
    names = sampan.text("network", "ls", "-q").split()
    assert names == ["bridge", "host", "none", "one", "pasta", "slirp4netns", "two"]
    lines = sampan.text("network", "ls").splitlines()
    assert lines[0].split() == ["NETWORK", "ID", "NAME", "DRIVER"]
    identity = inspect(sampan, "one")["Id"]
    assert any(line.split() == [identity[:12], "one", "bridge"] for line in lines)
    rows = json.loads(sampan.text("network", "ls", "--format", "json"))
    assert {row["Name"] for row in rows} == set(names)
    for filters, expected in (
        (("label=kind=x",), "one"), (("label=kind",), "one two"), (("name=^t",), "two"),
        ((f"id={identity[:6]}",), "one"), (("driver=host",), "host"), (("label=kind", "name=two"), "two"),
    ):  # fmt: skip
        words = [word for each in filters for word in ("--filter", each)]
        assert sampan.text("network", "ls", "-q", *words).split() == expected.split(), filters
    assert sampan("network", "ls", "--filter", "x=y").returncode == 125
    assert sampan.text("network", "inspect", "-f", "{{.Name}}", identity[:10]) == "one"
    assert sampan("network", "exists", identity[:10]).returncode == 0


def test_no_two_share_a_subnet(sampan: Sampan) -> None:
    names = [sampan.text("network", "create") for _ in range(4)]
    assert len(set(names)) == 4
    subnets = [inspect(sampan, name)["Subnets"][0]["subnet"] for name in names]
    assert len(set(subnets)) == 4
    result = sampan("network", "create", "--subnet", subnets[0], "again")
    assert result.returncode == 125 and b"is already used on the host" in result.stderr
    assert sampan("network", "exists", "again").returncode == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("none",), b"it is the name of a mode"),
        (("a b",), b"invalid network name"),
        (("--driver", "macvlan", "x"), b"unsupported driver macvlan"),
        (("--driver", "host", "x"), b"unsupported driver host"),
        (("--opt", "nosuch=1", "x"), b"unknown option 'nosuch'"),
        (("--opt", "mtu=big", "x"), b"invalid mtu"),
        (("--subnet", "127.0.0.0/24", "x"), b"already used on the host"),
        (("--subnet", "x", "x"), b"invalid subnet"),
        (("--gateway", "10.1.0.1", "x"), b"it belongs to a --subnet"),
        (("--subnet", "10.77.0.0/24", "--ip-range", "10.78.0.0/26", "x"), b"not in the subnet"),
    ],
)
def test_what_cannot_be_made(sampan: Sampan, words: tuple[str, ...], why: bytes) -> None:
    result = sampan("network", "create", *words)
    assert result.returncode == 125 and why in result.stderr, result.stderr
    assert sampan.text("network", "ls", "-q").split() == [
        "bridge",
        "host",
        "none",
        "pasta",
        "slirp4netns",
    ]


def test_a_name_is_given_once(sampan: Sampan) -> None:
    sampan.text("network", "create", "net")
    result = sampan("network", "create", "net")
    assert result.returncode == 125 and b"network name net already used" in result.stderr
    assert sampan.text("network", "create", "--ignore", "net") == "net"


def test_removing(sampan: Sampan) -> None:
    for name in ("one", "two", "three"):
        sampan.text("network", "create", name)
    sampan.text("run", "-d", "--name", "c", "--network", "one", BUSYBOX, "sleep", "100")
    result = sampan("network", "rm", "one", "two")
    assert result.returncode == 2 and b'"one" has associated containers with it' in result.stderr
    assert result.stdout == b"two\n"
    assert sampan("network", "rm", "nosuch").returncode == 1
    assert sampan("network", "rm", "-f", "nosuch").returncode == 0
    for name in ("bridge", "none"):
        assert b"cannot be removed" in sampan("network", "rm", name).stderr
    assert sampan.text("network", "prune", "-f") == "three"
    assert sampan.text("network", "rm", "-f", "one") == "one"
    assert sampan("container", "exists", "c").returncode == 1


def test_system_prune_takes_them_along(sampan: Sampan) -> None:
    sampan.text("network", "create", "used")
    sampan.text("network", "create", "--label", "keep=no", "unused")
    sampan.text("run", "-d", "--name", "c", "--network", "used", BUSYBOX, "sleep", "100")
    shown = sampan.text("system", "prune", "-f", "--filter", "label=keep=no").splitlines()
    assert shown[:2] == ["Deleted Networks", "unused"]
    assert sampan("network", "exists", "used").returncode == 0


def test_what_was_removed_is_missed_at_the_next_start(sampan: Sampan) -> None:
    sampan.text("network", "create", "net")
    sampan.text("create", "--name", "c", "--network", "net", BUSYBOX, "true")
    result = sampan("network", "rm", "net")
    assert result.returncode == 2  # a container that does not run is on it, too
    result = sampan("run", "--rm", "--network", "nosuch", BUSYBOX, "true")
    assert (
        result.returncode == 125
        and b"unable to find network with name or ID nosuch" in result.stderr
    )


def test_modes_and_networks_do_not_mix(sampan: Sampan) -> None:
    sampan.text("network", "create", "net")
    for words in (("net", "none"), ("slirp4netns", "net"), ("net", "net")):
        options = [word for name in words for word in ("--network", name)]
        assert sampan("run", "--rm", *options, BUSYBOX, "true").returncode == 125
    result = sampan("run", "--rm", "--network", "none", "--ip", "10.1.0.1", BUSYBOX, "true")
    assert result.returncode == 125 and b"--ip" in result.stderr
    result = sampan("run", "--rm", "--network", "bridge", "--network-alias", "x", BUSYBOX, "true")
    assert result.returncode == 125 and b"containers have no names there" in result.stderr


def test_a_namespace_by_path(sampan: Sampan) -> None:
    script = "ip link set lo up; ip addr add 10.77.0.1/24 dev lo; echo up; exec sleep 60"
    process = sampan.spawn("unshare", "unshare", "-n", "sh", "-c", script, stdout=-1)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    path = f"ns:/proc/{process.pid}/ns/net"
    try:
        assert "10.77.0.1/24" in sampan.text(
            "run", "--rm", "--network", path, BUSYBOX, "ip", "addr"
        )
    finally:
        process.kill()
        process.wait()
    for place, why in (
        ("/proc/1/ns/net", b"Permission denied"), ("/etc/passwd", b"it is no namespace"),
        ("/proc/self/ns/net", b"it belongs to the machine"), ("/nosuch", b"No such file"),
    ):  # fmt: skip
        result = sampan("run", "--rm", "--network", f"ns:{place}", BUSYBOX, "true")
        assert result.returncode == 125 and why in result.stderr


def test_the_default_is_what_works(sampan: Sampan) -> None:
    assert "tap0" in sampan.text("run", "--rm", BUSYBOX, "ip", "link")
    shown = sampan.text("run", "-d", "--name", "c", BUSYBOX, "sleep", "100")
    assert sampan.text("inspect", "-f", "{{.HostConfig.NetworkMode}}", shown) == "slirp4netns"


def test_a_build_is_on_a_network(sampan: Sampan, tmp_path: Any) -> None:
    sampan.text("network", "create", "net")
    (tmp_path / "Dockerfile").write_text(f"FROM {BUSYBOX}\nRUN ip -o addr show eth0 > /address\n")
    sampan.text("build", "-q", "--network", "net", "-t", "built", str(tmp_path))
    assert "10.89." in sampan.text("run", "--rm", "built", "cat", "/address")
    sampan.text("rmi", "-f", "built")
