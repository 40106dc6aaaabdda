"""The words of published ports, and how lists of them are shown."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.errors import UnsupportedError, UsageError
from sampan.model import ports


def port(inside: int, outside: int = 0, address: str = "", protocol: str = "tcp") -> dict[str, Any]:
    return {
        "host_ip": address,
        "host_port": outside,
        "container_port": inside,
        "protocol": protocol,
    }


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("80", [port(80)]),
        ("80/udp", [port(80, protocol="udp")]),
        ("8080:80", [port(80, 8080)]),
        ("0:80", [port(80)]),
        (":80", [port(80)]),
        ("127.0.0.1:8080:80", [port(80, 8080, "127.0.0.1")]),
        ("127.0.0.1::80/TCP", [port(80, 0, "127.0.0.1")]),
        ("[::1]:8080:80", [port(80, 8080, "::1")]),
        ("[::1]::80", [port(80, 0, "::1")]),
        ("[0::1]:80", [port(80, 0, "::1")]),
        ("8000-8001:80-81/udp", [port(80, 8000, protocol="udp"), port(81, 8001, protocol="udp")]),
        ("80-81", [port(80), port(81)]),
    ],
)
def test_words(word: str, found: list[dict[str, Any]]) -> None:
    assert ports.parse([word]) == found


@pytest.mark.parametrize(
    "word",
    ["", "x", "0", "65536", "1-65536", "81-80", "8080:", "-80", "80-", "80:80:80:80", "::1:80:80", "[::1:80", "1-3:1-2",
     "999999", "²", "300.0.0.1:80:80", "80/tcp/udp"],
)  # fmt: skip
def test_words_that_are_none(word: str) -> None:
    with pytest.raises(UsageError):
        ports.parse([word])


def test_sctp_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="SCTP"):
        ports.parse(["80/sctp"])


def test_one_port_is_not_given_twice() -> None:
    assert ports.parse(["8080:80", "8080:80"]) == [port(80, 8080)]
    assert ports.parse(["80", "80"]) == [port(80), port(80)]
    for other in ("8080:81", "127.0.0.1:8080:80"):
        with pytest.raises(UsageError, match="conflicting port mappings for host port 8080"):
            ports.parse(["8080:80", other])
    apart = ["127.0.0.1:8080:80", "127.0.0.2:8080:80", "127.0.0.1:8080:80/udp", "[::1]:8080:80"]
    assert len(ports.parse(apart)) == 4


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("::", "::1", True),
        ("0.0.0.0", "::", False),
        ("", "::1", True),
    ],
)
def test_overlaps(one: str, other: str, clash: bool) -> None:
    assert ports.overlap(port(80, 1, one), port(81, 1, other)) is clash
    assert ports.overlap(port(80, 1, other), port(81, 1, one)) is clash
    assert not ports.overlap(port(80, 1, one), port(80, 1, other, "udp"))


def test_lists_are_shown_as_podman_does() -> None:
    found = ports.parse(["8080-8082:80-82", "127.0.0.1:53:53/udp", "[::1]:9:9", "90:83"])
    assert ports.shown(found) == (
        "0.0.0.0:8080-8082->80-82/tcp, 127.0.0.1:53->53/udp, [::1]:9->9/tcp, 0.0.0.0:90->83/tcp"
    )
    assert ports.bindings(found[:1], ["80/tcp", "99/udp"]) == {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
        "99/udp": None,
    }


def test_what_is_exposed() -> None:
    assert ports.exposed(["80", "53/udp", "90-91", "80/tcp"]) == [
        "80/tcp",
        "53/udp",
        "90/tcp",
        "91/tcp",
    ]
    with pytest.raises(UsageError):
        ports.exposed(["8080:80"])
