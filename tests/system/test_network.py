"""slirp4netns: the way out, names, and what becomes of a helper."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from networks import fake, fetch, helper_of, needs, own_address, serving
from system_tools import BUSYBOX, DEBIAN, Sampan, ended, has_subordinate_ids, until

pytestmark = needs("slirp4netns")
SLIRP = ("--network", "slirp4netns")


def test_the_host_is_reached_but_for_its_loopback_interface(sampan: Sampan) -> None:
    address = own_address()
    with serving(address) as port:
        assert sampan.text("run", "--rm", *SLIRP, BUSYBOX, *fetch(address, port)) == address
    with serving("127.0.0.1") as port:
        for gateway in ("10.0.2.2", "127.0.0.1", address):
            result = sampan("run", "--rm", *SLIRP, BUSYBOX, *fetch(gateway, port))
            assert result.stdout == b"" and b"can't connect" in result.stderr


def test_names_are_answered_as_on_the_host(sampan: Sampan) -> None:
    """The answer, whatever it is, comes through 10.0.2.3."""
    result = sampan("run", "--rm", *SLIRP, BUSYBOX, "nslookup", "localhost.invalid", "10.0.2.3")
    assert b"10.0.2.3:53" in result.stdout and b"timed out" not in result.stdout


def test_resolv_conf_names_no_loopback_address(sampan: Sampan) -> None:
    lines = sampan.text("run", "--rm", *SLIRP, BUSYBOX, "cat", "/etc/resolv.conf").splitlines()
    assert lines[0] == "nameserver 10.0.2.3"
    assert not [line for line in lines if line.startswith(("nameserver 127.", "nameserver ::1"))]
    given = [
        line for line in Path("/etc/resolv.conf").read_text().splitlines() if line[:1] not in "#;"
    ]
    kept = [line for line in given if not line.startswith("nameserver")]
    assert [line for line in lines if not line.startswith("nameserver")] == kept
    words = ("--dns", "192.0.2.53", "--dns-search", "example.org", "--dns-option", "ndots:3")
    text = sampan.text("run", "--rm", *SLIRP, *words, BUSYBOX, "cat", "/etc/resolv.conf")
    assert text == "search example.org\nnameserver 192.0.2.53\noptions ndots:3"


def test_host_gateway_is_an_address_that_is_reached(sampan: Sampan) -> None:
    words = ("--add-host", "up:host-gateway")
    text = sampan.text("run", "--rm", *SLIRP, *words, BUSYBOX, "cat", "/etc/hosts")
    assert f"{own_address()}\tup" in text.splitlines()
    result = sampan("run", "--rm", "--network", "none", *words, BUSYBOX, "true")
    assert result.returncode == 125 and b"does not reach this machine" in result.stderr


@pytest.mark.parametrize("name", ["slirp", "slirp4netns"])
def test_both_names_are_one(sampan: Sampan, name: str) -> None:
    sampan.text("run", "-d", "--name", "c", "--network", name, BUSYBOX, "sleep", "100")
    found = json.loads(sampan.text("inspect", "c"))[0]
    assert found["HostConfig"]["NetworkMode"] == "slirp4netns"
    settings = found["NetworkSettings"]
    assert (settings["IPAddress"], settings["IPPrefixLen"]) == ("10.0.2.100", 24)
    assert settings["Gateway"] == "10.0.2.2"
    shown = sampan.text("exec", "c", "cat", "/sys/class/net/tap0/address")
    assert settings["MacAddress"] == shown
    sampan.text("stop", "-t", "0", "c")
    settings = json.loads(sampan.text("inspect", "c"))[0]["NetworkSettings"]
    assert settings["IPAddress"] == ""


@pytest.mark.parametrize(
    "words",
    [
        ("--userns=auto",), ("--userns=keep-id",), ("--userns=nomap",), ("--pid=host",), ("--read-only",),
        ("--privileged",), ("--user", "1000", "--userns=auto"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_with_other_namespaces(sampan: Sampan, words: tuple[str, ...]) -> None:
    if not has_subordinate_ids() and any("userns" in word for word in words):
        pytest.skip("one id only")
    text = sampan.text("run", "--rm", *SLIRP, *words, BUSYBOX, "cat", "/proc/net/route")
    assert "tap0" in text


def test_a_container_that_joins(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", *SLIRP, BUSYBOX, "sleep", "100")
    words = ("--network", "container:c", BUSYBOX)
    assert sampan.text("run", "--rm", *words, "cat", "/etc/resolv.conf").startswith(
        "nameserver 10.0.2.3"
    )
    assert "tap0" in sampan.text("run", "--rm", *words, "cat", "/proc/net/route")
    assert "tap0" in sampan.text("exec", "c", "cat", "/proc/net/route")
    sampan.text("run", "-d", "--name", "d", "--network", "container:c", BUSYBOX, "sleep", "100")
    words = ("--network", "container:d", BUSYBOX)
    assert "nameserver 10.0.2.3" in sampan.text("run", "--rm", *words, "cat", "/etc/resolv.conf")


def test_the_helper_ends_with_the_container(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", *SLIRP, BUSYBOX, "sleep", "100")
    pid = helper_of(sampan, "c")
    assert not ended(pid)
    sampan.text("kill", "c")
    assert until(lambda: ended(pid), 1)


def test_the_helper_ends_with_a_killed_monitor(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", *SLIRP, BUSYBOX, "sleep", "100")
    pid = helper_of(sampan, "c")
    os.kill(sampan.state("c")["ConmonPid"], signal.SIGKILL)
    assert until(lambda: ended(pid), 1)


def test_a_killed_helper_is_started_again(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", *SLIRP, BUSYBOX, "sleep", "100")
    first = helper_of(sampan, "c")
    os.kill(first, signal.SIGKILL)
    assert until(lambda: "reconnect" in sampan.text("events", "--stream=false"))
    assert helper_of(sampan, "c") != first
    address = own_address()
    with serving(address) as port:
        assert sampan.text("exec", "c", *fetch(address, port)) == address
    settings = json.loads(sampan.text("inspect", "c"))[0]["NetworkSettings"]
    assert settings["MacAddress"] == sampan.text("exec", "c", "cat", "/sys/class/net/tap0/address")


def test_a_helper_that_ends_again_and_again_is_told(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "c", *SLIRP, BUSYBOX, "sleep", "100")
    state = sampan.state("c")
    for _ in range(11):
        assert until(lambda: "tap0" in Path(f"/proc/{state['Pid']}/net/route").read_text())
        time.sleep(0.1)
        os.kill(helper_of(sampan, "c"), signal.SIGKILL)
    assert until(lambda: sampan.state("c")["Error"] != "")
    assert "network is down: slirp4netns ended" in sampan.state("c")["Error"]
    assert sampan.state("c")["Running"]
    assert "disconnect" in sampan.text("events", "--stream=false")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("echo 'version 0.1'; echo 'WARNING: old' >&2; echo 'unknown option --netns-type' >&2; exit 2",
         "unknown option --netns-type; this is version 0.1"),
        ("exit 0", "it ended with status 0; this is --version tells nothing"),
        ("kill -SEGV $$", "it was ended by signal 11"),
        ("head -c 300000 /dev/urandom >&2; exit 3", "cannot connect the container with slirp4netns"),
    ],
    ids=["old", "silent", "crashing", "garbage"],
)  # fmt: skip
def test_a_wrong_program_is_told_by_name(
    sampan: Sampan, tmp_path: Path, script: str, told: str
) -> None:
    environment = fake(tmp_path, "slirp4netns", script)
    result = sampan("run", "--name", "c", *SLIRP, BUSYBOX, "true", env=environment)
    assert result.returncode == 125 and result.stdout == b""
    text = result.stderr.decode(errors="replace")
    assert told in text and str(tmp_path) in text
    assert sampan.state("c")["Status"] == "exited"
    listed = sampan.text("plugin", "ls", "--format", "json", env=environment)
    assert [row for row in json.loads(listed) if row["Name"] == "slirp"]


def test_a_program_that_never_gets_ready_is_ended(sampan: Sampan, tmp_path: Path) -> None:
    environment = fake(tmp_path, "slirp4netns", "exec sleep 1000")
    result = sampan("run", "--rm", *SLIRP, BUSYBOX, "true", env=environment)
    assert result.returncode == 125 and b"it was not ready after 10 s" in result.stderr


def test_the_probe_tells_the_version(sampan: Sampan) -> None:
    rows = json.loads(sampan.text("plugin", "ls", "--format", "json"))
    (row,) = [row for row in rows if row["Name"] == "slirp4netns"]
    assert row["Usable"] and "slirp4netns version" in row["Why"]


def test_debian_too(sampan: Sampan) -> None:
    """glibc's resolver takes the file as it is."""
    assert "tap0" in sampan.text("run", "--rm", *SLIRP, DEBIAN, "cat", "/proc/net/route")


def test_the_modes_are_listed(sampan: Sampan) -> None:
    assert sampan.text("network", "ls", "-q").split() == [
        "bridge", "host", "none", "pasta", "slirp4netns",
    ]  # fmt: skip
    assert sampan.text("network", "ls").splitlines()[0].split()[:4] == [
        "NETWORK",
        "ID",
        "NAME",
        "DRIVER",
    ]
    (found,) = json.loads(sampan.text("network", "inspect", "slirp"))
    assert (found["Name"], found["Driver"], found["Usable"]) == ("slirp", "slirp4netns", "yes")
    for name, status in (("slirp", 0), ("pasta", 0), ("none", 0), ("x", 1)):
        assert sampan("network", "exists", name).returncode == status
    assert b"network not found" in sampan("network", "inspect", "x").stderr
