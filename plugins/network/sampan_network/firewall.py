"""The rules of the members' namespace: through libnftables, which the package nftables brings.

What a member sends is looked at where it enters its bridge (family bridge): only with its own hardware address, its
own addresses, and for no other one's does it get through, whatever capabilities it has in its own namespace, and no
word of it that it is a router; from the unspecified address it may only look whether its own is free, and report its
groups.  Bridges do not reach each other, not even with errors about another's connection; the namespace itself answers
nothing but names.  Ports are maps from the port at which the uplink delivers to a member's address and port; what came
by an interface of its own goes back by it (marks).  What pasta hands over at ::1 gets another source on its way: the
kernel forwards what comes from 127.0.0.0/8 (route_localnet), but nothing that is an answer for ::1.
(nft(8), libnftables(3))
"""

from __future__ import annotations

import _socket
import ctypes

from sampan.errors import SampanError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

LIBRARY = "libnftables.so.1"
NAME_SERVER = "169.254.53.53"  # in the members' namespace, reached through every network's gateway
HERE6 = (
    "fd73:616d:7061::1"  # the members' namespace, where ::1 has no way (RFC 4193, RFC 4291 2.5.3)
)
BASE = f"""
table inet sampan {{
  set bridges {{ type ifname; }}
  set outgoing {{ type ifname; }}
  set within {{ type ifname . ifname; }}
  map tcp4 {{ type inet_service : ipv4_addr . inet_service; }}
  map udp4 {{ type inet_service : ipv4_addr . inet_service; }}
  map tcp6 {{ type inet_service : ipv6_addr . inet_service; }}
  map udp6 {{ type inet_service : ipv6_addr . inet_service; }}
  map marks {{ type ifname : mark; }}
  chain way_back {{
    type filter hook prerouting priority mangle; policy accept;
    ct mark set iifname map @marks
    iifname @bridges ct mark != 0 meta mark set ct mark
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname @bridges return
    meta nfproto ipv4 dnat ip to tcp dport map @tcp4
    meta nfproto ipv4 dnat ip to udp dport map @udp4
    meta nfproto ipv6 dnat ip6 to tcp dport map @tcp6
    meta nfproto ipv6 dnat ip6 to udp dport map @udp6
  }}
  chain leave_loopback {{
    type filter hook output priority raw; policy accept;
    oifname "lo" ip6 saddr ::1 ip6 daddr ::1 ip6 saddr set {HERE6}
  }}
  chain come_back {{
    type filter hook input priority 300; policy accept;
    ip6 saddr ::1 ip6 daddr {HERE6} ip6 daddr set ::1
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    oifname "lo" meta nfproto ipv4 dnat ip to tcp dport map @tcp4
    oifname "lo" meta nfproto ipv4 dnat ip to udp dport map @udp4
    oifname "lo" meta nfproto ipv6 dnat ip6 to tcp dport map @tcp6
    oifname "lo" meta nfproto ipv6 dnat ip6 to udp dport map @udp6
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname @bridges ip saddr 127.0.0.0/8 masquerade
    oifname @bridges ip6 saddr {HERE6} masquerade
    oifname != @bridges oifname != "lo" masquerade
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    iifname != @bridges accept
    ct state established,related accept
    ip daddr {NAME_SERVER} meta l4proto {{ tcp, udp }} th dport 53 accept
    meta l4proto {{ icmp, icmpv6 }} accept
    drop
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname . oifname @within accept
    iifname @bridges oifname @bridges drop
    ct state established,related accept
    iifname @outgoing oifname != @bridges accept
    iifname != @bridges ct status dnat accept
  }}
}}
table bridge sampan {{
  set hardware {{ type ifname . ether_addr; }}
  set four {{ type ifname . ipv4_addr; }}
  set six {{ type ifname . ipv6_addr; }}
  set targets {{ typeof iifname . @th,64,128; }}
  chain prerouting {{
    type filter hook prerouting priority filter; policy drop;
    iifname . ether saddr != @hardware drop
    ether type arp iifname . arp saddr ether != @hardware drop
    ether type arp iifname . arp saddr ip @four accept
    ether type ip iifname . ip saddr @four accept
    ether type != ip6 drop
    ip6 saddr :: icmpv6 type mld2-listener-report accept
    ip6 saddr :: icmpv6 type nd-neighbor-solicit iifname . @th,64,128 @targets accept
    iifname . ip6 saddr != @six drop
    meta l4proto != ipv6-icmp accept
    icmpv6 type {{ nd-router-advert, nd-redirect }} drop
    icmpv6 type != nd-neighbor-advert accept
    iifname . @th,64,128 @targets accept
  }}
}}
"""

