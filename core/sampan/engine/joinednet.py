"""`--network container:NAME` and `ns:PATH`: a network that is connected already, and not ours to change."""

from __future__ import annotations

import errno
import os

from sampan.errors import SampanError, UnsupportedError
from sampan.linux import userns
from sampan.model.isolation import PATH
from sampan.model.plain_network import PlainNetwork


class JoinedNetwork(PlainNetwork):
    name = "container"
    namespace = "container"


def owner(network: str) -> int:
    """A descriptor of the user namespace that owns the network namespace of `ns:PATH` (ioctl_ns(2)).

    Only who is root of it may join.
    """
    import fcntl

    path = network.removeprefix(PATH)
    what = f"cannot join the network namespace {path}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        hint = "it is the process of another user" if error.errno == errno.EACCES else ""
        raise SampanError(what, error.strerror or str(error), hint) from None
    try:
        found = fcntl.ioctl(fd, userns.GET_OWNER)
        if os.path.samestat(os.fstat(found), os.stat("/proc/self/ns/user")):
            raise UnsupportedError(
                what, "it belongs to the machine", "--network host shares the machine's own"
            )
        return found
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES):
            raise SampanError(what, "it is no namespace", "such as /proc/PID/ns/net") from None
        raise UnsupportedError(
            what,
            "it belongs to a user namespace that is not this user's",
            "sampan unshare unshare -n makes one that is",
        ) from None
    finally:
        os.close(fd)
