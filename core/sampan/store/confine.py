"""The room in which a layer is unpacked: its directory is the whole world.

The child of the worker sits in the user namespace of the store.  It gets a mount namespace whose
root is the layer's directory, a network namespace with nothing in it, Landlock, limits and no
privileges to gain: a bug in the reader could write into the layer that it reads, and nowhere else.
"""

from __future__ import annotations

import errno
import os
import resource

from sampan.linux import capabilities, landlock, libc, mounts
from sampan.linux.processes import address_space, die_with_parent
from sampan.model.capabilities import mask

# Beyond what the process has when it comes: a zstd window, chunks, a thread; the resident set stays far below.
ADDRESS_SPACE = 1 << 30
OPEN_FILES = 4096
MAX_FILE = 1 << 40
# What setting owners, modes, times and attributes takes. Without SYS_PTRACE and SYS_ADMIN there is
# no way into the worker, which shares the user namespace.
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_SETFCAP"]


def isolate_network() -> None:
    """No network, no shared memory; a machine that allows no more such namespaces does without."""
    try:
        libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWIPC)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EINVAL):
            raise


def enter(layer_fd: int, keep: list[int], parent: int, *, recursive: bool = False) -> int:
    """Make the directory this process's root, give up all else, and return a descriptor of it.

    keep: the descriptors that stay open.  parent: the pid of the process to die with.  recursive:
    what is mounted below comes along.
    """
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    # the working directory moves along into the new namespace, a descriptor does not
    os.fchdir(layer_fd)
    space = address_space() + ADDRESS_SPACE
    libc.unshare(libc.CLONE_NEWNS)
    root = _pivot(recursive)
    _close_others([*keep, root])
    landlock.only_change(root)
    for limit, value in (
        (resource.RLIMIT_AS, space),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, MAX_FILE),
        (resource.RLIMIT_CORE, 0),
    ):
        _lower(limit, value)
    keep_caps = mask(CAPABILITIES)
    capabilities.drop_bounding(keep_caps)
    capabilities.set_sets(keep_caps, keep_caps, 0)
    os.umask(0)
    return root


def _pivot(recursive: bool) -> int:
    mounts.change_propagation("/", mounts.MS_PRIVATE)
    tree = mounts.clone_path(".", recursive=recursive)
    mounts.set_attributes(tree, add=mounts.NOSUID | mounts.NODEV | mounts.NOEXEC)
    here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts.move(tree, here)
    os.close(here)
    os.fchdir(tree)
    os.close(tree)
    libc.pivot_root(".", ".")
    libc.umount(".")  # the old root lies on top (pivot_root(2))
    os.chdir("/")
    return os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _close_others(keep: list[int]) -> None:
    first = 3
    for fd in sorted(set(keep)):
        if fd > first:
            libc.close_range(first, fd - 1)
        first = max(first, fd + 1)
    libc.close_range(first)
    null = [fd for fd in (0, 1, 2) if fd not in keep]
    for fd in null:  # /dev/null is out of reach: a pipe without a writer does as well
        read_end, write_end = os.pipe()
        os.dup2(read_end if fd == 0 else write_end, fd)
        os.close(read_end)
        os.close(write_end)


def _lower(limit: int, value: int) -> None:
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))
