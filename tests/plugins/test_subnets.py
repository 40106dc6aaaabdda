"""Subnets of networks, and the addresses that are given out of them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import InUseError, UsageError
from sampan_network import subnets
from sampan_network.subnets import Pool


def asked(subnet: str, gateway: str = "", range: str = "") -> dict[str, str]:
    return {"subnet": subnet, "gateway": gateway, "range": range}


def test_a_free_subnet_is_chosen() -> None:
    assert subnets.settle([], False, [])[0]["subnet"] == "10.89.0.0/24"
    taken = ["10.89.0.0/24", "10.89.1.128/25", "10.89.2.7/32"]
    assert subnets.settle([], False, taken)[0]["subnet"] == "10.89.3.0/24"
    assert subnets.settle([], False, ["10.0.0.0/8"])[0]["subnet"] == "192.168.200.0/24"
    with pytest.raises(InUseError, match="no subnet is free"):
        subnets.settle([], False, ["10.0.0.0/8", "192.168.0.0/16"])


def test_ipv6_is_a_unique_local_subnet() -> None:
    four, six = subnets.settle([], True, [])
    assert ":" not in four["subnet"]
    net = ipaddress.IPv6Network(six["subnet"])
    assert net.prefixlen == 64 and net.subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert six["gateway"] == str(net[1])
    assert subnets.settle([], True, [])[1]["subnet"] != six["subnet"]


def test_what_is_asked_for_is_kept() -> None:
    found = subnets.settle([asked("10.5.0.9/24", "10.5.0.254", "10.5.0.64/26")], False, [])
    assert found == [asked("10.5.0.0/24", "10.5.0.254", "10.5.0.64/26")]
    both = subnets.settle([asked("10.5.0.0/24"), asked("fd12::/64")], True, [])
    assert [row["gateway"] for row in both] == ["10.5.0.1", "fd12::1"]
    alone = subnets.settle([asked("fd12::/64")], False, [])
    assert [row["subnet"] for row in alone] == ["10.89.0.0/24", "fd12::/64"]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (asked("10.5.0/24"), "invalid subnet"),
        (asked("10.5.0.0/31"), "no room"),
        (asked("10.5.0.0/24", "10.6.0.1"), "not in the subnet"),
        (asked("10.5.0.0/24", "10.5.0.0"), "first or the last"),
        (asked("10.5.0.0/24", "x"), "no address"),
        (asked("10.5.0.0/24", "", "10.6.0.0/26"), "not in the subnet"),
        (asked("10.5.0.0/24", "", "10.5.0.9-10.5.0.3"), "ends before"),
        (asked("10.5.0.0/24", "", "fd00::/120"), "not in the subnet"),
    ],
)
def test_what_cannot_be_is_refused(row: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        subnets.settle([row], False, [])


def test_a_subnet_in_use_and_two_of_a_family_are_refused() -> None:
    with pytest.raises(InUseError, match="already used on the host"):
        subnets.settle([asked("192.0.2.0/25")], False, ["192.0.2.0/24"])
    with pytest.raises(UsageError, match="two subnets of one family"):
        subnets.settle([asked("10.5.0.0/24"), asked("10.6.0.0/24")], False, [])


def test_an_address_that_was_given_back_comes_last() -> None:
    pool = Pool({"subnet": "10.5.0.0/29", "gateway": "10.5.0.1", "range": ""})
    assert [pool.take() for _ in range(3)] == ["10.5.0.2", "10.5.0.3", "10.5.0.4"]
    pool.give_back("10.5.0.2")
    assert [pool.take() for _ in range(3)] == ["10.5.0.5", "10.5.0.6", "10.5.0.2"]
    with pytest.raises(InUseError, match="no address"):
        pool.take()


def test_a_wanted_address_is_had_once() -> None:
    pool = Pool({"subnet": "10.5.0.0/24", "gateway": "10.5.0.1", "range": "10.5.0.100-10.5.0.101"})
    assert pool.take("10.5.0.7") == "10.5.0.7"
    for word, why in (("10.5.0.7", "a container has it"), ("10.5.0.1", "the gateway has it")):
        with pytest.raises(InUseError, match=why):
            pool.take(word)
    for word in ("10.5.1.7", "10.5.0.255", "fd00::1"):
        with pytest.raises(UsageError):
            pool.take(word)
    assert [pool.take(), pool.take()] == ["10.5.0.100", "10.5.0.101"]


@given(st.integers(20, 29), st.lists(st.integers(0, 40), max_size=40))
def test_no_address_is_given_twice(prefix: int, steps: list[int]) -> None:
    net = ipaddress.IPv4Network(f"10.5.0.0/{prefix}")
    pool = Pool({"subnet": str(net), "gateway": str(net[1]), "range": ""})
    held: list[str] = []
    for step in steps:
        if step % 3 == 0 and held:
            pool.give_back(held.pop(step % len(held)))
            continue
        try:
            word = pool.take()
        except InUseError:
            assert len(held) == net.num_addresses - 3
            continue
        assert word not in held and word != str(net[1])
        assert ipaddress.IPv4Address(word) in net
        held.append(word)
