"""What a machine routes, and the network of slirp4netns that keeps clear of it: in network namespaces of our own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from inside import as_root
from sampan.errors import UnsupportedError
from sampan.linux import interfaces, libc
from sampan_network import slirp

INTERFACES = ("lo", "d0", "d1")


def ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def with_routes(action: Callable[[], Any], *lines: str) -> Any:
    """What `action` gives on a machine that has an interface d0 and what these lines of ip(8) make."""

    def run() -> Any:
        libc.unshare(libc.CLONE_NEWNET)
        ip(
            "link add d0 type veth peer name d1",
            *(f"link set {name} up" for name in INTERFACES),
            *lines,
        )
        return action()

    return as_root(run)


def test_this_machine_is_as_ip_shows_it() -> None:
    shown = subprocess.run(
        ["ip", "-4", "route", "show", "table", "all"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    kinds = ("local", "broadcast", "unreachable", "blackhole", "prohibit")
    words = [row.split()[row.split()[0] in kinds] for row in shown]
    networks = {word if "/" in word else f"{word}/32" for word in words if word != "default"}
    assert set(interfaces.routed()) == networks


def test_every_table_and_no_default_route() -> None:
    found = with_routes(
        interfaces.routed,
        "address add 10.7.0.5/24 dev d0",
        "address add 10.8.0.1/32 dev d1",
        "route add default via 10.7.0.1",
        "route add 0.0.0.0/1 via 10.7.0.1",
        "route add 128.0.0.0/1 via 10.7.0.1",
        "route add 100.64.0.0/10 dev d0 table 52",
        "route add unreachable 10.99.0.0/16",
    )
    assert {"10.7.0.0/24", "10.8.0.1/32", "100.64.0.0/10", "10.99.0.0/16"} <= set(found)
    assert not [word for word in found if word.endswith(("/0", "/1"))]


def test_many_routes_take_several_answers() -> None:
    networks = [f"10.{second}.{third}.0/24" for second in range(20) for third in range(100)]
    found = with_routes(interfaces.routed, *(f"route add {word} dev d0" for word in networks))
    assert set(networks) <= set(found)


@pytest.mark.parametrize(
    ("lines", "chosen"),
    [
        ([], "10.0.2"),
        (["route add 10.1.0.0/16 dev d0", "route add 10.0.3.0/24 dev d0"], "10.0.2"),
        (["address add 10.0.2.5/24 dev d0"], "10.0.3"),
        (["address add 10.0.2.5/32 dev d0"], "10.0.3"),
        (["route add 10.0.2.128/25 dev d0", "route add 10.0.3.7 dev d0"], "10.0.4"),
        (["route add 10.0.2.0/24 dev d0 table 52"], "10.0.3"),
        (["route add 10.0.0.0/8 dev d0"], "172.31.200"),
        (["route add 10.0.0.0/8 dev d0", "route add 172.16.0.0/12 dev d0"], "192.168.200"),
        (
            ["route add 10.0.0.0/8 dev d0", "route add 172.16.0.0/12 dev d0", "route add 192.168.0.0/16 dev d0"],
            "198.18.200",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_network_of_slirp4netns_overlaps_no_route(lines: list[str], chosen: str) -> None:
    assert with_routes(slirp.network, *lines) == chosen


def test_candidates_are_tried_in_their_order() -> None:
    wanted = ["198.18.9", "10.0.9"]
    assert with_routes(lambda: slirp.network(wanted)) == "198.18.9"
    assert with_routes(lambda: slirp.network(wanted), "route add 198.18.0.0/16 dev d0") == "10.0.9"


def test_where_everything_is_routed_the_other_ways_are_named() -> None:
    def refused() -> str:
        with pytest.raises(UnsupportedError) as caught:
            slirp.network()
        return str(caught.value)

    networks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15"]
    told = with_routes(refused, *(f"route add {word} dev d0" for word in networks))
    assert "--network pasta" in told and "cidr=" in told and "\n" not in told


def test_one_backend_has_one_network() -> None:
    """What /etc/resolv.conf names is what the helper answers at, also when a route has come in between."""

    def twice() -> tuple[str, ...]:
        backend = slirp.SlirpBackend()
        before = backend.name_servers({})
        ip("address add 10.0.2.5/24 dev d0")
        return (*before, backend.subnet({}).cidr, *slirp.SlirpBackend().name_servers({}))

    assert with_routes(twice) == ("10.0.2.3", "10.0.2.0/24", "10.0.3.3")


def test_a_named_network_is_taken_as_it_is() -> None:
    backend = slirp.SlirpBackend()
    settings = {"cidr": "10.0.7.128/25"}
    assert backend.name_servers(settings) == ("10.0.7.131",)
    assert backend.subnet(settings).address(slirp.ADDRESS) == "10.0.7.228"
