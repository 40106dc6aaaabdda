"""What may be said in the options of a mode, --network MODE:OPTION,...: each value is checked before anything is made.

A check takes the value and tells what is wrong with it, or "".  Loaded only where there are options.
"""

from __future__ import annotations

import ipaddress
import os

from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Check = Callable[[str], str]

INTERFACES = "/sys/class/net"


def check(
    mode: str,
    known: Mapping[str, Check],
    settings: Mapping[str, str],
    refused: Mapping[str, str] | None = None,
) -> None:
    """UsageError: an option that is not known, or a value that it cannot have. refused: {option: why}."""
    for name, value in settings.items():
        told = f"--network {mode}:{name}"
        if refused and name in refused:
            raise UsageError(told, refused[name], "leave it out")
        if name not in known:
            raise UsageError(told, "unknown option", f"known: {', '.join(known)}")
        if wrong := known[name](value):
            between = "," if name.startswith("-") else "="
            raise UsageError(f"{told}{between}{value}" if value else told, wrong)


def one_of(*words: str) -> Check:
    return lambda value: "" if value in words else f"it is {' or '.join(words)}"


def number(lowest: int, highest: int) -> Check:
    def wrong(value: str) -> str:
        good = value.isascii() and value.isdigit() and lowest <= int(value[:9]) <= highest
        return "" if good else f"it is a number from {lowest} to {highest}"

    return wrong


def nothing(value: str) -> str:
    return "it takes no value" if value else ""


def address(*versions: int) -> Check:
    """An address of IPv4 or IPv6, or of either."""

    def wrong(value: str) -> str:
        try:
            good = ipaddress.ip_address(value).version in versions
        except ValueError:
            good = False
        return "" if good else f"it is an address of IPv{' or IPv'.join(map(str, versions))}"

    return wrong


def host_interface(value: str) -> str:
    """An interface of this machine."""
    good = interface_name(value) == "" and os.path.exists(f"{INTERFACES}/{value}")
    return "" if good else "it is an interface of this machine (ip link)"


def interface_name(value: str) -> str:
    """What the kernel takes as it is: `%d` would be a number of its choice."""
    bad = value in (".", "..", "lo") or set(value) & set("/:%") or not value.isascii()
    good = 0 < len(value) <= 15 and value.isprintable() and " " not in value and not bad
    return "" if good else "it is the name of an interface, at most 15 letters"


def either(one: Check, other: Check) -> Check:
    """What one of two checks takes; of what neither takes, both are told."""

    def wrong(value: str) -> str:
        told = one(value), other(value)
        return f"{told[0]}, or {told[1].removeprefix('it is ')}" if all(told) else ""

    return wrong


def subnet(longest: int) -> Check:
    """A network of IPv4, of at most so many bits."""

    def wrong(value: str) -> str:
        try:
            good = "/" in value and 0 < ipaddress.IPv4Network(value).prefixlen <= longest
            good = good and value.partition("/")[2].isdigit()
        except ValueError:
            good = False
        return (
            ""
            if good
            else f"it is a network of IPv4 of at most {longest} bits, such as 10.0.9.0/24"
        )

    return wrong


def netmask(value: str) -> str:
    try:
        ipaddress.IPv4Network(f"0.0.0.0/{value}")
    except ValueError:
        return "it is a number of bits, or a netmask such as 255.255.255.0"
    return ""


def hardware_address(value: str) -> str:
    parts = value.split(":")
    good = len(parts) == 6 and all(
        len(part) == 2 and not set(part) - set("0123456789abcdefABCDEF") for part in parts
    )
    return (
        "" if good and not int(parts[0], 16) & 1 else "it is an address such as 02:00:00:00:00:01"
    )
