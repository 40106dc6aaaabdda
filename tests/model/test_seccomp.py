"""The profile: what of it applies to which container."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sampan.errors import SampanError
from sampan.model import seccomp, spec

ELEVEN = spec.DEFAULT_CAPABILITIES


def actions(profile: dict[str, Any], name: str) -> set[tuple[str, int, bool]]:
    """(action, errno, has conditions) of every rule for a call."""
    return {
        (row["action"], row.get("errnoRet", 0), bool(row.get("args")))
        for row in profile["syscalls"]
        if name in row["names"]
    }


def default(*more: str, features: tuple[str, ...] = ()) -> dict[str, Any]:
    return seccomp.resolve(seccomp.default_profile(), [*ELEVEN, *more], features)


@pytest.mark.parametrize(
    "name",
    ["mount", "umount2", "unshare", "setns", "keyctl", "add_key", "bpf", "perf_event_open", "userfaultfd",
     "io_uring_setup", "kexec_load", "init_module", "ptrace_scope", "open_by_handle_at", "pivot_root"],
)  # fmt: skip
def test_dangerous_calls_are_refused(name: str) -> None:
    assert not any(
        action == seccomp.ALLOW and not conditional
        for action, _, conditional in actions(default(), name)
    )


@pytest.mark.parametrize("name", ["read", "openat", "execve", "clone", "chroot", "futex", "socket"])
def test_ordinary_calls_are_allowed(name: str) -> None:
    assert seccomp.ALLOW in {action for action, _, _ in actions(default(), name)}


def test_known_and_unknown_calls() -> None:
    profile = default()
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO" and profile["defaultErrnoRet"] == 38
    assert actions(profile, "bpf") == {("SCMP_ACT_ERRNO", 1, False)}
    assert actions(profile, "a_call_of_tomorrow") == set()
    assert profile["architectures"] == [f"SCMP_ARCH_{os.uname().machine.upper()}"]


def test_a_capability_opens_its_calls() -> None:
    for capability, call in (
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_BPF", "bpf"),
        ("CAP_SYS_MODULE", "init_module"),
    ):
        assert (seccomp.ALLOW, 0, False) not in actions(default(), call)
        assert (seccomp.ALLOW, 0, False) in actions(default(capability), call)
    rows = default(features=("nest",))["syscalls"]
    opened = {name for row in rows if row["action"] == seccomp.ALLOW for name in row["names"]}
    assert {"mount", "unshare", "setns"} <= opened and "bpf" not in opened


def test_every_row_has_names_and_a_known_action() -> None:
    for row in default()["syscalls"]:
        assert row["names"] and row["action"] in (seccomp.ALLOW, "SCMP_ACT_ERRNO")
        assert "includes" not in row and "excludes" not in row


def test_a_file_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"name": "chmod", "action": "SCMP_ACT_ERRNO"},
            {"names": ["a"], "action": "SCMP_ACT_KILL", "includes": {"arches": ["other"]}},
            {"names": ["b"], "action": "SCMP_ACT_KILL", "excludes": {"caps": ["CAP_KILL"]}},
            {"names": ["c"], "action": "SCMP_ACT_KILL", "includes": {"caps": ["CAP_KILL"]}},
        ],
    }
    path.write_text(json.dumps(profile))
    resolved = seccomp.resolve(seccomp.load_profile(str(path)), ["CAP_KILL"])
    assert [row["names"] for row in resolved["syscalls"]] == [["chmod"], ["c"]]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "5", '"x"', "\udcff"])
def test_files_that_are_no_profile(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(SampanError, match="cannot use the seccomp profile"):
        seccomp.load_profile(str(path))


def test_places_that_are_no_profile(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "absent", tmp_path / "fifo", tmp_path):
        with pytest.raises(SampanError, match=r"cannot use the seccomp profile|not a regular file"):
            seccomp.load_profile(str(path))


@pytest.mark.parametrize(
    "rows",
    [5, [5], [{}], [{"names": 5}], [{"names": ["read"]}], [{"names": ["read"], "action": 5}],
     [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{}]}]],
)  # fmt: skip
def test_rows_of_a_wrong_shape_are_an_error(tmp_path: Path, rows: Any) -> None:
    from sampan.linux.seccomp import compile_filter

    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rows}))
    with pytest.raises(SampanError):
        compile_filter(seccomp.resolve(seccomp.load_profile(str(path)), []))