# Who asks for names without end is not heard; a kernel without such limits hears everybody (nft(8), dynamic sets).
LIMIT = f"""
add set inet sampan askers {{ type ipv4_addr; size 65536; flags dynamic; timeout 10s; }}
insert rule inet sampan input iifname @bridges ip daddr {NAME_SERVER} udp dport 53 \
  update @askers {{ ip saddr limit rate over 5000/second burst 200 packets }} drop
"""


def missing() -> str:
    """Why the rules cannot be made here; "" if they can."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        return str(error)
    return ""


class Firewall:
    """Rules of the network namespace in which this process is when it makes one."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise UnsupportedError(
                "cannot make a bridge network",
                str(error),
                "an administrator can install the package nftables",
            ) from None
        self._library.nft_ctx_new.restype = ctypes.c_void_p
        self._library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, commands: Iterable[str], *, lenient: bool = False) -> None:
        """All of the commands at once, or none of them; or each for itself, and those that fail do not matter."""
        if lenient:
            for command in commands:
                self._library.nft_run_cmd_from_buffer(self._context, command.encode())
            return
        text = "\n".join(commands)
        if text and self._library.nft_run_cmd_from_buffer(self._context, text.encode()):
            said = self._library.nft_ctx_get_error_buffer(self._context) or b""
            line = next(iter(said.decode(errors="replace").splitlines()), "")
            raise SampanError("cannot set the rules of the bridge networks", line)


def element(verb: str, table: str, name: str, *values: str) -> str:
    """`add element inet sampan outgoing { "sb1" }`; verb: add or delete."""
    return f"{verb} element {table} sampan {name} {{ {', '.join(values)} }}"


def bridge(verb: str, name: str, *, internal: bool) -> list[str]:
    """within: where a host has the module br_netfilter, what a bridge forwards comes by the chain, too."""
    found = [
        element(verb, "inet", "bridges", f'"{name}"'),
        element(verb, "inet", "within", f'"{name}" . "{name}"'),
    ]
    return found if internal else [*found, element(verb, "inet", "outgoing", f'"{name}"')]


def member(verb: str, link: str, mac: str, addresses: Iterable[str]) -> list[str]:
    """What may come in over the link: one hardware address, and these addresses with the link-local one."""
    commands = [element(verb, "bridge", "hardware", f'"{link}" . {mac}')]
    for address in [*addresses, link_local(mac)]:
        name = "six" if ":" in address else "four"
        commands.append(element(verb, "bridge", name, f'"{link}" . {address}'))
        if name == "six":
            number = int.from_bytes(_socket.inet_pton(_socket.AF_INET6, address), "big")
            commands.append(element(verb, "bridge", "targets", f'"{link}" . {number:#x}'))
    return commands


def port(verb: str, published: dict[str, Any]) -> str:
    """published: protocol, `entry` (the port at which the uplink delivers), `address` and `container_port`."""
    family = 6 if ":" in published["address"] else 4
    target = (
        "" if verb == "delete" else f" : {published['address']} . {published['container_port']}"
    )
    return element(
        verb, "inet", f"{published['protocol']}{family}", f"{published['entry']}{target}"
    )


def link_local(mac: str) -> str:
    """The link-local address that the kernel makes of a hardware address (RFC 4291, appendix A)."""
    parts = [int(part, 16) for part in mac.split(":")]
    parts = [parts[0] ^ 2, *parts[1:3], 0xFF, 0xFE, *parts[3:]]
    words = [f"{parts[at] << 8 | parts[at + 1]:x}" for at in range(0, 8, 2)]
    return f"fe80::{':'.join(words)}"
