"""The options of --network slirp4netns:OPTION=VALUE,...: podman's (podman-run(1))."""

from __future__ import annotations

from sampan.errors import UsageError
from sampan_network import settings as words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def _port_handler(value: str) -> str:
    if value == "rootlesskit":
        return (
            "it would hide the addresses of those who connect, so sampan has it not: leave it out"
        )
    return words.one_of("slirp4netns")(value)


KNOWN = {
    "allow_host_loopback": words.one_of("true", "false"),
    "mtu": words.number(68, 65521),
    "cidr": words.subnet(25),
    "enable_ipv6": words.one_of("true", "false"),
    "outbound_addr": words.either(words.address(4), words.host_interface),
    "outbound_addr6": words.either(words.address(6), words.host_interface),
    "port_handler": _port_handler,
}


def check(settings: Mapping[str, str]) -> None:
    words.check("slirp4netns", KNOWN, settings)
    if settings.get("enable_ipv6") == "false" and "outbound_addr6" in settings:
        raise UsageError("--network slirp4netns:outbound_addr6", "it needs enable_ipv6=true")
