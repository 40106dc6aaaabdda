"""Processes that are surely the ones we mean: boot id, pid and start time agree, or a pidfd."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found,unused-ignore]  # pyright: ignore[reportMissingImports]
import os


def boot_id() -> str:
    """This boot's identity (proc_sys_kernel(5), random/boot_id)."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return file.read().decode().strip()


def stat(pid: int) -> list[bytes]:
    """What the kernel tells of a process after its name, the state first; nothing if it is gone (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def start_time(pid: int) -> int | None:
    """Clock ticks after boot at which `pid` started; None if it is gone or a zombie."""
    fields = stat(pid)
    return None if not fields or fields[0] in (b"Z", b"X") else int(fields[19])


def namespace(pid: int, kind: str) -> int:
    """The inode number of a process's namespace (mnt, pid, ...); 0 if it is gone or another's (namespaces(7))."""
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino
    except OSError:
        return 0


def ended(pidfd: int, seconds: float | None = None) -> bool:
    """Wait so long, or for ever, until the process has ended; whether it has."""
    import select

    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(None if seconds is None else int(seconds * 1000)))


def open_if_same(pid: int, started: int) -> int | None:
    """A pidfd of the process that had `pid` at that start time; None if it is gone."""
    try:
        fd = os.pidfd_open(pid)
    except (ProcessLookupError, OSError):
        return None
    if start_time(pid) == started:
        return fd
    os.close(fd)
    return None


def every() -> list[int]:
    """The pids of all processes that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children(pid: int) -> list[int]:
    """The pids of a process's children (of its first thread)."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def session(pid: int) -> int | None:
    """The session of a process; None if it is gone."""
    fields = stat(pid)
    return int(fields[3]) if fields else None


def exit_code(pid: int) -> int:
    """Wait for a child; its exit code, 128+n if signal n ended it."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code


def send_signal(pidfd: int, number: int) -> None:
    """Signal the process; one that has ended is no error."""
    try:
        _signal.pidfd_send_signal(pidfd, number)  # pyright: ignore[reportUnknownMemberType]
    except ProcessLookupError:
        return


def die_with_parent(signal_number: int = 9) -> None:
    """Be killed when the parent ends.  A change of uid clears this: call it after the last one."""
    from sampan.linux import libc

    libc.prctl(libc.PR_SET_PDEATHSIG, signal_number)


def detach(keep: set[int]) -> None:
    """Leave the caller's session, directory and descriptors behind, but for those to keep."""
    from sampan.linux import libc

    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    low = 3
    for fd in sorted(keep):
        if fd > low:
            libc.close_range(low, fd - 1)
        low = max(low, fd + 1)
    libc.close_range(low)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in range(3):
        if fd not in keep:
            os.dup2(null, fd)


def address_space() -> int:
    """Bytes of this process's address space; threads take much of it and use hardly any.

    0 where there is no /proc to be seen, in a root that has been entered.
    """
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0
