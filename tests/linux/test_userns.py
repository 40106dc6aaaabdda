"""The id map of a user, and what is told when there can be none."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inside import in_child
from sampan.errors import SampanError
from sampan.linux import userns
from sampan.linux.userns import IdMap

unprivileged = pytest.mark.skipif(os.getuid() == 0, reason="needs a user")


def ranges(
    tmp_path: Path, text: bytes, uid: int = 1000, name: str | None = "user"
) -> list[tuple[int, int]]:
    path = tmp_path / "subuid"
    path.write_bytes(text)
    return userns.subordinate_ranges(str(path), uid, name)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"user:100:10\n", [(100, 10)]),
        (b"1000:100:10\n", [(100, 10)]),
        (b"other:1:1\nuser:100:10\nuser:200:5", [(100, 10), (200, 5)]),
        (b"user:100:10 \n", [(100, 10)]),
        (b"user2:1:1\nuse:1:1\n:1:1\n10000:1:1\n", []),
        (b"user:x:10\nuser:100\nuser\nuser:100:-1\nuser::\n#user:1:1\n", []),
        ("user:²:10\nuser:100:²\n".encode(), []),
        (b"\xff\xfe:1:1\nuser:100:10\n", [(100, 10)]),
        (b"user:100:0\n", []),
        (b"", []),
    ],
)
def test_lines_of_subuid(tmp_path: Path, text: bytes, found: list[tuple[int, int]]) -> None:
    assert ranges(tmp_path, text) == found


def test_missing_files(tmp_path: Path) -> None:
    assert userns.subordinate_ranges(str(tmp_path / "absent"), 1000, "user") == []
    assert ranges(tmp_path, b"None:1:1\n", name=None) == [], "a user without a name"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80))
def test_any_file_is_read(tmp_path: Path, data: bytes) -> None:
    for first, count in ranges(tmp_path, b"user:" + data):
        assert first >= 0 and count > 0


def test_maps() -> None:
    single = IdMap(((0, 1000, 1),), ((0, 1000, 1),))
    assert single.single and single.count() == 1 and single.has(0, 0) and not single.has(1, 0)
    whole = IdMap(((0, 1000, 1), (1, 100000, 10)), ((0, 1000, 1), (1, 100000, 5)))
    assert not whole.single and whole.count() == 11
    assert whole.has(10, 5) and not whole.has(11, 0) and not whole.has(10, 6)
    assert userns._extents(7, [(100, 10), (200, 5)]) == ((0, 7, 1), (1, 100, 10), (11, 200, 5))


@unprivileged
def test_entering_makes_the_map_that_was_planned() -> None:
    idmap = userns.default_map(os.getuid(), os.getgid())

    def run() -> tuple[list[tuple[int, ...]], tuple[int, ...], bool]:
        userns.enter(idmap)
        with open("/proc/self/uid_map", encoding="ascii") as file:
            rows = [tuple(int(word) for word in line.split()) for line in file]
        return rows, (*os.getresuid(), *os.getresgid()), userns.is_host_root()

    rows, ids, host_root = in_child(run)
    assert rows == list(idmap.uids) and ids == (0,) * 6 and not host_root


@unprivileged
def test_run_tells_what_went_wrong() -> None:
    idmap = IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),))

    def fail() -> None:
        raise SampanError("what", "why", "hint", exit_status=7)

    with pytest.raises(SampanError) as caught:
        userns.run(idmap, fail)
    assert str(caught.value) == "what: why; hint" and caught.value.exit_status == 7
    with pytest.raises(SampanError, match="ZeroDivisionError"):
        userns.run(idmap, lambda: 1 // 0)
    with pytest.raises(SampanError, match="a helper process failed"):
        userns.run(idmap, lambda: os.kill(os.getpid(), 9))
    before = len(os.listdir("/proc/self/fd"))
    userns.run(idmap, lambda: None)
    assert len(os.listdir("/proc/self/fd")) == before


@unprivileged
def test_a_map_that_is_not_granted() -> None:
    """newuidmap refuses, and its words are shown."""
    if not userns.find_helper("newuidmap"):
        pytest.skip("newuidmap is not installed")
    foreign = IdMap(((0, os.getuid(), 1), (1, 1, 10)), ((0, os.getgid(), 1), (1, 1, 10)))
    with pytest.raises(SampanError, match="newuidmap failed") as caught:
        userns.run(foreign, lambda: None)
    assert "/etc/subuid" in str(caught.value)


@unprivileged
def test_a_map_the_kernel_refuses() -> None:
    with pytest.raises(SampanError, match="uid_map: Operation not permitted"):
        userns.run(IdMap(((0, 0, 1),), ((0, 0, 1),)), lambda: None)


@unprivileged
def test_no_more_namespaces() -> None:
    """user.max_user_namespaces is 0, which the owner of a namespace may say of those inside it."""
    idmap = IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),))

    def run() -> str:
        userns.enter(idmap)
        with open("/proc/sys/user/max_user_namespaces", "w", encoding="ascii") as file:
            file.write("0")
        try:
            userns.run(IdMap(((0, 0, 1),), ((0, 0, 1),)), lambda: None)
        except SampanError as error:
            return str(error)
        return ""

    text = in_child(run)
    assert "user.max_user_namespaces is 0" in text and "sysctl -w user.max_user_namespaces" in text


@unprivileged
def test_a_seccomp_profile_that_forbids_it() -> None:
    """As inside a container of another engine."""
    from sampan.linux import libc, seccomp

    row = {"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EPERM}
    program = seccomp.compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [row]})

    def run() -> str:
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.load_filter(program)
        try:
            userns.run(IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),)), lambda: None)
        except SampanError as error:
            return str(error)
        return ""

    text = in_child(run)
    assert "unshare(CLONE_NEWUSER) is not permitted" in text and "seccomp=unconfined" in text


def test_the_reasons_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine cannot show is told from the files that would say it."""

    def told(number: int, **files: str) -> str:
        monkeypatch.setattr(userns, "_read", lambda path: files.get(os.path.basename(path)))
        return str(userns._blocked(OSError(number, os.strerror(number))))

    texts = [
        told(errno.EPERM, max_user_namespaces="0"),
        told(errno.EPERM, unprivileged_userns_clone="0"),
        told(errno.EPERM, apparmor_restrict_unprivileged_userns="1"),
        told(errno.EPERM, max_user_namespaces="100"),
        told(errno.ENOMEM),
    ]
    assert len({text.partition(";")[2] for text in texts}) == 5
    assert all(text.startswith("cannot make a user namespace: ") and ";" in text for text in texts)


@unprivileged
@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_no_helper_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(userns, "find_helper", lambda name: None)
    idmap = IdMap(((0, os.getuid(), 1), (1, 100000, 10)), ((0, os.getgid(), 1), (1, 100000, 10)))
    with pytest.raises(SampanError, match="newuidmap is not installed") as caught:
        userns.run(idmap, lambda: None)
    assert "uidmap" in str(caught.value)


def test_helpers_are_never_taken_from_the_path(tmp_path: Path) -> None:
    evil = tmp_path / "newuidmap"
    evil.write_text("#!/bin/sh\n")
    evil.chmod(0o755)
    code = "from sampan.linux import userns; print(userns.find_helper('newuidmap'))"
    environment = {"PATH": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert str(tmp_path) not in done.stdout and done.returncode == 0
