"""The interpreter that enters a container is never one that the container can write to."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from system_tools import DEBIAN, Sampan, virtual_environment

SCRIPT = """#!/proc/self/exe
import json, os
row = os.statvfs("/proc/self/exe")
print(json.dumps({"writable": os.access("/proc/self/exe", os.W_OK), "readonly": bool(row.f_flag & os.ST_RDONLY),
                  "uid": os.stat("/proc/self/exe").st_uid}))
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory, program: str) -> Path:
    """sampan on an interpreter that belongs to the user: a copy, as pyenv or conda would install it."""
    base = tmp_path_factory.mktemp("copied")
    base.chmod(0o755)
    return virtual_environment(
        base / "venv", program, "/usr/bin/python3", "--copies", "--without-pip"
    )


@pytest.fixture
def own(sampan: Sampan, copied: Path) -> Iterator[Sampan]:
    before = sampan.program
    sampan.program = str(copied)
    yield sampan
    sampan.program = before


def evil(sampan: Sampan, tmp_path: Path, *, run: bool) -> dict[str, object]:
    """What a script sees that is run by the very interpreter that entered."""
    path = tmp_path / "evil"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    mounts = ["-v", "/usr:/usr:ro", "-v", f"{path}:/evil:ro"]
    if run:
        text = sampan.text("run", "--rm", *mounts, DEBIAN, "/evil")
    else:
        sampan.text("run", "-d", "--name", "e", *mounts, DEBIAN, "sleep", "100")
        text = sampan.text("exec", "e", "/evil")
    found: dict[str, object] = json.loads(text)
    return found


@pytest.mark.parametrize("run", [True, False], ids=["run", "exec"])
def test_the_systems_interpreter(sampan: Sampan, tmp_path: Path, run: bool) -> None:
    if os.stat(Path(sampan.program).parent / "python").st_uid == os.getuid():
        pytest.skip("the interpreter is the user's own")
    found = evil(sampan, tmp_path, run=run)
    assert found["writable"] is False and found["uid"] == 65534


@pytest.mark.parametrize("run", [True, False], ids=["run", "exec"])
def test_an_interpreter_of_the_users_own(own: Sampan, tmp_path: Path, run: bool) -> None:
    """It belongs to root inside, and still cannot be written: it was started from a read-only mount."""
    binary = Path(own.program).parent / "python3"
    before = hashlib.sha256(binary.read_bytes()).hexdigest()
    found = evil(own, tmp_path, run=run)
    assert found == {"writable": False, "readonly": True, "uid": 0}
    assert hashlib.sha256(binary.read_bytes()).hexdigest() == before


def test_everything_else_works_on_it(own: Sampan) -> None:
    assert own("run", "--rm", "-i", DEBIAN, "cat", input=b"x" * 100_000).stdout == b"x" * 100_000
    assert own("run", "--rm", DEBIAN, "no-such").returncode == 127
    text = own.text(
        "run",
        "--rm",
        DEBIAN,
        "sh",
        "-c",
        "ls /proc/self/fd | wc -l; grep -E 'Cap(Eff|Bnd)|Seccomp:' /proc/self/status",
    )
    assert text.split() == [
        "4",
        "CapEff:",
        "00000000800405fb",
        "CapBnd:",
        "00000000800405fb",
        "Seccomp:",
        "2",
    ]
    assert shutil.which("sampan") != own.program
