"""What a container mounts, as values of its record (JSON objects), and the OCI mounts that they become.

Every one has type (bind, tmpfs, volume, image, devpts), destination and options, which are flags of a mount and of
a tmpfs.  Beside these:

    bind    source: a path of the host; chown, relabel
    tmpfs   copy: what the image has there is copied into it
    volume  name ("" until the container is created: an anonymous one), driver, driver_options, labels, copy,
            chown, subpath
    image   source: a reference; id, driver, key and chain when the container is created; subpath

What a path of the host does not tell - a volume, an image, a tmpfs with content - the monitor mounts in the bundle,
in the directory `mounts`, under the number that it has in the record; the runtime binds it from there.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Mount = dict[str, Any]

PLACE = "mounts"  # in the bundle
FLAGS = (
    "rw", "ro", "suid", "nosuid", "dev", "nodev", "exec", "noexec",
    "private", "rprivate", "slave", "rslave", "shared", "rshared",
)  # fmt: skip


def is_placed(mount: Mount) -> bool:
    """Whether the monitor mounts it in the bundle."""
    return mount["type"] in ("volume", "image") or (
        mount["type"] == "tmpfs" and bool(mount.get("copy"))
    )


def needs_work(mount: Mount) -> bool:
    """Whether the monitor has to do something before the runtime."""
    return is_placed(mount) or bool(mount.get("chown"))


def oci(mounts: list[Mount]) -> list[Mount]:
    """The OCI mounts, a directory before what lies in it (runtime-spec, config.md)."""
    made = [_oci(number, mount) for number, mount in enumerate(mounts)]
    return sorted(made, key=lambda mount: mount["destination"].rstrip("/").count("/"))


def _oci(number: int, mount: Mount) -> Mount:
    kind, source, options = mount["type"], mount.get("source", ""), mount["options"]
    if is_placed(mount):
        kind, source = "bind", f"{PLACE}/{number}"
        options = ["rbind", *(option for option in options if option in FLAGS)]
    return {"destination": mount["destination"], "type": kind, "source": source, "options": options}


def volumes(mounts: Iterable[Mount]) -> list[str]:
    """The names of the volumes, each once."""
    return list(dict.fromkeys(mount["name"] for mount in mounts if mount["type"] == "volume"))


def snapshots(mounts: Iterable[Mount]) -> list[tuple[str, str]]:
    """(storage driver, key) of the snapshots of images."""
    return [(m["driver"], m["key"]) for m in mounts if m["type"] == "image" and "key" in m]


def is_readonly(mount: Mount) -> bool:
    return "ro" in mount["options"]
