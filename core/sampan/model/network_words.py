"""The words of --network and of the options beside it: a mode, or networks with what is asked of each.

`--network NAME[:KEY=VALUE,...]` is podman's form, `--network name=NAME,KEY=VALUE,...` Docker's long one.
"""

from __future__ import annotations

from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.model.network import Asked, Endpoint

MODES = ("none", "host", "slirp4netns", "slirp", "pasta")
DEFAULT = ("", "auto", "default", "private")
JOINED = ("container:", "ns:")
KEYS = {  # of an endpoint: ours
    "ip": "ip", "ip6": "ip6", "mac": "mac", "mac-address": "mac", "alias": "aliases",
    "interface_name": "interface", "interface-name": "interface",
}  # fmt: skip


def asked(words: list[str], configured: str, values: dict[str, Any]) -> Asked:
    """What the command line says, or the settings."""
    return parse(words or [configured], values)


def parse(words: list[str], values: dict[str, Any]) -> Asked:
    """What is asked; the network "auto" is the default's.

    values: the options ip, ip6, mac_address and network_alias, which stand for the one network that is named.
    """
    words = [part for word in words or [""] for part in _split(word)]
    given = {key: values.get(key) for key in ("ip", "ip6", "mac_address", "network_alias")}
    first, _, rest = words[0].partition(":")
    if first in DEFAULT or first in MODES or words[0].startswith(JOINED):
        if len(words) > 1:
            raise UsageError(
                f"--network {','.join(words)}", f"{words[0]} is no network that others go with"
            )
        return _mode(words[0], first, rest, given)
    found = [_endpoint(word) for word in words]
    for name in {end["name"] for end in found}:
        if name in MODES or name in DEFAULT or name.startswith(JOINED):
            raise UsageError(f"--network {name}", "it is no network that others go with")
        if sum(end["name"] == name for end in found) > 1:
            raise UsageError(f"--network {name}", "it is named twice")
    _give(found, given)
    return {"network": found[0]["name"], "networks": found}


def words(options: Any) -> list[str]:
    """The words that ask for what a container has (RunOptions)."""
    if settings := options.get("network_settings"):
        pairs = [f"{key}={value}" for key, value in settings.items()]
        return [f"{options['network']}:{','.join(pairs)}"]
    if "networks" not in options:
        return [options["network"]]
    found: list[str] = []
    for end in options["networks"]:
        pairs = [f"{key}={end[key]}" for key in ("ip", "ip6", "mac") if end[key]]
        pairs += [f"alias={alias}" for alias in end["aliases"]]
        pairs += [f"interface_name={end['interface']}"] if end["interface"] else []
        found.append(f"{end['name']}:{','.join(pairs)}" if pairs else end["name"])
    return found


def _split(word: str) -> list[str]:
    """`a,b` is two networks; after a colon, and in the long form, commas part options."""
    if ":" in word or word.startswith("name="):
        return [word]
    return word.split(",")


def _mode(word: str, name: str, rest: str, given: dict[str, Any]) -> Asked:
    for key, value in given.items():
        if value:
            raise UsageError(
                f"--{key.replace('_', '-')}",
                f"the network {name or 'of the default'} gives a container its address",
                "--network NAME, a network of sampan network create, or bridge",
            )
    if name in DEFAULT:
        return {"network": "auto"}
    if word.startswith(JOINED):
        return {"network": word}
    if not rest:
        return {"network": name}
    return {"network": name, "network_settings": settings(rest)}


def settings(text: str) -> dict[str, str]:
    """Of `mtu=1500,cidr=...`, or of `--mtu,1500,--no-udp`: {option: value}."""
    found: dict[str, str] = {}
    flag = ""
    for word in text.split(","):
        if flag and not word.startswith("-"):
            found[flag], flag = word, ""
        elif word.startswith("-") and "=" not in word:
            flag = word
            found[flag] = ""
        else:
            key, _, value = word.partition("=")
            found[key], flag = value, ""
    return found


def _endpoint(word: str) -> Endpoint:
    if word.startswith("name="):
        name, _, rest = word.removeprefix("name=").partition(",")
    else:
        name, _, rest = word.partition(":")
    if not name:
        raise UsageError(f"invalid --network {word!r}", "it names no network")
    end = endpoint(name)
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or key not in KEYS:
            raise UsageError(
                f"--network {word}", f"unknown option {key!r}", f"known: {', '.join(KEYS)}"
            )
        _set(end, KEYS[key], value)
    return end


def endpoint(
    name: str,
    *,
    ip: str = "",
    ip6: str = "",
    mac: str = "",
    aliases: list[str] | None = None,
) -> Endpoint:
    """An end of a network, its addresses checked."""
    end: Endpoint = {
        "id": "", "name": name, "named": False, "ip": "", "ip6": "", "mac": "", "aliases": [], "interface": "",
    }  # fmt: skip
    for key, value in (("ip", ip), ("ip6", ip6), ("mac", mac)):
        if value:
            _set(end, key, value)
    for alias in aliases or []:
        _set(end, "aliases", alias)
    return end


def _set(end: Endpoint, key: str, value: str) -> None:
    if key == "ip6" or (key == "ip" and ":" in value):
        end["ip6"] = _address(value, 6)
    elif key == "ip":
        end["ip"] = _address(value, 4)
    elif key == "mac":
        end["mac"] = _mac(value)
    elif key == "aliases":
        if not value or set(value) & set(" \t\n/,"):
            raise UsageError(f"invalid network alias {value!r}")
        end["aliases"].append(value)
    else:
        if (
            not value
            or len(value) > 15
            or set(value) & set(" /:\t\n")
            or value in ("lo", ".", "..")
        ):
            raise UsageError(f"invalid interface name {value!r}", "", "at most 15 letters")
        end["interface"] = value


def _give(found: list[Endpoint], given: dict[str, Any]) -> None:
    for key, value in given.items():
        if not value:
            continue
        if len(found) > 1 and key != "network_alias":
            raise UsageError(
                f"--{key.replace('_', '-')}",
                "it can be set only for a single network",
                "--network NAME:ip=ADDRESS,mac=ADDRESS says it of each",
            )
        for end in found:
            if key == "network_alias":
                for alias in value:
                    _set(end, "aliases", alias)
            else:
                _set(end, {"mac_address": "mac"}.get(key, key), value)


def _address(text: str, family: int) -> str:
    import ipaddress

    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise UsageError(f"invalid address {text!r}", f"it is no IPv{family} address") from None
    if found.version != family:
        raise UsageError(f"invalid address {text!r}", f"it is no IPv{family} address")
    return str(found)


def _mac(text: str) -> str:
    parts = text.replace("-", ":").lower().split(":")
    digits = set("0123456789abcdef")
    if len(parts) != 6 or any(len(part) != 2 or set(part) - digits for part in parts):
        raise UsageError(f"invalid MAC address {text!r}", "", "such as 02:00:00:00:00:01")
    if int(parts[0], 16) & 1:
        raise UsageError(f"invalid MAC address {text!r}", "it is a multicast address")
    return ":".join(parts)
