"""Which proxy a request takes: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in either letter
case.

NO_PROXY holds hosts, .domains, addresses, CIDR ranges, each with an optional :PORT, or `*`.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit


def proxy_for(scheme: str, netloc: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The proxy's URL, None for a direct connection. This machine is always reached directly."""
    variables = os.environ if environment is None else environment
    parts = urlsplit(f"{scheme}://{netloc}")
    host = (parts.hostname or "").lower()
    port = parts.port or (443 if scheme == "https" else 80)
    chosen = ""
    for name in (f"{scheme}_proxy", "all_proxy"):
        chosen = chosen or variables.get(name) or variables.get(name.upper()) or ""
    if not chosen or _is_local(host):
        return None
    exceptions = variables.get("no_proxy") or variables.get("NO_PROXY") or ""
    if any(_covers(word.strip().lower(), host, port) for word in exceptions.split(",")):
        return None
    return chosen if "://" in chosen else f"http://{chosen}"


def _is_local(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _covers(word: str, host: str, port: int) -> bool:
    if not word:
        return False
    if word == "*":
        return True
    address = _address(host)
    if "/" in word:
        try:
            return address is not None and address in ipaddress.ip_network(word, strict=False)
        except ValueError:
            return False
    name, colon, wanted = word.rpartition(":")
    if colon and wanted.isdigit() and (":" not in name or name.endswith("]")):
        if int(wanted) != port:
            return False
        word = name
    if address is not None:
        return _address(word) == address
    word = word.lstrip("*").strip("[]")
    return host == word.lstrip(".") or host.endswith(f".{word.lstrip('.')}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None
