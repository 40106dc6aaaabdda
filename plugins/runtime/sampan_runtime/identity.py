"""What a container's process is and may do: ids, capabilities, limits, seccomp - and then its program.

The order matters: the seccomp filter is loaded while the process still has CAP_SYS_ADMIN in its namespace (or
no_new_privs), the capabilities go last, and PDEATHSIG is set after the last change of uid, which clears it.
"""

from __future__ import annotations

import errno
import os
import resource

from sampan.errors import NotFoundError, SampanError
from sampan.linux import capabilities, libc, seccomp, signals
from sampan.model.capabilities import NUMBERS, mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

_KEEP_ALL = (1 << 64) - 1


def become_root(linux: dict[str, Any]) -> None:
    """Root of a user namespace that this process was cloned into, if its map has a root; no host's groups."""
    has_root = [
        any(not m["containerID"] for m in linux[key]) for key in ("uidMappings", "gidMappings")
    ]
    if all(has_root):
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def become(
    process: dict[str, Any],
    program_filter: bytes | None,
    hand_on: Callable[[int], object] | None = None,
) -> None:
    """Take on the OCI `process` object's identity.

    hand_on: given the listener of the filter, which asks about some calls.
    """
    libc.new_session_keyring()
    _set_limits(process.get("rlimits") or [])
    if process.get("oomScoreAdj") is not None:
        _set_oom_score(process["oomScoreAdj"])
    sets = {name: mask(process["capabilities"][name]) for name in process["capabilities"]}
    capabilities.drop_bounding(sets["bounding"])
    capabilities.clear_ambient()
    user = process["user"]
    if not user.get("keepOriginalGroups"):
        _set_groups(user.get("additionalGids") or [])
    libc.prctl(libc.PR_SET_KEEPCAPS, 1)
    _set_ids(user["uid"], user["gid"])
    libc.prctl(libc.PR_SET_KEEPCAPS, 0)
    os.umask(user.get("umask", 0o022))
    if process.get("noNewPrivileges"):
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    permitted = sets["permitted"] | 1 << NUMBERS["CAP_SYS_ADMIN"]
    if program_filter:
        capabilities.set_sets(permitted, permitted, 0)
        listener = seccomp.load_filter(program_filter, listen=hand_on is not None)
        if hand_on:
            hand_on(listener)
    capabilities.set_sets(sets["effective"], sets["permitted"], sets["inheritable"])
    if sets["ambient"]:
        capabilities.raise_ambient(sets["ambient"])


def _set_limits(limits: list[dict[str, Any]]) -> None:
    for limit in limits:
        kind = getattr(resource, limit["type"])
        soft, hard = (_signed(limit[name]) for name in ("soft", "hard"))
        try:
            resource.setrlimit(kind, (soft, hard))
        except (ValueError, OSError):
            current = resource.getrlimit(kind)[1]
            raise SampanError(
                f"cannot set {limit['type']} to {limit['soft']}:{limit['hard']}",
                f"your hard limit is {current}",
                "ask for no more than that, or have it raised",
            ) from None


def _signed(value: int) -> int:
    return resource.RLIM_INFINITY if value >= 2**63 else value


def _set_oom_score(score: int) -> None:
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(score).encode())
    except PermissionError:
        raise SampanError(
            f"cannot set the OOM score to {score}", "an unprivileged user can only raise it"
        ) from None
    finally:
        os.close(fd)


def _set_groups(groups: list[int]) -> None:
    try:
        os.setgroups(groups)
    except (
        PermissionError
    ):  # a map of one id denies setgroups(2): the host's groups stay, as nobody's
        if groups:
            raise SampanError(
                f"cannot set the groups {groups}", "only one group id is mapped", _SUBIDS
            ) from None
    except OSError as error:
        raise SampanError(
            f"cannot set the groups {groups}", error.strerror or "", _SUBIDS
        ) from None


_SUBIDS = (
    "ids beyond 0 need subordinate ids: an administrator can add them with usermod --add-subuids"
)


def _set_ids(uid: int, gid: int) -> None:
    try:
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise SampanError(
            f"cannot run as {uid}:{gid}", "the ids are not in the container's id map", _SUBIDS
        ) from None


def execute(process: dict[str, Any], report_fd: int, keep: int) -> NoReturn:
    """Replace this process by the program; `report_fd` (close-on-exec) and 3..3+keep-1 stay open."""
    _close_all_but(report_fd, 3 + keep)
    arguments: list[str] = process["args"]
    environment: dict[str, str] = {}
    for word in process.get("env") or ():
        name, _, value = word.partition("=")
        environment[name] = value
    signals.reset_all()
    program = arguments[0]
    tried = _candidates(program, environment.get("PATH", ""))
    failure: OSError | None = None
    for path in tried:
        try:
            os.execve(path, arguments, environment)
        except OSError as error:
            if failure is None or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                failure = error
    raise _cannot_execute(program, failure)


def _candidates(program: str, search: str) -> list[str]:
    if "/" in program:
        return [program]
    return [f"{place or '.'}/{program}" for place in search.split(":")]


def _cannot_execute(program: str, failure: OSError | None) -> SampanError:
    if failure is None or failure.errno in (errno.ENOENT, errno.ENOTDIR):
        where = "" if "/" in program else " in $PATH"
        return NotFoundError(
            f"cannot run {program}",
            f"executable file not found{where}: No such file or directory",
            "the command must be in the image, and so must the interpreter of a script",
            exit_status=127,
        )
    reason = f"exec: {(failure.strerror or '').lower()}"
    if failure.errno == errno.ENOEXEC:
        reason = "exec format error: it is not a program for this machine, nor a script with #!"
    return SampanError(f"cannot run {program}", reason, "", exit_status=126)


def _close_all_but(report_fd: int, first: int) -> None:
    if report_fd > first:
        libc.close_range(first, report_fd - 1)
    libc.close_range(max(first, report_fd + 1))


def change_directory(path: str) -> None:
    """Enter the working directory; afterwards it must be one inside the root."""
    try:
        os.chdir(path)
    except OSError as error:
        code = 126 if error.errno == errno.EACCES else 127
        raise SampanError(
            f"cannot enter the working directory {path}",
            error.strerror or "",
            "give one that exists in the image with --workdir",
            exit_status=code,
        ) from None
    if not os.getcwd().startswith("/"):
        raise SampanError(f"cannot enter the working directory {path}", "it is outside the root")
