"""Where a server listens: HOST:PORT or unix:PATH, and over TLS."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import ssl
import time

from sampan.errors import SampanError, UsageError, from_os_error

BACKLOG = 512
_AGAIN = 3.0  # seconds for workers of a server that was killed to notice it and let go of the port
UNIX = "unix:"
EVERYWHERE = "::"  # IPv4 addresses too


def is_local(address: str) -> bool:
    """Whether only this machine can connect: a unix socket, or a loopback address."""
    return address.startswith(UNIX) or is_loopback(split(address)[0])


def is_loopback(host: str) -> bool:
    """Whether the name or address can be no other machine's, whoever answers for names."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_loopback(header: str) -> bool:
    """Whether a Host header (HOST or HOST:PORT) names this machine by itself."""
    host = header.strip().lower()
    if host.startswith("["):  # an IPv6 address
        return is_loopback(host[1:].partition("]")[0])
    return is_loopback(host.partition(":")[0])


def split(address: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT, [ADDRESS]:PORT or :PORT; without a host it is every address of the machine."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"cannot listen on {address!r}", "it is not HOST:PORT", "or unix:PATH")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError(
            f"cannot listen on {address!r}", "an IPv6 address stands in brackets", "[::1]:5000"
        )
    return host or EVERYWHERE, int(port)


def listen(address: str) -> socket.socket:
    """The listening socket; a unix socket is 0600, and one that nobody serves is replaced."""
    try:
        if address.startswith(UNIX):
            return _listen_unix(address[len(UNIX) :])
        host, port = split(address)
        if host == EVERYWHERE and not socket.has_dualstack_ipv6():
            host = "0.0.0.0"
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, place = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != EVERYWHERE))
        _bind(listener, place)
        listener.listen(BACKLOG)
        return listener
    except OSError as error:
        hint = "choose another with --listen" if error.errno == errno.EADDRINUSE else ""
        raise from_os_error(f"cannot listen on {address}", error, hint) from None


def _bind(listener: socket.socket, place: object) -> None:
    until = time.monotonic() + _AGAIN
    while True:
        try:
            listener.bind(place)  # type: ignore[arg-type]
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                raise
            time.sleep(0.05)


def _listen_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if os.path.exists(path):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        else:
            raise SampanError(f"cannot listen on {path}", "another process serves it")
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


def shown(listener: socket.socket) -> str:
    """HOST:PORT or unix:PATH, as it was found (port 0 picks one)."""
    name = listener.getsockname()
    if isinstance(name, str):
        return UNIX + name
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def tls(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and later with a certificate (PEM, with its chain) and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        raise from_os_error(
            f"cannot use the certificate {certificate} with the key {key}",
            error,
            "both are PEM files",
        ) from None
    return context
