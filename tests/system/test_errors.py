"""What goes wrong is told in one line: what, why and what next, with status 125 and nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from system_tools import BUSYBOX, DEBIAN, Sampan, has_subordinate_ids

one_uid = pytest.mark.skipif(has_subordinate_ids(), reason="needs a user without subordinate ids")
subids = pytest.mark.skipif(not has_subordinate_ids(), reason="needs a user with subordinate ids")


def call(sampan: Sampan, words: Sequence[str], **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        words,
        env={**sampan.environment, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def told(result: subprocess.CompletedProcess[bytes], *parts: str) -> None:
    """One line with these parts, and status 125."""
    text = result.stderr.decode()
    assert result.returncode == 125, text
    lines = [line for line in text.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and text.rstrip("\n").endswith(lines[0]), text
    for part in parts:
        assert part in lines[0], text


def test_a_missing_image(fresh: Sampan) -> None:
    result = fresh("run", "--rm", "no-such-image", "true")
    told(result, "no-such-image")
    told(fresh("run", "--rm", "--pull", "never", BUSYBOX, "true"), "busybox")
    told(fresh("run", "--rm", "localhost:1/x", "true"), "localhost:1")
    assert fresh.leftovers() == []


def test_a_wrong_digest(fresh: Sampan, registry: str) -> None:
    told(fresh("run", "--rm", f"{registry}/library/busybox@sha256:{'0' * 64}", "true"), "0" * 64)
    assert fresh.leftovers() == []


def test_a_full_disk(fresh: Sampan) -> None:
    """In a user namespace of the test's own the store is on a small tmpfs."""
    script = textwrap.dedent(
        f"""
        mkdir -p "$SAMPAN_ROOT"; mount -t tmpfs -o size=24m none "$SAMPAN_ROOT" || exit 77
        sampan pull -q {DEBIAN}; echo "pull $?"
        sampan images -q; echo "images $?"
        sampan pull -q {BUSYBOX} > /dev/null; echo "small $?"
        dd if=/dev/zero of="$SAMPAN_ROOT/fill" bs=64k 2> /dev/null
        sampan run --name full {BUSYBOX} true; echo "run $?"
        sampan ps -aq > /dev/null; echo "ps $?"
        sampan rm -af; echo "rm $?"
        rm "$SAMPAN_ROOT/fill"
        sampan run --rm {BUSYBOX} echo works; echo "again $?"
        ls -A "$SAMPAN_ROOT/ingest" "$SAMPAN_ROOT/containers"
        """
    )
    result = call(fresh, ["unshare", "-Urm", "sh", "-c", script])
    if result.returncode == 77:
        pytest.skip("no tmpfs in a user namespace")
    output = result.stdout.decode()
    for line in ("pull 125", "images 0", "small 0", "ps 0", "rm 0", "works\nagain 0"):
        assert line in output, (output, result.stderr.decode())
    errors = [line for line in result.stderr.decode().splitlines() if line.startswith("Error: ")]
    assert any("space" in line for line in errors), errors
    assert ".tmp" not in output


def test_user_namespaces_off(fresh: Sampan) -> None:
    script = f"echo 0 > /proc/sys/user/max_user_namespaces && exec sampan run --rm {BUSYBOX} true"
    fresh.text("pull", "-q", BUSYBOX)
    result = call(fresh, ["unshare", "-Ur", "sh", "-c", script])
    told(result, "user namespace", "max_user_namespaces", "sysctl")
    assert fresh.leftovers() == []


DENY = """
import os, sys
from sampan.linux import libc, seccomp
names = sys.argv[1].split(",")
rows = [{"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]
libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
seccomp.load_filter(seccomp.compile_filter({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rows}))
os.execvp(sys.argv[2], sys.argv[2:])
"""


