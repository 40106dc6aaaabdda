"""The options of --network pasta:OPTION,VALUE,...: pasta's own (passt(1)), those that keep the container's bounds.

Files, descriptors, other namespaces and the user that it runs as are the engine's; ports are published with -p; the
families that it connects are the machine's, since `port` and `inspect` tell them.  What opens the machine's loopback
interface to the container, or some ports of it, is for whoever names it.
"""

from __future__ import annotations

from sampan_network import settings as words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SHORT = {
    "-m": "--mtu", "-I": "--ns-ifname", "-a": "--address", "-n": "--netmask", "-g": "--gateway", "-M": "--mac-addr",
    "-i": "--interface", "-o": "--outbound", "-T": "--tcp-ns", "-U": "--udp-ns", "-t": "--tcp-ports",
    "-u": "--udp-ports", "-4": "--ipv4-only", "-6": "--ipv6-only",
}  # fmt: skip


def _ports(value: str) -> str:
    """`none`, `auto`, or a port or a range of the container, after a colon those of the machine if they differ."""
    ends = [end for part in value.split(":", 1) for end in part.split("-", 1)]
    good = value in ("none", "auto") or not any(map(words.number(1, 65535), ends))
    return "" if good else "it is none, auto or ports, such as 5432, 5432:6432 or 8000-8010"


KNOWN = {
    "--mtu": words.number(68, 65520),
    "--ns-ifname": words.interface_name,
    "--address": words.address(4, 6),
    "--netmask": words.netmask,
    "--gateway": words.address(4, 6),
    "--interface": words.host_interface,
    "--outbound": words.address(4, 6),
    "--outbound-if4": words.host_interface,
    "--outbound-if6": words.host_interface,
    "--mac-addr": words.hardware_address,
    "--ns-mac-addr": words.hardware_address,
    "--dns-forward": words.address(4, 6),
    **dict.fromkeys(
        ("--no-tcp", "--no-udp", "--no-icmp", "--no-dhcp", "--no-ndp", "--no-dhcpv6", "--no-ra"),
        words.nothing,
    ),
    "--map-gw": words.nothing,
    "--tcp-ns": _ports,
    "--udp-ns": _ports,
}
REFUSED = {
    **dict.fromkeys(("--tcp-ports", "--udp-ports"), "ports are published with -p"),
    **dict.fromkeys(
        ("--ipv4-only", "--ipv6-only"), "ports are published for each family that the machine has"
    ),
}


def named(settings: Mapping[str, str]) -> dict[str, str]:
    """Each option by its long name."""
    return {SHORT.get(option, option): value for option, value in settings.items()}


def check(settings: Mapping[str, str]) -> None:
    words.check("pasta", KNOWN, named(settings), REFUSED)
