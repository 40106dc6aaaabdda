"""A container's /etc/resolv.conf: made of the host's, and made again when that changes while the container runs."""

from __future__ import annotations

import os

from sampan import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.drivers import NetworkBackend
    from sampan.model.container import RunOptions

CONF = "/etc/resolv.conf"
UPLINK = "/run/systemd/resolve/resolv.conf"  # the servers behind systemd-resolved's stub


def text(options: RunOptions, network: NetworkBackend) -> str:
    """/etc/resolv.conf: the host's, but no server that only the host reaches, and the network's own servers first."""
    lines = [] if network.name == "none" else files.read_text(CONF).splitlines()
    servers = network.name_servers(options.get("network_settings", {}))
    alone = bool(servers) and network.networks  # its server asks the host's, from the host's side
    if network.namespace != "host":
        if (
            not alone and lines and all(map(_is_loopback, _servers(lines)))
        ):  # systemd-resolved's stub: what it asks
            asked = _servers(files.read_text(UPLINK).splitlines())
            lines += [line for line in asked if not _is_loopback(line)]
        lines = [
            *(f"nameserver {address}" for address in servers),
            *(line for line in lines if not (_is_loopback(line) or (alone and _servers([line])))),
        ]
    if options["dns_search"]:
        lines = [line for line in lines if not line.startswith(("search", "domain"))]
        lines.insert(0, "search " + " ".join(d for d in options["dns_search"] if d != "."))
    named = any(end.get("named") for end in options.get("networks", []))
    if options["dns"] and not named:  # where containers have names, the network's server asks these
        lines = [line for line in lines if not line.startswith("nameserver")]
        lines += [f"nameserver {address}" for address in options["dns"]]
    if named and not options["dns_options"]:  # a name of one word is a container's first
        lines = [*(line for line in lines if not line.startswith("options")), "options ndots:0"]
    if options["dns_options"]:
        lines = [line for line in lines if not line.startswith("options")]
        lines.append("options " + " ".join(options["dns_options"]))
    return "".join(line + "\n" for line in lines)


def _servers(lines: list[str]) -> list[str]:
    return [line for line in lines if line.split()[:1] == ["nameserver"]]


def _is_loopback(line: str) -> bool:
    """Whether a line of resolv.conf(5) names a server on a loopback interface."""
    words = line.split()
    return words[:1] == ["nameserver"] and words[-1].startswith(("127.", "::1", "0.0.0.0"))


class Follower:
    """`fd` can be read when a directory changes in which the host's file, or what it is a link to, lies."""

    def __init__(self, bundle_fd: int, options: RunOptions, network: NetworkBackend) -> None:
        from sampan.linux import inotify

        self._bundle_fd, self._options, self._network = bundle_fd, options, network
        self._last = text(options, network)
        places = {os.path.dirname(CONF), os.path.dirname(os.path.realpath(CONF))}
        places |= {os.path.dirname(UPLINK)} if os.path.exists(UPLINK) else set()
        self.fd = inotify.watch(sorted(places), inotify.CHANGED)

    def handle(self) -> None:
        """The file is mounted in the container, so it is written over; what somebody else has written there stays."""
        from sampan.linux import inotify

        inotify.drain(self.fd)
        new = text(self._options, self._network)
        if new == self._last:
            return
        etc = files.open_directory("etc", dir_fd=self._bundle_fd)
        fd = os.open("resolv.conf", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=etc)
        try:
            if os.read(fd, 1 << 20) == os.fsencode(self._last):
                os.ftruncate(fd, 0)
                os.lseek(fd, 0, os.SEEK_SET)
                files.write_all(fd, os.fsencode(new))
                self._last = new
        finally:
            os.close(fd)
            os.close(etc)
