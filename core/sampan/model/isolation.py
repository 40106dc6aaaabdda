"""Which namespaces a container has of its own, shares with the host, or shares with another container."""

from __future__ import annotations

from sampan.errors import UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.model.container import RunOptions

CONTAINER = "container:"
PATH = "ns:"  # of --network: a network namespace that somebody else has made
KNOWN = {  # option: its modes beside container:NAME; "" is private
    "pid": ("private", "host"),
    "ipc": ("private", "host", "shareable", "none"),
    "uts": ("private", "host"),
    "cgroupns": ("private", "host"),
}
TYPES = {
    "pid": "pid",
    "ipc": "ipc",
    "uts": "uts",
    "cgroupns": "cgroup",
    "network": "network",
}  # OCI


def parse(option: str, word: str | None) -> str:
    """The mode of `--pid`, `--ipc`, `--uts` or `--cgroupns`; "" is private (of ipc: shareable)."""
    mode = word or ""
    if mode.startswith(CONTAINER):
        if mode == CONTAINER:
            raise UsageError(f"--{option} {CONTAINER}", "a container's name or id must follow")
        return mode
    if mode and mode not in KNOWN[option]:
        if mode.startswith("ns:"):
            raise UnsupportedError(
                f"option --{option} is not supported", "sampan does not join a namespace by path"
            )
        known = ", ".join((*KNOWN[option], "container:NAME"))
        raise UsageError(f"invalid --{option} {mode!r}", "", known)
    return "" if mode == "private" and option != "ipc" else mode


def check_hostname(hostname: str, uts: str) -> None:
    if hostname and uts:
        raise UsageError(
            "--hostname",
            f"cannot set hostname when running in the {uts.split(':')[0]} UTS namespace",
        )


def shared(options: RunOptions) -> dict[str, str]:
    """{option: id of the container whose namespace is joined}, of options that are settled."""
    chosen: dict[str, Any] = dict(options)
    return {
        option: chosen[option].removeprefix(CONTAINER)
        for option in (*TYPES, "userns")
        if str(chosen[option]).startswith(CONTAINER)
    }


def namespaces(options: RunOptions, *, private_network: bool) -> list[dict[str, str]]:
    """The OCI document's; a path is filled in when the container starts, for only then it is known.

    What is missing is the host's.
    """
    found = [{"type": "mount"}]
    joined = shared(options)
    for option, kind in TYPES.items():
        if option in joined:
            found.append({"type": kind, "path": joined[option]})
        elif option == "network":
            path = options["network"]
            place = {"path": path.removeprefix(PATH)} if path.startswith(PATH) else {}
            found += [{"type": kind, **place}] if private_network else []
        elif dict(options)[option] != "host":
            found.append({"type": kind})
    return found
