"""The seccomp profile: what of it applies to a container, as the OCI document has it.

`seccomp.json` is in the form of Docker's and podman's profiles (a user's file may be one of theirs): rows of
names with an action, argument conditions, and includes/excludes by capability, architecture and feature.  The
default allows what both engines allow and a few harmless newer calls; a known call that is not allowed answers
EPERM, one that the profile does not know ENOSYS, so that programs fall back to what they did before it existed.
"""

from __future__ import annotations

import os

from sampan import files, jsontext
from sampan.errors import SampanError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64", "s390x": "s390x"}
_OCI_ARCHITECTURES = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "riscv64": "SCMP_ARCH_RISCV64",
    "s390x": "SCMP_ARCH_S390X",
}
ALLOW = "SCMP_ACT_ALLOW"
IDS = (
    "chown", "chown32", "fchown", "fchown32", "fchownat", "lchown", "lchown32",
    "setfsgid", "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32",
    "setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid", "setreuid32",
    "setuid", "setuid32",
)  # fmt: skip


def default_profile() -> dict[str, Any]:
    with open(os.path.dirname(__file__) + "/seccomp.json", "rb") as file:
        return jsontext.loads(file.read())  # type: ignore[no-any-return]


def load_profile(path: str) -> dict[str, Any]:
    """A profile file of the user's, in Docker's form."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            profile: dict[str, Any] = jsontext.loads(files.read_fd(fd, path))
        finally:
            os.close(fd)
        if not isinstance(profile.get("defaultAction"), str):
            raise ValueError("it has no defaultAction")
        rows: list[dict[str, Any]] = profile.get("syscalls") or []
        for number, row in enumerate(rows):
            if not _is_row(row):
                raise ValueError(f"syscalls[{number}] is not in Docker's form")
        return profile
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise SampanError(
            f"cannot use the seccomp profile {path}", str(error), "--security-opt seccomp=FILE.json"
        ) from None


def _is_row(row: dict[str, Any]) -> bool:
    """Whether names, action, conditions and includes have the types that they should have."""
    names: list[Any] = row["names"] if row.get("names") else [row.get("name")]
    conditions: list[dict[str, Any]] = row.get("args") or []
    numbers = [a.get(key, 0) for a in conditions for key in ("index", "value", "valueTwo")]
    filters: list[Any] = []
    for kind in ("includes", "excludes"):
        listed: dict[str, list[Any]] = row.get(kind) or {}
        filters += [word for key in ("caps", "arches") for word in listed.get(key) or ()]
    return (
        all(isinstance(word, str) for word in [*names, row.get("action"), *filters])
        and isinstance(row.get("errnoRet") or 0, int)
        and all(isinstance(number, int) and 0 <= number < 2**64 for number in numbers)
        and all({"index", "op", "value"} <= a.keys() and a["index"] < 6 for a in conditions)
        and all(str(a["op"]).startswith("SCMP_CMP_") for a in conditions)
    )


def resolve(
    profile: dict[str, Any], capabilities: list[str], features: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The OCI `linux.seccomp` object for a process with these capabilities on this machine."""
    machine = ARCHITECTURES.get(os.uname().machine, os.uname().machine)
    have = {"caps": set(capabilities), "arches": {machine}, "features": set(features)}
    rows: list[dict[str, Any]] = []
    named: set[str] = set()
    given: list[dict[str, Any]] = profile.get("syscalls") or []
    for row in given:
        if not _applies(row, have):
            continue
        kept: dict[str, Any] = {
            key: row[key] for key in ("action", "args", "errnoRet") if row.get(key)
        }
        kept["names"] = row.get("names") or [row["name"]]
        named.update(kept["names"])
        rows.append(kept)
    known: list[str] = profile.get("known") or []
    rest = [name for name in known if name not in named]
    if rest:
        errno = profile.get("knownErrnoRet", 1)
        rows.append({"names": rest, "action": "SCMP_ACT_ERRNO", "errnoRet": errno})
    resolved: dict[str, Any] = {"defaultAction": profile["defaultAction"], "syscalls": rows}
    if profile.get("defaultErrnoRet"):
        resolved["defaultErrnoRet"] = profile["defaultErrnoRet"]
    if machine in _OCI_ARCHITECTURES:
        resolved["architectures"] = [_OCI_ARCHITECTURES[machine]]
    return resolved


def pretending(resolved: dict[str, Any]) -> dict[str, Any]:
    """The same, but that calls which need further ids are answered with success, and do nothing; of new owners
    of files the container's monitor is told, which remembers them.

    With one id they could only fail, and package managers give up; Charliecloud's `--force=seccomp` is the model.
    What a program gives up by such a call it has never had more of: it is the user, whatever it calls itself.
    """
    rows = [
        {**row, "names": [name for name in row["names"] if name not in IDS]}
        for row in resolved["syscalls"]
    ]
    asked = [name for name in IDS if "chown" in name]
    rows.append({"names": asked, "action": "SCMP_ACT_NOTIFY"})
    rest = [name for name in IDS if name not in asked]
    rows.append({"names": rest, "action": "SCMP_ACT_ERRNO", "errnoRet": 0})
    return {**resolved, "syscalls": rows}


def _applies(row: dict[str, Any], have: dict[str, set[str]]) -> bool:
    included: dict[str, list[str]] = row.get("includes") or {}
    excluded: dict[str, list[str]] = row.get("excludes") or {}
    for key, values in have.items():
        wanted = included.get(key)
        if wanted and not (set(wanted) <= values if key == "caps" else set(wanted) & values):
            return False
        if values & set(excluded.get(key) or ()):
            return False
    return True
