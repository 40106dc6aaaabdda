"""Programs that carry a container's packets and are not what they should be: told by name, or the next one is used."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from networks import fake, helpers, holder, name_of, needs, own_address, serving
from system_tools import BUSYBOX, DEBIAN, Sampan, until

pytestmark = [needs("slirp4netns"), needs("pasta")]
# What a program of the right name does, and what is told of it where it is named.
FAULTS = {
    "old": ("echo 'flag --netns-type is unknown' >&2; exit 1", "flag --netns-type is unknown"),
    "silent": ("exit 0", "it ended with status 0"),
    "failing": ("exit 3", "it ended with status 3"),
    "crashing": ("kill -SEGV $$", "it was ended by signal 11"),
    "babbling": ("yes 'what is this?' | head -n 100000; exit 4", "cannot connect the container with"),
    "garbage": ("head -c 300000 /dev/urandom | tee /dev/stderr; exit 3", "cannot connect the container with"),
    "not for this machine": ("", "/{}: Exec format error;"),
}  # fmt: skip
HANGING = "case $1 in --version) sleep 1000;; esac; exec sleep 1000"
AN_OLD_NAME = (
    "case $1 in --version) echo {}, of old;; *) echo 'an option is unknown' >&2; exit 1;; esac"
)


@pytest.fixture(autouse=True)
def chosen_anew(sampan: Sampan) -> Iterator[None]:
    """What is chosen where nothing is named is recorded: neither before nor after is it of another test."""
    (sampan.root / "choices.json").unlink(missing_ok=True)
    yield
    (sampan.root / "choices.json").unlink(missing_ok=True)


def broken(directory: Path, script: str, *names: str) -> dict[str, str]:
    """An environment in which programs of these names do what the script says; without one they cannot be run."""
    directory.mkdir(exist_ok=True)
    environment: dict[str, str] = {}
    for name in names:
        environment = fake(directory, name, script)
        if not script:
            (directory / name).write_bytes(b"\x7fELF" + bytes(100))
    return environment


def modes(sampan: Sampan, environment: dict[str, str]) -> dict[str, dict[str, Any]]:
    """What is told of each network plugin."""
    rows = json.loads(sampan.text("plugin", "ls", "--format", "json", env=environment))
    return {row["Name"]: row for row in rows if row["Concern"] == "network"}


@pytest.mark.parametrize("mode", ["slirp4netns", "pasta"])
@pytest.mark.parametrize("fault", FAULTS)
def test_one_that_is_named(sampan: Sampan, tmp_path: Path, mode: str, fault: str) -> None:
    """An error in one line: the program with its path, its own words, and what helps; nothing else takes its place."""
    script, told = FAULTS[fault][0], FAULTS[fault][1].format(mode)
    environment = broken(tmp_path / "bin", script, mode)
    result = sampan("run", "--rm", "--network", mode, BUSYBOX, "true", env=environment)
    text = result.stderr.decode(errors="replace")
    assert result.returncode == 125 and result.stdout == b""
    assert text.count("\n") == 1 and len(text) < 1500
    assert text.count(told) == 1
    assert f"{tmp_path}/bin/{mode}: " in text and "sampan plugin ls" in text
    row = modes(sampan, environment)[mode]
    assert row["Usable"] == "no" and f"{tmp_path}/bin/{mode} does not work" in row["Why"]
    assert "can install the package" in row["Why"]


@pytest.mark.parametrize("mode", ["slirp4netns", "pasta"])
def test_one_of_another_version(sampan: Sampan, tmp_path: Path, mode: str) -> None:
    """It is told with what it says of itself."""
    environment = broken(tmp_path / "bin", AN_OLD_NAME.format(mode), mode)
    result = sampan("run", "--rm", "--network", mode, BUSYBOX, "true", env=environment)
    assert result.returncode == 125
    assert f"an option is unknown; this is {mode}, of old;".encode() in result.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_one_is_used_where_none_is_named(
    sampan: Sampan, tmp_path: Path, fault: str
) -> None:
    """pasta in place of slirp4netns, and it works."""
    environment = broken(tmp_path / "bin", FAULTS[fault][0], "slirp4netns")
    run = ("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    result = sampan(*run, env=environment)
    assert result.returncode == 0 and result.stderr == b""
    assert mode_of(sampan) == "pasta"
    assert len(helpers(sampan.state("c")["ConmonPid"])) == 1


def mode_of(sampan: Sampan) -> str:
    return sampan.text("inspect", "--format", "{{.HostConfig.NetworkMode}}", "c")


def test_the_first_one_is_used_where_all_work(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    assert mode_of(sampan) == "slirp4netns"


def test_one_that_breaks_after_it_was_chosen(sampan: Sampan, tmp_path: Path) -> None:
    sampan.text("run", "--rm", BUSYBOX, "true")
    environment = broken(tmp_path / "bin", "exit 3", "slirp4netns")
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000", env=environment)
    assert mode_of(sampan) == "pasta"


def test_none_that_works(sampan: Sampan, tmp_path: Path) -> None:
    """No network, never the host's; one notice that says why; --network none says nothing."""
    environment = broken(tmp_path / "bin", "exit 3", "slirp4netns", "pasta")
    look = (BUSYBOX, "cat", "/proc/net/dev")
    result = sampan("run", "--name", "c", *look, env=environment)
    assert result.returncode == 0
    interfaces = [
        row.partition(b":")[0].strip() for row in result.stdout.splitlines() if b":" in row
    ]
    assert interfaces == [b"lo"]
    assert mode_of(sampan) == "none"
    notice = result.stderr.decode()
    assert notice.count("\n") == 1 and "the container has no network" in notice
    for name in ("slirp4netns", "pasta"):
        assert notice.count(f"{tmp_path}/bin/{name} does not work") == 1
    result = sampan("run", "--rm", "--network", "none", *look, env=environment)
    assert result.returncode == 0 and result.stderr == b""


