"""The words of --network."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.errors import UsageError
from sampan.model.network_words import asked, endpoint, parse

NOTHING: dict[str, Any] = {"ip": None, "ip6": None, "mac_address": None, "network_alias": []}


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("", {"network": "auto"}),
        ("default", {"network": "auto"}),
        ("none", {"network": "none"}),
        ("container:x", {"network": "container:x"}),
        ("slirp4netns:mtu=1500,cidr=10.1.0.0/24",
         {"network": "slirp4netns", "network_settings": {"mtu": "1500", "cidr": "10.1.0.0/24"}}),
        ("pasta:--mtu,1500,--no-udp,-I=eth0",
         {"network": "pasta", "network_settings": {"--mtu": "1500", "--no-udp": "", "-I": "eth0"}}),
    ],
)  # fmt: skip
def test_modes(word: str, found: dict[str, Any]) -> None:
    assert parse([word], NOTHING) == found


def test_networks() -> None:
    found = parse(
        ["a,b", "c:ip=10.1.0.2,ip6=fd00::2,mac=02-00-00-00-00-0A,alias=x,alias=y"], NOTHING
    )
    assert found["network"] == "a"
    assert [end["name"] for end in found["networks"]] == ["a", "b", "c"]
    last = found["networks"][2]
    assert (last["ip"], last["ip6"], last["mac"]) == ("10.1.0.2", "fd00::2", "02:00:00:00:00:0a")
    assert last["aliases"] == ["x", "y"]
    docker = parse(["name=d,ip=10.1.0.3,alias=z"], NOTHING)["networks"]
    assert docker == [{**endpoint("d", ip="10.1.0.3"), "aliases": ["z"]}]


def test_options_beside_it() -> None:
    values = {"ip": "10.1.0.2", "ip6": None, "mac_address": None, "network_alias": ["x"]}
    assert parse(["a"], values)["networks"] == [endpoint("a", ip="10.1.0.2", aliases=["x"])]
    for words in (["a", "b"], ["none"], []):
        with pytest.raises(UsageError, match="--ip"):
            parse(words, values)
    both = parse(["a", "b"], {**NOTHING, "network_alias": ["x"]})["networks"]
    assert [end["aliases"] for end in both] == [["x"], ["x"]]


def test_the_settings_are_asked_where_the_command_line_says_nothing() -> None:
    assert asked([], "net", NOTHING)["network"] == "net"
    assert asked([], "", NOTHING) == {"network": "auto"}
    assert asked(["none"], "net", NOTHING) == {"network": "none"}


@pytest.mark.parametrize(
    "words",
    [
        ["none", "a"], ["a", "host"], ["a", "a"], ["a:ip=x"], ["a:ip=fd00::1,ip6=10.0.0.1"], ["a:nosuch=1"],
        ["a:mac=01:00:00:00:00:00"], ["a:mac=02:00"], ["a:alias="], ["a:alias=x y"], ["name=,ip=10.0.0.1"],
        ["a:interface_name=0123456789012345"], ["a:interface_name=lo"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(words, NOTHING)
