"""What the monitor puts in place around a container: its root mount and its /etc files, in the monitor's own
mount namespace, so that the kernel takes all of it back when the last process ends."""

from __future__ import annotations

import errno
import os

from sampan import files
from sampan.engine import hosts, resolver
from sampan.errors import SampanError, UnsupportedError
from sampan.linux import libc, mounts, paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import NetworkBackend
    from sampan.linux.fuse import Server
    from sampan.model.container import Record, RunOptions
    from sampan.model.mount import MountOperation, Snapshot
    from sampan.settings import Settings


# apt changes to a user of its own, and looks whether it has become him: with one id it must not try.
APT = "/etc/apt/apt.conf.d/99one-id"
APT_SAYS = b'APT::Sandbox::User "root";\n'


def mount_snapshot(snapshot: Snapshot, target: int) -> list[Server]:
    """Execute the snapshot's operations; the result is mounted on the directory `target` (a descriptor).

    The programs that serve it, if any, end when it is unmounted, and die with this process.
    """
    servers: list[Server] = []
    try:
        os.chdir(snapshot["directory"])
        for operation in snapshot["helpers"]:
            from sampan.linux import fuse

            servers.append(fuse.serve(operation["argv"], target))
        for mount in snapshot["mounts"]:
            fd = _mount(mount)
            mounts.move(fd, target)
            os.close(fd)
    except OSError as error:
        raise SampanError(
            f"cannot mount the file system of a snapshot ({snapshot['driver']})",
            str(error.strerror or error),
            "sampan info tells which storage drivers work here",
        ) from None
    finally:
        os.chdir("/")
    return servers


def give_root(path: str, owner: tuple[int, int]) -> None:
    """A root that the driver made for the store's root belongs to the container's."""
    status = os.stat(path)
    if (status.st_uid, status.st_gid) == (0, 0) != owner:
        os.chown(path, *owner)


def _mount(operation: MountOperation) -> int:
    if operation["fstype"] == "overlay":
        return mounts.overlay(
            operation["lower"],
            operation["upper"] or None,
            operation["work"] or None,
            [(key, value) for key, value in operation["options"]],
        )
    if operation["fstype"] == "bind":
        return mounts.clone_path(operation["source"], recursive=False)
    raise UnsupportedError(f"a mount of type {operation['fstype']} in a snapshot")


def unmount(path: str) -> None:
    """Take a mount away, if there is one."""
    try:
        libc.umount(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise


def make_etc(
    bundle_fd: int,
    record: Record,
    hostname: str,
    *,
    network: NetworkBackend,
    settings: Settings,
    owner: tuple[int, int] | None = None,
) -> None:
    """hosts, resolv.conf, hostname and containerenv on a tmpfs of their own, so that no path of the host shows."""
    tmpfs = mounts.new(
        "tmpfs", [("size", "1m"), ("mode", "755")], mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
    )
    target = os.open("etc", paths.O_PATH | os.O_DIRECTORY, dir_fd=bundle_fd)
    mounts.move(tmpfs, target)
    os.close(target)
    os.close(tmpfs)
    etc = files.open_directory("etc", dir_fd=bundle_fd)
    contents = {
        "hosts": hosts.text(bundle_fd, record, hostname, network, settings),
        "resolv.conf": resolver.text(record["options"], network),
        "hostname": hostname + "\n",
        "containerenv": _containerenv(record),
    }
    for name, text in contents.items():
        _write(etc, name, os.fsencode(text))
        if owner:
            os.chown(name, *owner, dir_fd=etc)
    os.close(etc)


def _write(etc: int, name: str, content: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=etc)
    files.write_all(fd, content)
    os.fchmod(fd, 0o644)  # whatever the umask
    os.close(fd)


def passwd(
    root: int, bundle_fd: int, options: RunOptions, owner: tuple[int, int] | None = None
) -> bytes | None:
    """The image's /etc/passwd; with further entries also as a file of the bundle, which is mounted over it."""
    content = paths.read_in_root(root, "/etc/passwd")
    if not options["passwd_entries"]:
        return content
    known = {line.split(b":", 1)[0] for line in (content or b"").splitlines()}
    lines = [os.fsencode(entry) for entry in options["passwd_entries"]]
    lines = [line for line in dict.fromkeys(lines) if line.split(b":", 1)[0] not in known]
    content = (content or b"").rstrip(b"\n") + b"\n" + b"".join(line + b"\n" for line in lines)
    etc = files.open_directory("etc", dir_fd=bundle_fd)
    _write(etc, "passwd", content.lstrip(b"\n"))
    if owner:
        os.chown("passwd", *owner, dir_fd=etc)
    os.close(etc)
    return content


def keep_apt_root(root: int, bundle_fd: int, spec: dict[str, Any]) -> None:
    """A container that pretends ids tells apt of it, if it has one."""
    try:
        os.close(paths.open_in_root(root, os.path.dirname(APT), paths.O_PATH | os.O_DIRECTORY))
    except OSError:
        return
    etc = files.open_directory("etc", dir_fd=bundle_fd)
    _write(etc, "apt.conf", APT_SAYS)
    os.close(etc)
    options = ["bind", "ro", "rprivate", "nosuid", "nodev", "noexec"]
    spec["mounts"].append(
        {"destination": APT, "type": "bind", "source": "etc/apt.conf", "options": options}
    )


def check_workdir(root: int, options: RunOptions, spec: dict[str, Any]) -> None:
    """A --workdir must be there, in the image or because something is mounted on or below it."""
    path = options["workdir"].rstrip("/")
    if not path or any(
        f"{mount['destination'].rstrip('/')}/".startswith(f"{path}/")
        or path.startswith(f"{mount['destination'].rstrip('/')}/")
        for mount in spec["mounts"]
    ):
        return
    try:
        os.close(paths.open_in_root(root, path, paths.O_PATH | os.O_DIRECTORY))
    except OSError:
        raise SampanError(
            f"cannot enter the working directory {path}",
            f'workdir "{path}" does not exist on container',
            "give one that exists in the image with --workdir",
            exit_status=126,
        ) from None


def link_mtab(root: int, owner: tuple[int, int] | None = None) -> None:
    """/etc/mtab for programs that still read it, where the image has an /etc without one."""
    try:
        etc = paths.open_in_root(root, "/etc", paths.O_PATH | os.O_DIRECTORY)
    except OSError:
        return
    try:
        os.stat("mtab", dir_fd=etc, follow_symlinks=False)
    except FileNotFoundError:
        try:
            with paths.Unnoticed(etc):
                os.symlink("/proc/mounts", "mtab", dir_fd=etc)
            if owner:
                os.chown("mtab", *owner, dir_fd=etc, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES):
                raise
    finally:
        os.close(etc)


def _containerenv(record: Record) -> str:
    """What a privileged container may know of its engine; the file alone tells the others that they are in one."""
    image = record["image"]
    if not record["options"]["privileged"]:
        return ""
    return (
        f'engine="sampan-{record["engine"]}"\nname="{record["name"]}"\nid="{record["id"]}"\n'
        f'image="{image["name"]}"\nimageid="{image["id"].partition(":")[2]}"\nrootless=1\n'
    )
