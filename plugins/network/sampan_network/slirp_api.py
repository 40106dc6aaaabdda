"""Ports of a slirp4netns, over its socket: one request a connection (slirp4netns(1), API SOCKET)."""

from __future__ import annotations

import _socket

from sampan import jsontext
from sampan.errors import InUseError
from sampan.model.ports import inside, outside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

SOCKET = "slirp"  # in the directory of whoever runs it
PATIENCE = 10.0  # seconds


def forward(directory: int, port: Mapping[str, Any], address: str, number: int) -> int:
    """Publish a port (sampan.model.ports), delivered at this address and port; the forwarding's number."""
    arguments = {
        "proto": port["protocol"],
        "host_addr": port["host_ip"],
        "host_port": port["host_port"],
        "guest_addr": address,
        "guest_port": number,
    }
    answer = _request(directory, {"execute": "add_hostfwd", "arguments": arguments})
    if "return" not in answer:
        raise InUseError(
            f"cannot publish {outside(port)}->{inside(port)}",
            f"slirp4netns: {answer.get('error', {}).get('desc', 'no answer')}",
            "another program may have taken the port just now: start the container again",
        )
    return int(answer["return"]["id"])


def take_back(directory: int, number: int) -> None:
    """One that is gone is no error."""
    _request(directory, {"execute": "remove_hostfwd", "arguments": {"id": number}})


def _request(directory: int, request: dict[str, Any]) -> dict[str, Any]:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.settimeout(PATIENCE)
        sock.connect(f"/proc/self/fd/{directory}/{SOCKET}")
        sock.send(jsontext.dumps(request).encode())
        sock.shutdown(_socket.SHUT_WR)
        answer: dict[str, Any] = jsontext.loads(sock.recv(4096))
        return answer
    except (OSError, ValueError) as error:
        return {"error": {"desc": str(error)}}
    finally:
        sock.close()