def test_a_program_that_hangs(sampan: Sampan, tmp_path: Path) -> None:
    """It is waited for, but not for long, and what it started is ended with it."""
    environment = broken(tmp_path / "bin", HANGING, "slirp4netns")
    begin = time.monotonic()
    sampan.text("run", "-d", "--name", "c", BUSYBOX, "sleep", "100", env=environment)
    assert time.monotonic() - begin < 8 and mode_of(sampan) == "pasta"
    assert until(lambda: not sleepers(), 2)


def sleepers() -> list[str]:
    """This user's processes that do what HANGING does."""
    found: list[str] = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes()
            if words == b"sleep\x001000\x00" and place.stat().st_uid == os.getuid():
                found.append(place.name)
        except OSError:
            continue
    return found


@pytest.fixture
def net(sampan: Sampan) -> str:
    """A network, whose helper is not there yet."""
    assert until(lambda: holder(sampan) == 0, 5)
    return sampan.text("network", "create", "net")


@pytest.mark.parametrize("fault", ["failing", "crashing", "garbage"])
def test_a_bridge_has_another_way_out(sampan: Sampan, net: str, tmp_path: Path, fault: str) -> None:
    """pasta, which reaches a server all the same."""
    environment = broken(tmp_path / "bin", FAULTS[fault][0], "slirp4netns")
    run = ("run", "-d", "--name", "c", "--network", net, DEBIAN, "sleep", "1000")
    result = sampan(*run, env=environment)
    assert result.returncode == 0 and result.stderr == b""
    with serving(own_address()) as port:
        script = (
            f"exec 3<>/dev/tcp/{own_address()}/{port}; echo 'GET / HTTP/1.0' >&3; echo >&3; cat <&3"
        )
        shown = sampan.text("exec", "c", "timeout", "5", "bash", "-c", script)
    assert shown.endswith(own_address())
    assert [name_of(pid) for pid in helpers(holder(sampan))] == ["passt"]


def test_a_bridge_without_a_way_out(sampan: Sampan, net: str, tmp_path: Path) -> None:
    environment = broken(tmp_path / "bin", "exit 3", "slirp4netns", "pasta")
    result = sampan("run", "--rm", "--network", net, BUSYBOX, "true", env=environment)
    assert result.returncode == 125
    text = result.stderr.decode()
    assert text.count("\n") == 1
    for name in ("slirp4netns", "pasta"):
        assert f"{tmp_path}/bin/{name} does not work" in text
