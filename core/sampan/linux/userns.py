"""User namespaces: the id map of an unprivileged user, made with newuidmap or for one uid alone.

The default map is 0 -> own uid and 1.. -> the subordinate ids of /etc/subuid and /etc/subgid
(user_namespaces(7), subuid(5), newuidmap(1)).
"""

from __future__ import annotations

import errno
import os
import sys

from sampan.errors import SampanError, from_report, to_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

GET_OWNER = 0xB701  # NS_GET_USERNS (ioctl_ns(2))
_NS_GET_PARENT = 0xB702
Extent = tuple[int, int, int]  # first id inside, first id outside, count


class IdMap:
    """How ids inside a user namespace correspond to ids outside."""

    __slots__ = ("gids", "uids")

    def __init__(self, uids: tuple[Extent, ...], gids: tuple[Extent, ...]) -> None:
        self.uids, self.gids = uids, gids

    @property
    def single(self) -> bool:
        """Only one uid: owners other than root cannot be set on disk."""
        return sum(count for _, _, count in self.uids) == 1

    def count(self) -> int:
        return sum(count for _, _, count in self.uids)

    def gid_count(self) -> int:
        return sum(count for _, _, count in self.gids)

    def has(self, uid: int, gid: int) -> bool:
        """Whether both ids exist inside."""
        return any(first <= uid < first + count for first, _, count in self.uids) and any(
            first <= gid < first + count for first, _, count in self.gids
        )

    def outside(self, uid: int, gid: int) -> tuple[int, int]:
        """The ids outside of those inside. LookupError: one has none."""
        return translate(self.uids, uid), translate(self.gids, gid)

    def inverse(self) -> IdMap:
        """Outside as inside."""
        return IdMap(_swapped(self.uids), _swapped(self.gids))


def to_json(idmap: IdMap) -> dict[str, list[list[int]]]:
    return {
        "uids": [list(extent) for extent in idmap.uids],
        "gids": [list(extent) for extent in idmap.gids],
    }


def from_json(document: Mapping[str, Sequence[Sequence[int]]]) -> IdMap:
    uids, gids = (
        tuple((int(a), int(b), int(count)) for a, b, count in document[kind])
        for kind in ("uids", "gids")
    )
    return IdMap(uids, gids)


def write_map(pid: int, idmap: IdMap) -> None:
    """Map the ids of a process in a new user namespace nested in this one, as root of which we are."""
    for kind, extents in (("uid_map", idmap.uids), ("gid_map", idmap.gids)):
        if kind == "gid_map" and len(extents) == 1 and extents[0][2] == 1:
            _deny_groups(pid)
        _write(f"/proc/{pid}/{kind}", b"\n".join(b"%d %d %d" % extent for extent in extents))


def nest(parent: int, idmap: IdMap) -> None:
    """Move this process, which must have one thread, into a new user namespace inside another one, as its root.

    parent: a descriptor of that one, which has the map `idmap`; inside, every id stays what it is.  Who is root of
    the parent has every capability over what belongs to its children, and they have none over each other.
    """
    from sampan.linux import libc

    enter_existing(parent)
    same = IdMap(
        tuple((inside, inside, count) for inside, _, count in idmap.uids),
        tuple((inside, inside, count) for inside, _, count in idmap.gids),
    )
    libc.prctl(
        libc.PR_SET_DUMPABLE, 1
    )  # the helper could not write the maps of a process that is not
    begin_read, begin_write = os.pipe()
    errors_read, errors_write = os.pipe()
    pid, child = os.getpid(), os.fork()
    if child == 0:
        try:
            os.close(begin_write)
            if os.read(begin_read, 1):
                write_map(pid, same)
                os._exit(0)
        except (OSError, SampanError) as error:
            os.write(errors_write, str(error).encode())
        finally:
            os._exit(1)
    os.close(begin_read)
    os.close(errors_write)
    _unshare()
    os.write(begin_write, b"x")
    os.close(begin_write)
    _await("the id map", child, errors_read)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def enter_existing(namespace: int) -> None:
    """Become root of a user namespace whose owner we are, given by a descriptor."""
    from sampan.linux import libc

    libc.prctl(libc.PR_SET_DUMPABLE, 0)  # before anything inside could look at this process
    libc.setns(namespace, libc.CLONE_NEWUSER)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def check(idmap: IdMap) -> None:
    """This process's user namespace has that map; another one's ids would not be those of the files."""
    for kind, extents in (("uid_map", idmap.uids), ("gid_map", idmap.gids)):
        with open(f"/proc/self/{kind}", "rb") as file:
            found = [tuple(map(int, line.split())) for line in file]
        if found != [*extents]:
            raise SampanError(
                "cannot join a user namespace",
                f"its {kind} is not that of sampan's own",
                "sampan unshare makes one with these ids",
            )


