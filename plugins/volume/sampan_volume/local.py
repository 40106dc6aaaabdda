"""Volumes on this machine: a directory (`_data`), or what an unprivileged user may mount: a tmpfs, a directory
of the host.

The options are Docker's: type, device and o, which holds mount options.  A tmpfs is made anew for each
container that starts; its content is nobody else's and goes with the container.
"""

from __future__ import annotations

import os
import stat

from sampan import files
from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.linux import mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.model.contract import DriverContext, Probe
    from sampan.model.volume import Volume

DATA = "_data"
KNOWN = ("type", "device", "o")
SIZES = ("size", "mode", "uid", "gid", "nr_inodes", "huge")  # of a tmpfs
TIGHT = {"nosuid": mounts.NOSUID, "nodev": mounts.NODEV, "noexec": mounts.NOEXEC, "ro": mounts.RDONLY,
         "noatime": mounts.NOATIME}  # fmt: skip
USUAL = (
    "rw",
    "suid",
    "dev",
    "exec",
    "bind",
    "rbind",
    "defaults",
    "relatime",
    "private",
    "rprivate",
    "nouser",
    "async",
)


class Local:
    """The volume driver; see `sampan.drivers.VolumeDriver`."""

    name = "local"

    def create(self, volume: Volume) -> None:
        kind, device = _kind(volume), volume.options.get("device", "")
        for option in volume.options:
            if option not in KNOWN:
                raise _invalid(option, f"known: {', '.join(KNOWN)}")
        known = (*TIGHT, *USUAL, *(SIZES if kind == "tmpfs" else ()))
        for option in _words(volume):
            if option.partition("=")[0] not in known:
                raise _invalid("o", f"an unprivileged user cannot mount with {option!r}")
        if kind == "bind":
            if not device.startswith("/"):
                raise _invalid("device", "a directory of the host is wanted, with an absolute path")
            try:
                mode = os.stat(device).st_mode
            except OSError as error:
                why = (error.strerror or "").lower()
                raise _invalid("device", f"stat {device}: {why}") from None
            if not stat.S_ISDIR(mode):
                raise _invalid("device", f"{device} is not a directory")
        elif kind == "" and (device or volume.options.get("o")):
            raise _invalid("device" if device else "o", "it needs a type: tmpfs or bind")
        elif kind not in ("", "tmpfs"):
            raise UnsupportedError(
                f"invalid volume option type for driver 'local': {kind}",
                "an unprivileged user cannot mount it",
                "tmpfs and bind can be had",
            )
        os.mkdir(DATA, 0o755, dir_fd=volume.fd)
        os.chmod(DATA, 0o755, dir_fd=volume.fd)  # whatever the umask is

    def mount(self, volume: Volume) -> int:
        kind, words = _kind(volume), _words(volume)
        attributes = 0
        for word in words:
            attributes |= TIGHT.get(word, 0)
        if kind == "tmpfs":
            options: list[tuple[str, str | None]] = [("mode", "1777")]
            options += [
                (key, value) for key, equals, value in (w.partition("=") for w in words) if equals
            ]
            return mounts.new("tmpfs", options, attributes)
        if kind == "bind":
            path = volume.options["device"]
            try:
                tree = mounts.clone_path(path)
            except OSError as error:
                raise SampanError(
                    f"cannot mount volume {volume.name}",
                    f"{path}: {error.strerror}",
                    "the source must exist",
                ) from None
        else:
            data = files.open_directory(DATA, dir_fd=volume.fd)
            tree = mounts.clone_tree(data, recursive=False)
            os.close(data)
        if attributes:
            mounts.set_attributes(tree, attributes, recursive=kind == "bind")
        return tree

    def path(self, volume: Volume) -> str:
        kind = _kind(volume)
        if kind:
            return volume.options["device"] if kind == "bind" else ""
        return os.readlink(f"/proc/self/fd/{volume.fd}") + f"/{DATA}"

    def usage(self, volume: Volume) -> int:
        data = files.open_directory(DATA, dir_fd=volume.fd)
        try:
            return files.usage(data)
        finally:
            os.close(data)

    def remove(self, volume: Volume) -> None:
        return  # all there is lies in the volume's directory


def _kind(volume: Volume) -> str:
    """ "" a directory of the volume's own, "bind" one of the host, "tmpfs", or what cannot be had."""
    kind = volume.options.get("type", "")
    words = _words(volume)
    return "bind" if kind in ("", "none") and ("bind" in words or "rbind" in words) else kind


def _words(volume: Volume) -> list[str]:
    return [word for word in volume.options.get("o", "").split(",") if word]


def _invalid(option: str, why: str) -> UsageError:
    return UsageError(f"invalid volume option {option} for driver 'local'", why)


def sampan_volume_driver(context: DriverContext) -> Local:
    return Local()


def sampan_probe(context: DriverContext) -> Probe:
    from sampan.model.contract import Probe

    return Probe(True, "needs nothing", rank=1)
