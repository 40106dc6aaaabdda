"""A container's /etc/hosts: what was asked for, the entries of a base file, this machine, and the container itself."""

from __future__ import annotations

import os

from sampan import files
from sampan.errors import SampanError
from sampan.linux import paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import NetworkBackend
    from sampan.model.container import Record
    from sampan.settings import Settings

MACHINE = "host.containers.internal host.docker.internal"  # podman's and Docker's name of it
NOWHERE = "127.0.1.1"  # the container's own names, while it has no address
LOCAL = (
    "127.0.0.1\tlocalhost localhost.localdomain localhost4 localhost4.localdomain4",
    "::1\tlocalhost localhost.localdomain localhost6 localhost6.localdomain6",
)


def text(
    bundle_fd: int, record: Record, hostname: str, network: NetworkBackend, settings: Settings
) -> str:
    """The whole file. Names that the base file has are not given again, as podman has it."""
    asked = record["options"]["add_hosts"]
    lines = [f"{_address(word, name, network)}\t{name}" for word, name in asked]
    shared = network.namespace == "host"
    base = _base(bundle_fd, settings, "/etc/hosts" if shared else "none")
    known = {name for line in base for name in line.split("#", 1)[0].split()[1:]}
    lines += base
    if not shared:
        if "localhost" not in known:
            lines += LOCAL
        machine = settings.host_containers_internal_ip or network.host_address()
        if machine and not known.intersection(MACHINE.split()):
            lines.append(f"{machine}\t{MACHINE}")
    if not known.intersection((hostname, record["name"])) or not settings.base_hosts_file:
        lines.append(f"{NOWHERE}\t{_own_names(hostname, record['name'])}")
    return "\n".join(lines) + "\n"


def _base(bundle_fd: int, settings: Settings, usual: str) -> list[str]:
    """The lines of the file with which every container's begins."""
    place = settings.base_hosts_file or usual
    if place == "none":
        return []
    if place == "image":
        root = os.open("rootfs", paths.O_PATH | os.O_DIRECTORY, dir_fd=bundle_fd)
        try:
            found = paths.read_in_root(root, "/etc/hosts") or b""
        finally:
            os.close(root)
        return found.decode(errors="replace").splitlines()
    return files.read_text(place).splitlines()


def tell_addresses(bundle_fd: int, hostname: str, name: str, attachment: dict[str, Any]) -> None:
    """Put the addresses in place of those that stand there: the file is mounted, so it is kept."""
    names = _own_names(hostname, name)
    networks: dict[str, Any] = attachment.get("networks", {})
    addresses: list[str] = [] if "networks" in attachment else [attachment["address"]]
    for network in networks.values():
        addresses += [row[0] for row in network["addresses"]]
    etc = files.open_directory("etc", dir_fd=bundle_fd)
    fd = os.open("hosts", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=etc)
    try:
        lines = os.read(fd, 1 << 20).splitlines()
        ours = os.fsencode(f"\t{names}")
        kept = [line for line in lines if not line.endswith(ours)]
        if len(kept) == len(lines):
            return  # others have the names
        kept += [os.fsencode(address) + ours for address in addresses or [NOWHERE]]
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        files.write_all(fd, b"".join(line + b"\n" for line in kept))
    finally:
        os.close(fd)
        os.close(etc)


def _own_names(hostname: str, name: str) -> str:
    return f"{hostname} {name}"  # both, also where they are one, as podman has it


def _address(word: str, name: str, network: NetworkBackend) -> str:
    """What --add-host NAME:ADDRESS names; `host-gateway` is this machine as the container reaches it."""
    if word != "host-gateway":
        return word
    found = network.host_address()
    if not found:
        raise SampanError(
            f"cannot add host {name}:host-gateway",
            f"the network {network.name} does not reach this machine",
            "--network slirp4netns does, at the machine's own address",
        )
    return found
