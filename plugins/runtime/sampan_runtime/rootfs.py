"""The container's view of the file system, made in its own mount namespace from the OCI document.

Rules: what comes from the host is opened before the root is touched; every target is resolved once, confined
to the root, into a descriptor; mounts are made detached and moved onto that descriptor.
"""

from __future__ import annotations

import errno
import os

from sampan.errors import SampanError
from sampan.linux import libc, mounts, paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
TIGHT = mounts.RDONLY | mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
CGROUP2_MAGIC = 0x63677270
_IGNORED = ("bind", "rbind", "defaults", "relatime", "newinstance", "tmpcopyup")


class Root:
    """A container's root while it is made."""

    def __init__(self, bundle: str, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.linux: dict[str, Any] = spec.get("linux") or {}
        self.bundle_fd = os.open(bundle, paths.O_PATH | os.O_DIRECTORY)
        mounts.change_propagation("/", mounts.MS_SLAVE)
        self.devices = {name: mounts.clone_path(f"/dev/{name}") for name in DEVICES}
        null = os.fstat(self.devices["null"]).st_rdev
        if null != os.makedev(1, 3):
            raise SampanError("cannot use the host's /dev/null", "it is not the null device")
        self.null = mounts.clone_path("/dev/null")
        self._sources = {
            index: self._source(mount)
            for index, mount in enumerate(spec.get("mounts") or ())
            if is_bind(mount)
        }
        self.fd = self._clone_root(spec["root"]["path"])
        self.proc = -1
        self._placed: dict[str, tuple[int, int, int]] = {}  # protected path: device, inode, rdev

    def _clone_root(self, path: str) -> int:
        """A mount of our own over the root: its flags are ours to set, and pivot_root needs a mount."""
        directory = os.open(path, paths.O_PATH | os.O_DIRECTORY, dir_fd=self.bundle_fd)
        tree = mounts.clone_tree(directory)
        mounts.set_attributes(tree, mounts.NODEV, 0, mounts.MS_PRIVATE)
        mounts.move(tree, directory)
        os.close(directory)
        return tree

    def build(self) -> None:
        """All mounts, devices, masks and sysctls; the root is not yet entered."""
        for index, mount in enumerate(self.spec.get("mounts") or ()):
            try:
                self._mount(mount, self._sources.pop(index, -1))
            except OSError as error:
                raise _refused(mount, error) from None
        self._sysctls()
        for path in self.linux.get("readonlyPaths") or ():
            self._make_readonly(path)
        self._mask(self.linux.get("maskedPaths") or [])
        self._verify()

    def enter(self) -> None:
        """Make it the root, with nothing of the host behind it."""
        if self.spec["root"].get("readonly"):
            mounts.set_attributes(self.fd, mounts.RDONLY)
        os.fchdir(self.fd)
        libc.pivot_root(".", ".")
        libc.umount(".")
        os.chdir("/")

    def make_directory(self, path: str) -> None:
        os.close(paths.make_directories(self.fd, path))

    def _source(self, mount: dict[str, Any]) -> int:
        """A detached copy of what is to be bound, opened with the ids of the caller."""
        recursive = "rbind" in (mount.get("options") or ())
        try:
            return mounts.clone_path(mount["source"], recursive=recursive, dir_fd=self.bundle_fd)
        except OSError as error:
            raise _refused(mount, error) from None

    def _mount(self, mount: dict[str, Any], fd: int) -> None:
        attributes, cleared, propagation, data = parse_options(mount.get("options") or [])
        options: list[str] = mount.get("options") or []
        kind = mount.get("type") or "bind"
        if fd >= 0:
            recursive = "rbind" in options
            mounts.set_attributes(
                fd, attributes, cleared, propagation or mounts.MS_PRIVATE, recursive=recursive
            )
        else:
            fd = self._new(kind, mount.get("source") or kind, data, attributes)
        target = paths.make_mount_point(
            self.fd, mount["destination"], directory=paths.is_directory(fd)
        )
        mounts.move(fd, target)
        os.close(target)
        if kind == "proc" or mount["destination"] == mount.get("source") == "/proc":
            self.proc = fd
            return
        if kind == "tmpfs" and mount["destination"].rstrip("/") == "/dev":
            self._populate_dev(fd)
        os.close(fd)

    def _new(
        self, kind: str, source: str, data: list[tuple[str, str | None]], attributes: int
    ) -> int:
        if kind in ("cgroup", "cgroup2"):
            return _cgroup(attributes)
        try:
            return mounts.new(kind, data, attributes, source)
        except PermissionError:
            if kind not in ("proc", "sysfs"):
                raise
        # Inside another container the kernel refuses new instances while parts of them are masked.
        fd = mounts.clone_path("/proc" if kind == "proc" else "/sys")
        mounts.set_attributes(fd, attributes, 0, mounts.MS_PRIVATE, recursive=True)
        return fd

    def _populate_dev(self, dev: int) -> None:
        for name, device in self.devices.items():
            os.close(
                os.open(
                    name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666, dir_fd=dev
                )
            )
            target = paths.openat2(dev, name, paths.O_PATH, paths.RESOLVE_BENEATH)
            mounts.set_attributes(device, mounts.NOSUID | mounts.NOEXEC, 0, mounts.MS_PRIVATE)
            mounts.move(device, target)
            os.close(target)
            os.close(device)
        self.devices = {}
        for name, destination in LINKS:
            os.symlink(destination, name, dir_fd=dev)
        for mount in self.spec["mounts"]:
            if mount["destination"] in ("/dev/pts", "/dev/shm", "/dev/mqueue"):
                os.mkdir(mount["destination"][5:], 0o755, dir_fd=dev)

    def _sysctls(self) -> None:
        """Through the procfs that we made, never through a path that the image could have changed."""
        sysctls: dict[str, str] = self.linux.get("sysctl") or {}
        for key, value in sysctls.items():
            path = "sys/" + key.replace(".", "/")
            resolve = paths.RESOLVE_BENEATH | paths.RESOLVE_NO_SYMLINKS | paths.RESOLVE_NO_XDEV
            try:
                fd = paths.openat2(self.proc, path, os.O_WRONLY, resolve)
                os.write(fd, value.encode())
                os.close(fd)
            except OSError as error:
                raise SampanError(f"cannot set sysctl {key}={value}", _reason(error)) from None

    def _find(self, path: str) -> int | None:
        try:
            return paths.open_in_root(self.fd, path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                return None
            raise

    def _make_readonly(self, path: str) -> None:
        target = self._find(path)
        if target is None:
            return
        tree = mounts.clone_tree(target)
        mounts.set_attributes(tree, TIGHT, 0, mounts.MS_PRIVATE, recursive=True)
        mounts.move(tree, target)
        self._placed[path] = _identity(tree)
        os.close(tree)
        os.close(target)

    def _mask(self, masked: list[str]) -> None:
        """Hide files behind the host's null device and directories behind an empty read-only tmpfs."""
        first: dict[
            bool, int
        ] = {}  # the first of each kind is attached: only then can it be cloned
        for path in masked:
            target = self._find(path)
            if target is None:
                continue
            directory = paths.is_directory(target)
            if directory in first:
                mask = mounts.clone_tree(first[directory], recursive=False)
            elif directory:
                mask = mounts.new("tmpfs", [("size", "4096"), ("nr_inodes", "2")], TIGHT)
            else:
                mask = self.null
            mounts.set_attributes(mask, TIGHT, 0, mounts.MS_PRIVATE)
            mounts.move(mask, target)
            self._placed[path] = _identity(mask)
            first.setdefault(directory, mask)
            os.close(target)

    def _verify(self) -> None:
        """Look again, by the paths that the container will use: each mask and read-only path is what was placed.

        Somebody who shares a volume with the container may have swapped a directory meanwhile.
        """
        for path, placed in self._placed.items():
            fd = self._find(path)
            if fd is None or _identity(fd) != placed or not _is_readonly(fd):
                raise SampanError(
                    f"cannot protect {path}",
                    "what was mounted there is not there any more",
                    "another container may be changing a shared volume; try again",
                )
            os.close(fd)


def _identity(fd: int) -> tuple[int, int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino, status.st_rdev


def _is_readonly(fd: int) -> bool:
    return bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)


def _cgroup(attributes: int) -> int:
    """The container's own cgroup2 tree, or an empty directory where the host has version 1."""
    if _file_system("/sys/fs/cgroup") == CGROUP2_MAGIC:
        try:
            return mounts.new("cgroup2", [], attributes)
        except PermissionError:
            pass
    return mounts.new("tmpfs", [("size", "4096"), ("mode", "755")], attributes | mounts.RDONLY)


def _file_system(path: str) -> int:
    """statfs(2) f_type."""
    import ctypes

    buffer = (ctypes.c_long * 32)()
    if ctypes.CDLL(None).statfs(path.encode(), ctypes.byref(buffer)) != 0:
        return 0
    return int(buffer[0]) & 0xFFFFFFFF


def parse_options(options: list[str]) -> tuple[int, int, int, list[tuple[str, str | None]]]:
    """(attributes to set, to clear, propagation, the file system's own options)."""
    add = clear = propagation = 0
    data: list[tuple[str, str | None]] = []
    for option in options:
        name = option.removeprefix("r") if option[1:] in mounts.PROPAGATION else option
        if name in mounts.PROPAGATION:
            propagation = mounts.PROPAGATION[name]
        elif option in mounts.ATTRIBUTES:
            add |= mounts.ATTRIBUTES[option]
        elif option in mounts.CLEARED:
            clear |= mounts.CLEARED[option]
        elif option == "strictatime":
            add |= 0x20
        elif option not in _IGNORED:
            key, equals, value = option.partition("=")
            data.append((key, value if equals else None))
    return add, clear & ~add & ~mounts.RDONLY, propagation, data


def is_bind(mount: dict[str, Any]) -> bool:
    options: list[str] = mount.get("options") or []
    return (mount.get("type") or "bind") == "bind" or "bind" in options or "rbind" in options


def _refused(mount: dict[str, Any], error: OSError) -> SampanError:
    return SampanError(
        f"cannot mount {mount.get('source', mount['type'])} on {mount['destination']}",
        _reason(error),
        _advice(mount, error),
    )


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    return f"{os.fsdecode(error.filename)}: {text}" if error.filename else text


def _advice(mount: dict[str, Any], error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "the source must exist on the host"
    if error.errno == errno.ELOOP:
        return "the image has a link in the way that leads out of its root"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "your user may not reach it"
    return ""