def outermost(namespace: int) -> int:
    """Of the user namespaces around this one (or itself) the one that lies directly in ours (ioctl_ns(2)).

    The descriptor that was given is closed, or is the answer.
    """
    import fcntl

    here = os.stat("/proc/self/ns/user").st_ino
    while True:
        parent = fcntl.ioctl(namespace, _NS_GET_PARENT)
        if os.fstat(parent).st_ino == here:
            os.close(parent)
            return namespace
        os.close(namespace)
        namespace = parent


def _deny_groups(pid: int) -> None:
    """A map of one group needs no privilege, and gets none: setgroups(2) is denied for good."""
    if (_read(f"/proc/{pid}/setgroups") or "") != "deny":
        _write(f"/proc/{pid}/setgroups", b"deny")


def translate(extents: tuple[Extent, ...], number: int) -> int:
    """The id outside of one inside. LookupError: it has none."""
    for inside, outside, count in extents:
        if inside <= number < inside + count:
            return outside + number - inside
    raise LookupError(number)


def _swapped(extents: tuple[Extent, ...]) -> tuple[Extent, ...]:
    return tuple((outside, inside, count) for inside, outside, count in extents)


def is_host_root() -> bool:
    """Root of the initial user namespace; uid 0 of a container is an ordinary user."""
    if os.getuid() != 0:
        return False
    return (_read("/proc/self/uid_map") or "").split() == ["0", "0", "4294967295"]


def subordinate_ranges(path: str, uid: int, name: str | None) -> list[tuple[int, int]]:
    """(first, count) of each line of /etc/subuid or /etc/subgid for the user, by name or number."""
    try:
        with open(path, "rb") as file:
            lines = file.read(1 << 20).decode(errors="replace").splitlines()
    except (FileNotFoundError, PermissionError):
        return []
    wanted = {str(uid), name}
    ranges: list[tuple[int, int]] = []
    for line in lines:
        owner, _, rest = line.partition(":")
        first, _, count = rest.partition(":")
        count = count.strip()
        if owner in wanted and all(
            n.isascii() and n.isdigit() and int(n[:19]) for n in (first, count)
        ):
            ranges.append((int(first), int(count)))
    return ranges


def user_name(uid: int) -> str | None:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def default_map(uid: int, gid: int) -> IdMap:
    """The user's map: with subordinate ids where both files grant some, else one uid."""
    name = user_name(uid)
    uids = subordinate_ranges("/etc/subuid", uid, name)
    gids = subordinate_ranges("/etc/subgid", uid, name)
    if not uids or not gids:
        return IdMap(((0, uid, 1),), ((0, gid, 1),))
    return IdMap(_extents(uid, uids), _extents(gid, gids))


def _extents(own: int, ranges: list[tuple[int, int]]) -> tuple[Extent, ...]:
    extents: list[Extent] = [(0, own, 1)]
    inside = 1
    for first, count in ranges:
        extents.append((inside, first, count))
        inside += count
    return tuple(extents)


def enter(idmap: IdMap) -> None:
    """Move this process, which must have one thread, into a new user namespace as its root.

    The helpers that write the map are forked first: they must stay in the parent namespace.
    """
    pid = os.getpid()
    if (
        os.getresuid()[2] == 0 and idmap.uids[0][1] != 0 and is_host_root()
    ):  # root that has stepped down: its saved id is 0
        child, errors, begin = _root_helper(pid, idmap)
        _unshare()
        os.write(begin, b"x")
        _await("the id map", child, errors)
    elif idmap.single:
        _unshare()
        _write("/proc/self/setgroups", b"deny")
        _write("/proc/self/uid_map", b"%d %d %d" % idmap.uids[0])
        _write("/proc/self/gid_map", b"%d %d %d" % idmap.gids[0])
    else:
        read_end, write_end = os.pipe()
        jobs = [("newuidmap", idmap.uids), ("newgidmap", idmap.gids)]
        helpers = [
            (name, *_helper(name, pid, extents, read_end, write_end)) for name, extents in jobs
        ]
        os.close(read_end)
        try:
            _unshare()
        finally:
            os.close(write_end)
        for name, child, errors in helpers:
            _await(name, child, errors)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _unshare() -> None:
    from sampan.linux import libc  # most commands need an id map, and no system call of their own

    try:
        libc.unshare(libc.CLONE_NEWUSER)
    except OSError as error:
        raise _blocked(error) from None


