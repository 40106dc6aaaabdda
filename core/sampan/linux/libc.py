"""System calls that Python lacks: wrappers of a few lines that raise OSError with syscall and path.

Numbers are the generic ones of kernels since 5.1, which every architecture shares, except where `_ARCH` says
otherwise.  `_libc` is a PyDLL: the GIL stays held, so a raw clone leaves the child's interpreter usable.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

_ARCH = {  # name: (x86_64, generic: aarch64, riscv64)
    "clone": (56, 220),
    "pivot_root": (155, 41),
    "keyctl": (250, 219),
    "setns": (308, 268),
    "unshare": (272, 97),
    "umount2": (166, 39),
    "mount": (165, 40),
    "capget": (125, 90),
    "capset": (126, 91),
    "sethostname": (170, 161),
    "execveat": (322, 281),
    "syncfs": (306, 267),
    "seccomp": (317, 277),
    "statx": (332, 291),
    "inotify_init1": (294, 26),
    "inotify_add_watch": (254, 27),
}
_INDEX = 0 if os.uname().machine == "x86_64" else 1
NUMBER = {name: numbers[_INDEX] for name, numbers in _ARCH.items()} | {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}

CLONE_PIDFD = 0x1000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

CLONE_PARENT = 0x8000
NAMESPACES = {  # by the names of OCI documents
    "user": CLONE_NEWUSER,
    "pid": CLONE_NEWPID,
    "mount": CLONE_NEWNS,
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "cgroup": CLONE_NEWCGROUP,
}

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

MNT_DETACH = 2


def encode(path: str | bytes) -> bytes:
    return path if isinstance(path, bytes) else os.fsencode(path)


def failure(call: str, path: str | bytes | None = None) -> OSError:
    """The OSError of errno, naming the system call."""
    number = ctypes.get_errno()
    text = f"{call}: {os.strerror(number)}"
    return OSError(number, text) if path is None else OSError(number, text, os.fsdecode(path))


def call(name: str, *args: object, path: str | bytes | None = None) -> int:
    """One system call by name; integers are passed as longs."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    result: int = _syscall(ctypes.c_long(NUMBER[name]), *wide)
    if result < 0:
        raise failure(name, path)
    return result


def prctl(option: int, value: int = 0, *rest: int) -> int:
    more = [ctypes.c_ulong(v) for v in (value, *rest, 0, 0, 0)][:4]
    result: int = _libc.prctl(ctypes.c_int(option), *more)
    if result < 0:
        raise failure(f"prctl {option}")
    return result


def set_name(name: str) -> None:
    """The process's name as ps shows it (15 bytes)."""
    buffer = ctypes.create_string_buffer(name.encode())
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def unshare(flags: int) -> None:
    call("unshare", flags)


def setns(fd: int, flags: int) -> None:
    call("setns", fd, flags)


def pidfd_getfd(pidfd: int, number: int) -> int:
    """A descriptor of another process's, which we may trace; close-on-exec."""
    return call("pidfd_getfd", pidfd, number, 0)


def inotify_init(flags: int) -> int:
    return call("inotify_init1", flags)


def inotify_add_watch(fd: int, path: str, events: int) -> None:
    call("inotify_add_watch", fd, encode(path), events, path=path)


def pivot_root(new: str, old: str) -> None:
    call("pivot_root", encode(new), encode(old), path=new)


def umount(path: str, flags: int = MNT_DETACH) -> None:
    call("umount2", encode(path), flags, path=path)


def sethostname(name: str) -> None:
    data = name.encode()
    call("sethostname", data, len(data))


def execveat(fd: int, arguments: list[str], environment: list[str]) -> NoReturn:
    """Execute the file of the descriptor itself (AT_EMPTY_PATH): no path is looked up again."""
    words = (ctypes.c_char_p * (len(arguments) + 1))(*map(os.fsencode, arguments), None)
    variables = (ctypes.c_char_p * (len(environment) + 1))(*map(os.fsencode, environment), None)
    call("execveat", fd, b"", words, variables, 0x1000)
    raise AssertionError("execveat returned")


def close_range(first: int, last: int = 0x7FFFFFFF) -> None:
    call("close_range", first, last, 0)


def new_session_keyring() -> None:
    """An anonymous session keyring; kernels without keyrings have nothing to leave behind."""
    try:
        call("keyctl", 1, 0, 0, 0, 0)  # KEYCTL_JOIN_SESSION_KEYRING
    except OSError as error:
        if error.errno not in (1, 38, 122):  # EPERM, ENOSYS, EDQUOT
            raise


def namespace_flags(kinds: Iterable[str]) -> int:
    """CLONE_NEW* of these kinds of namespaces."""
    flags = 0
    for kind in kinds:
        flags |= NAMESPACES[kind]
    return flags


def clone(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """Fork into new namespaces: (pid, pidfd) in the parent and (0, -1) in the child.

    The process must have one thread.  The pidfd is close-on-exec.  cgroup: a descriptor of the directory in which
    the child begins, which costs nothing, where moving it later waits for all processors.
    """
    pidfd = ctypes.c_int(-1)
    arguments = (ctypes.c_uint64 * 11)(
        flags | CLONE_PIDFD | (CLONE_INTO_CGROUP if cgroup >= 0 else 0),
        ctypes.addressof(pidfd), 0, 0, 0 if flags & CLONE_PARENT else 17, 0, 0, 0, 0, 0, max(cgroup, 0),
    )  # fmt: skip  # 17: SIGCHLD at exit; a sister of the caller has the caller's
    pid = call("clone3", ctypes.byref(arguments), ctypes.sizeof(arguments))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0, -1
    return pid, pidfd.value