def denied(sampan: Sampan, calls: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    python = Path(sampan.program).parent / "python"
    program = str(python) if python.exists() else sys.executable
    return call(sampan, [program, "-c", DENY, calls, sampan.program, *words])


def test_unshare_is_not_permitted(shared: Sampan) -> None:
    told(
        denied(shared, "unshare", "run", "--rm", BUSYBOX, "true"),
        "user namespace",
        "not permitted",
        "seccomp",
    )


@one_uid
def test_mounts_are_denied(shared: Sampan) -> None:
    told(
        denied(shared, "mount,fsopen", "run", "--rm", BUSYBOX, "true"),
        "mount in a user namespace",
        "forbids",
    )


@one_uid
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_the_map_is_denied(shared: Sampan) -> None:
    """The second write of the monitor is its uid_map."""
    words = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=write",
        "-e",
        "inject=write:error=EPERM:when=2",
    ]
    result = call(shared, [*words, shared.program, "run", "--rm", BUSYBOX, "true"])
    told(result, "cannot map ids", "uid_map")


@subids
def test_newuidmap_without_its_privilege(shared: Sampan) -> None:
    result = call(
        shared, ["setpriv", "--no-new-privs", shared.program, "run", "--rm", BUSYBOX, "true"]
    )
    told(result, "subordinate ids", "newuidmap failed", "/etc/subuid")


def test_no_home(fresh: Sampan, tmp_path: Path) -> None:
    environment = {k: v for k, v in fresh.environment.items() if k not in ("HOME", "SAMPAN_ROOT")}
    environment["HOME"] = str(tmp_path / "absent")
    result = subprocess.run(
        [fresh.program, "images"], env=environment, capture_output=True, check=False
    )
    told(result, "does not exist", "--root")
    environment["SAMPAN_ROOT"] = str(fresh.root)
    result = subprocess.run(
        [fresh.program, "images"], env=environment, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_runtime_directory_that_is_not_private(fresh: Sampan, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    environment = {k: v for k, v in fresh.environment.items() if k != "SAMPAN_RUN_DIR"}
    environment["XDG_RUNTIME_DIR"] = str(tmp_path)
    result = subprocess.run(
        [fresh.program, "info", "--format", "{{.Store.RunRoot}}"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0 and not result.stdout.decode().startswith(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_an_environment_of_a_batch_job(fresh: Sampan) -> None:
    """env -i with only a PATH, standard input closed."""
    minimal = {
        k: fresh.environment[k]
        for k in ("PATH", "SAMPAN_ROOT", "SAMPAN_RUN_DIR", "CONTAINERS_REGISTRIES_CONF")
    }
    result = subprocess.run(
        ["sh", "-c", f"exec {fresh.program} run --rm {BUSYBOX} echo ok <&-"],
        env=minimal,
        capture_output=True,
        check=False,
    )
    assert result.stdout == b"ok\n", result.stderr


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("no_such_key = 1", ["unknown key no_such_key", "sampan.toml"]),
        ("root = [", ["sampan.toml"]),
        ("log_level = 'loud'", ["log level 'loud'"]),
        ("root = 3", ["root must be a text"]),
    ],
)
def test_configuration(fresh: Sampan, tmp_path: Path, text: str, parts: list[str]) -> None:
    (tmp_path / "sampan").mkdir()
    (tmp_path / "sampan/sampan.toml").write_text(text)
    told(fresh("ps", env={"XDG_CONFIG_HOME": str(tmp_path)}), *parts)


def test_order_of_configuration(fresh: Sampan, tmp_path: Path) -> None:
    (tmp_path / "sampan").mkdir()
    (tmp_path / "sampan/sampan.toml").write_text("log_driver = 'json-file'\nnetwork = 'host'\n")
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    show = ["info", "--format", "{{json .Choices}}"]
    assert '"json-file"' in fresh(*show, env=env).stdout.decode()
    assert '"none"' in fresh(*show, env={**env, "SAMPAN_LOG_DRIVER": "none"}).stdout.decode()
    result = fresh("--storage-driver", "nonesuch", "info")
    told(result, "nonesuch", "overlay")
