"""Containers with another id map, under every storage driver, and the drivers themselves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sampan.linux import userns
from system_tools import Sampan

DRIVERS = ["overlay", "fuse-overlayfs", "vfs"]
SINGLE = userns.default_map(os.getuid(), os.getgid()).single
needs_subids = pytest.mark.skipif(SINGLE, reason="this user has no subordinate ids")


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    if request.param == "fuse-overlayfs" and not shutil.which("fuse-overlayfs"):
        pytest.skip("fuse-overlayfs is not installed")
    return str(request.param)


class Told:
    """What a command said, as text."""

    def __init__(self, returncode: int, stdout: bytes, stderr: bytes) -> None:
        self.returncode, self.stdout, self.stderr = returncode, stdout.decode(), stderr.decode()


def tell(shared: Sampan, *words: str, env: dict[str, str] | None = None) -> Told:
    result = shared(*words, env=env)
    return Told(result.returncode, result.stdout, result.stderr)


def run(shared: Sampan, driver: str, *words: str) -> str:
    result = tell(shared, "--storage-driver", driver, "run", "--rm", *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_container_on_each_driver(shared: Sampan, driver: str) -> None:
    script = "echo x > /etc/new; rm /etc/issue; ls /etc/issue; cat /etc/new; grep ' / ' /proc/self/mountinfo | head -1"
    told = run(shared, driver, "debian:bookworm", "sh", "-c", script)
    assert told.startswith("x\n")
    assert ("fuse" in told) == (driver == "fuse-overlayfs")
    assert (" - overlay " in told) == (driver == "overlay")


def test_start_again_and_exec(shared: Sampan, driver: str) -> None:
    words = ("--storage-driver", driver)
    made = tell(
        shared,
        *words,
        "run",
        "-d",
        "debian:bookworm",
        "sh",
        "-c",
        "echo again >> /kept; exec sleep 100",
    )
    name = made.stdout.strip()
    try:
        assert tell(shared, "exec", name, "cat", "/kept").stdout == "again\n"
        assert tell(shared, "stop", "-t", "0", name).returncode == 0
        assert tell(shared, "start", name).returncode == 0
        assert tell(shared, "exec", name, "cat", "/kept").stdout == "again\nagain\n"
    finally:
        assert tell(shared, "rm", "-f", "-t", "0", name).returncode == 0


def test_no_helper_is_left(shared: Sampan) -> None:
    if not shutil.which("fuse-overlayfs"):
        pytest.skip("fuse-overlayfs is not installed")

    def helpers() -> int:
        count = 0
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                count += (
                    words[0].endswith(b"fuse-overlayfs")
                    and os.stat(f"/proc/{pid}").st_uid == os.getuid()
                )
            except OSError:
                continue
        return count

    before = helpers()
    made = tell(
        shared, "--storage-driver", "fuse-overlayfs", "run", "-d", "debian:bookworm", "sleep", "100"
    )
    assert helpers() == before + 1
    assert tell(shared, "rm", "-f", "-t", "0", made.stdout.strip()).returncode == 0
    assert helpers() == before


def test_keep_id(shared: Sampan, driver: str, tmp_path: Path) -> None:
    """The user's files are the user's inside, the image's files are root's, and root can be had."""
    script = "id -u; id -g; stat -c %u /etc/passwd; touch /v/f; stat -c %u /v /v/f"
    told = run(
        shared,
        driver,
        "--userns",
        "keep-id",
        "-v",
        f"{tmp_path}:/v",
        "debian:bookworm",
        "sh",
        "-c",
        script,
    )
    own = str(os.getuid())
    image = own if SINGLE else "0"
    assert told.split() == [own, str(os.getgid()), image, own, own]
    assert os.stat(tmp_path / "f").st_uid == os.getuid()
    words = ("--userns", "keep-id:uid=33,gid=34", "debian:bookworm", "sh", "-c", "id -u; id -g")
    assert run(shared, driver, *words).split() == ["33", "34"]


@needs_subids
def test_root_of_another_map_changes_the_root(shared: Sampan, driver: str) -> None:
    script = "touch /a; chown 33:33 /a; stat -c %u:%g /a /etc/shadow; test -u /usr/bin/passwd && echo set"
    for mode in (
        ("auto",) if driver == "vfs" else ("nomap", "keep-id", "auto")
    ):  # vfs copies the image each time
        told = run(
            shared, driver, "--userns", mode, "--user", "0", "debian:bookworm", "sh", "-c", script
        )
        assert told.split() == ["33:33", "0:42", "set"], mode


@needs_subids
def test_auto_gives_each_container_its_own_ids(shared: Sampan) -> None:
    names = [
        tell(
            shared, "run", "-d", "--userns", "auto:size=2000", "debian:bookworm", "sleep", "100"
        ).stdout.strip()
        for _ in range(2)
    ]
    try:
        maps = [
            tell(shared, "exec", name, "cat", "/proc/self/uid_map").stdout.split() for name in names
        ]
        assert maps[0][2] == maps[1][2] == "2000" and maps[0][1] != maps[1][1]
        assert (
            tell(shared, "inspect", names[0], "--format", "{{.HostConfig.UsernsMode}}").stdout
            == "private\n"
        )
    finally:
        tell(shared, "rm", "-f", "-t", "0", *names)


@needs_subids
def test_exec_where_the_user_has_no_id(shared: Sampan) -> None:
    name = tell(
        shared, "run", "-d", "--userns", "nomap", "debian:bookworm", "sleep", "100"
    ).stdout.strip()
    try:
        assert tell(shared, "exec", "-u", "33", name, "id", "-u").stdout == "33\n"
    finally:
        tell(shared, "rm", "-f", "-t", "0", name)


@pytest.mark.skipif(
    not SINGLE, reason="with subordinate ids the image's files are root's, who is not in this map"
)
def test_another_user_with_one_id(shared: Sampan) -> None:
    told = run(
        shared, "overlay", "--uidmap", "33:0:1", "--user", "33:33", "debian:bookworm", "id", "-u"
    )
    assert told == "33\n"


def test_what_cannot_be_had(shared: Sampan) -> None:
    for words in (
        ["--userns", "nonsense"],
        ["--userns", "keep-id", "--uidmap", "0:0:1"],
        ["--uidmap", "0:99999999:1"],
    ):
        result = tell(shared, "run", "--rm", *words, "debian:bookworm", "true")
        assert result.returncode == 125 and result.stderr.startswith("Error: "), words
        assert len(result.stderr.splitlines()) == 1
    broken = {"SAMPAN_STORAGE_DRIVER": "nonsense"}
    assert "nonsense" in tell(shared, "run", "busybox", "true", env=broken).stderr


def test_host_groups_are_kept(shared: Sampan) -> None:
    told = run(
        shared,
        "overlay",
        "--group-add",
        "keep-groups",
        "debian:bookworm",
        "cat",
        "/proc/self/status",
    )
    groups = next(line for line in told.splitlines() if line.startswith("Groups:")).split()[1:]
    assert len(set(os.getgroups()) | {os.getgid()}) >= len(set(groups)) >= bool(os.getgroups())
    refused = tell(
        shared, "run", "--group-add", "keep-groups", "--group-add", "5", "debian:bookworm", "true"
    )
    assert refused.returncode == 125


@needs_subids
def test_layers_are_copied_where_nothing_translates_owners(shared: Sampan, tmp_path: Path) -> None:
    """Told before it is done, once for a map, with the image's owners in what is committed; prune takes it away."""
    place = tmp_path / "sampan"
    place.mkdir()
    (place / "sampan.toml").write_text('[storage.overlay]\nfuse_program = "/nonexistent"\n')
    without = {"XDG_CONFIG_HOME": str(tmp_path)}
    words = ("--userns", "keep-id:uid=77", "-u", "0", "debian:bookworm", "sh", "-c")
    script = "stat -c %u:%g / /etc/shadow; touch /root/x; chown 33:34 /root/x; grep ' / ' /proc/self/mountinfo"
    first = tell(shared, "run", "--name", "copied", *words, script, env=without)
    assert first.returncode == 0 and "copying" in first.stderr and "MiB" in first.stderr, (
        first.stderr
    )
    assert first.stdout.split()[:2] == ["0:0", "0:42"] and " - overlay " in first.stdout
    again = tell(shared, "run", "--rm", *words, "true", env=without)
    assert again.returncode == 0 and again.stderr == ""
    assert "A /root/x" in tell(shared, "diff", "copied", env=without).stdout
    assert tell(shared, "commit", "-q", "copied", "copied:1", env=without).returncode == 0
    assert run(shared, "overlay", "copied:1", "stat", "-c", "%u:%g", "/root/x") == "33:34\n"
    overlay = Path(shared.environment["SAMPAN_ROOT"]) / "overlay"
    assert any("-" in name for name in os.listdir(overlay))
    tell(shared, "rm", "copied")
    tell(shared, "rmi", "copied:1")
    assert tell(shared, "image", "prune", "-f").returncode == 0
    assert not any("-" in name for name in os.listdir(overlay))
