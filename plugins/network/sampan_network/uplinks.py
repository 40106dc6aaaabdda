"""The way out of the bridges' namespace: a helper as single containers have it, whose ports come and go."""

from __future__ import annotations

from sampan import files
from sampan_network import helper, slirp, slirp_api

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any


class SlirpUplink:
    """slirp4netns; its socket stays in the holder's directory, which is the user's alone."""

    program = package = "slirp4netns"

    def __init__(self, namespace: int, directory: int) -> None:
        self._namespace, self._directory = namespace, directory
        # of the networks that are tried the last first: users give their own ones the others
        self.subnet = slirp.Subnet(f"{slirp.network(candidates=slirp.NETWORKS[::-1])}.0/24")
        self._start()

    def _start(self) -> None:
        if wrong := helper.missing(self.program, self.package):
            raise helper.unusable(self.program, wrong)
        files.unlink(self._directory, slirp_api.SOCKET)
        words = [
            helper.find(self.program),
            f"--api-socket=/proc/self/fd/4/{slirp_api.SOCKET}",
            *slirp.words(self.subnet, {}),
        ]
        fds = {3: self._namespace, 4: self._directory}
        self._helper: helper.Helper | None = helper.Helper(words, fds, ready=5, leash=6)

    def watched(self) -> Sequence[int]:
        return (self._helper.pidfd,) if self._helper else ()

    def open(self, ports: Iterable[dict[str, Any]]) -> None:
        """Each port has `entry`, where it is delivered, and gets `forward`, the helper's number of it."""
        for port in ports:
            address = self.subnet.address(slirp.ADDRESS)
            port["forward"] = slirp_api.forward(self._directory, port, address, port["entry"])

    def close(self, ports: Iterable[dict[str, Any]]) -> None:
        for port in ports:
            if "forward" in port:
                slirp_api.take_back(self._directory, port.pop("forward"))

    def restart(self, ports: Iterable[dict[str, Any]]) -> None:
        self.end()
        self._start()
        self.open(ports)

    def end(self) -> str:
        ended, self._helper = self._helper, None
        return ended.end() if ended else ""


def start(namespace: int, directory: int, options: Mapping[str, Any]) -> SlirpUplink:
    return SlirpUplink(namespace, directory)
