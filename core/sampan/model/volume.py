"""A volume as a value: what its record says, and its directory."""

from __future__ import annotations

from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
MAX_NAME = 255  # it is a file name


class Volume:
    """fd: a descriptor of the volume's own directory. anonymous: it was made for a container that gave no name."""

    __slots__ = ("anonymous", "created", "driver", "fd", "labels", "name", "options")

    def __init__(
        self,
        name: str,
        driver: str,
        options: Mapping[str, str],
        labels: Mapping[str, str],
        created: str,
        *,
        anonymous: bool,
        fd: int = -1,
    ) -> None:
        self.name, self.driver, self.created, self.fd = name, driver, created, fd
        self.options, self.labels, self.anonymous = dict(options), dict(labels), anonymous


def check_name(name: str) -> str:
    """The name, if it is one: [a-zA-Z0-9][a-zA-Z0-9_.-]*."""
    if not name or name[0] not in LETTERS or set(name) - LETTERS - set("_.-"):
        raise UsageError(
            f"invalid volume name {name!r}",
            "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
        )
    if len(name) > MAX_NAME:
        raise UsageError(
            f"invalid volume name {name[:20]!r}...", f"{len(name)} letters are too many"
        )
    return name