def _blocked(error: OSError) -> SampanError:
    """Why the kernel refused a user namespace, told apart by what can be seen (user_namespaces(7))."""
    what = "cannot make a user namespace"
    limit = _read("/proc/sys/user/max_user_namespaces")
    if error.errno in (errno.ENOSPC, errno.EUSERS) or limit == "0":
        return SampanError(
            what,
            f"user.max_user_namespaces is {limit or 'exhausted'}",
            "an administrator can raise it: sysctl -w user.max_user_namespaces=15000",
        )
    if _read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return SampanError(
            what,
            "kernel.unprivileged_userns_clone is 0",
            "an administrator can allow it: sysctl -w kernel.unprivileged_userns_clone=1",
        )
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return SampanError(
            what,
            "AppArmor restricts unprivileged user namespaces",
            "an administrator can add a profile for sampan or set "
            "kernel.apparmor_restrict_unprivileged_userns=0",
        )
    if error.errno == errno.EPERM:
        return SampanError(
            what,
            "unshare(CLONE_NEWUSER) is not permitted",
            "if this is a container, its seccomp profile blocks it: start it with "
            "--security-opt seccomp=unconfined",
        )
    return SampanError(what, str(error), "sampan doctor tells what this machine allows")


def _read(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(64).decode().strip()
    except OSError:
        return None


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)  # unbuffered: an error at close would be lost
    except OSError as error:
        raise SampanError(
            "cannot map ids into a user namespace",
            f"writing {path}: {error.strerror}",
            "the kernel or a security module forbids it",
        ) from None
    finally:
        os.close(fd)


def find_helper(name: str) -> str | None:
    """Absolute path of a set-id helper: fixed places, never the caller's PATH."""
    for place in ("/usr/bin/", "/usr/sbin/", "/bin/", "/usr/local/bin/", "/run/wrappers/bin/"):
        if os.access(place + name, os.X_OK):
            return place + name
    return None


def _helper(
    name: str, pid: int, extents: tuple[Extent, ...], read_end: int, write_end: int
) -> tuple[int, int]:
    program = find_helper(name)
    if program is None:
        raise SampanError(
            "cannot map subordinate ids",
            f"{name} is not installed",
            "an administrator can install the package uidmap (shadow-utils); "
            "without subordinate ids in /etc/subuid sampan runs with one uid",
        )
    words = [name, str(pid), *(str(number) for extent in extents for number in extent)]
    error_read, error_write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(write_end)
            os.read(read_end, 1)  # until the caller has its namespace, or is gone
            os.dup2(error_write, 2)
            os.execve(program, words, {"PATH": "/usr/bin:/bin"})
        finally:
            os._exit(127)
    os.close(error_write)
    return child, error_read


def _root_helper(pid: int, idmap: IdMap) -> tuple[int, int, int]:
    """A child that is root again and writes the maps: (pid, error descriptor, descriptor that starts it)."""
    start_read, start_write = os.pipe()
    error_read, error_write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(start_write)
            if os.read(start_read, 1):
                os.setresuid(0, 0, 0)
                for kind, extents in (("gid_map", idmap.gids), ("uid_map", idmap.uids)):
                    _write(f"/proc/{pid}/{kind}", b"\n".join(b"%d %d %d" % e for e in extents))
                os._exit(0)
        except (OSError, SampanError) as error:
            os.write(error_write, str(error).encode())
        finally:
            os._exit(1)
    os.close(start_read)
    os.close(error_write)
    return child, error_read, start_write


def _await(name: str, child: int, errors: int) -> None:
    _, status = os.waitpid(child, 0)
    try:
        if status:
            text = os.read(errors, 1024).decode(errors="replace").strip()
            raise SampanError(
                "cannot map subordinate ids",
                f"{name} failed: {text or f'status {os.waitstatus_to_exitcode(status)}'}",
                "check the lines of your user in /etc/subuid and /etc/subgid, and that "
                f"{name} is set-uid root or has its file capability",
            )
    finally:
        os.close(errors)


FAILED = "a helper process failed"


def run(idmap: IdMap, action: Callable[[], object]) -> None:
    """Run `action` in a child that is root of a new user namespace; its SampanError is raised here.

    The child inherits the caller's descriptors; it shares its mount namespace but can't change mounts.
    """
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        os._exit(_run_child(idmap, action, write_end))
    os.close(write_end)
    data = b""
    while chunk := os.read(read_end, 65536):
        data += chunk
    os.close(read_end)
    _, status = os.waitpid(child, 0)
    if status:
        from sampan import jsontext

        if data:
            raise from_report(jsontext.loads(data))
        raise SampanError(FAILED, f"wait status {status}")


def _run_child(idmap: IdMap, action: Callable[[], object], write_end: int) -> int:
    try:
        enter(idmap)
        action()
        return 0
    except BaseException as error:
        from sampan import jsontext

        os.write(write_end, jsontext.dumps(to_report(error, FAILED)).encode()[:60000])
        return 1
