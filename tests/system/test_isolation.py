"""Isolation by degrees: what each mode shares, and what it does not."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from system_tools import BUSYBOX, Sampan, ended, until

KINDS = ("pid", "ipc", "uts", "cgroup", "net", "mnt", "user")
OPTIONS = {
    "pid": "--pid",
    "ipc": "--ipc",
    "uts": "--uts",
    "cgroup": "--cgroupns",
    "net": "--network",
}


def spaces(text: str) -> dict[str, str]:
    return dict(line.split(":", 1) for line in text.splitlines())


def inside(sampan: Sampan, *words: str) -> dict[str, str]:
    """The namespaces of a container: {kind: kind:[inode]}."""
    script = (
        "for k in pid ipc uts cgroup net mnt user; do echo $k:$(readlink /proc/self/ns/$k); done"
    )
    return spaces(sampan.text("run", "--rm", *words, BUSYBOX, "sh", "-c", script))


def of_host() -> dict[str, str]:
    return {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in KINDS}


def of_running(sampan: Sampan, name: str) -> dict[str, str]:
    pid = sampan.state(name)["Pid"]
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in KINDS}


def test_by_default_nothing_is_shared(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "other", BUSYBOX, "sleep", "100")
    found = inside(sampan)
    for others in (of_host(), of_running(sampan, "other")):
        assert not {kind for kind in KINDS if found[kind] == others[kind]}


@pytest.mark.parametrize("kind", sorted(OPTIONS))
def test_of_the_host(sampan: Sampan, kind: str) -> None:
    """Exactly what was asked for is the host's, and `exec` sees it too."""
    found, host = inside(sampan, OPTIONS[kind], "host"), of_host()
    assert {k for k in KINDS if found[k] == host[k]} == {kind}
    sampan.text("run", "-d", "--name", "c", OPTIONS[kind], "host", BUSYBOX, "sleep", "100")
    assert sampan.text("exec", "c", "readlink", f"/proc/self/ns/{kind}") == host[kind]
    assert sampan.text("exec", "c", "readlink", "/proc/self/ns/mnt") != host["mnt"]


@pytest.mark.parametrize("kind", sorted(OPTIONS))
def test_of_another_container(sampan: Sampan, kind: str) -> None:
    """Exactly what was asked for is the other container's, and the user namespace with it."""
    sampan.text("run", "-d", "--name", "donor", BUSYBOX, "sleep", "100")
    donor = of_running(sampan, "donor")
    found = inside(sampan, OPTIONS[kind], "container:donor")
    assert {k for k in KINDS if found[k] == donor[k]} == {kind, "user"}
    sampan.text(
        "run", "-d", "--name", "c", OPTIONS[kind], "container:donor", BUSYBOX, "sleep", "100"
    )
    assert sampan.text("exec", "c", "readlink", f"/proc/self/ns/{kind}") == donor[kind]
    sampan.text("stop", "-t", "0", "c")
    sampan.text("start", "c")
    assert of_running(sampan, "c")[kind] == donor[kind], "after a restart too"
    document = json.loads(sampan.text("inspect", "c"))[0]["HostConfig"]
    key = {
        "pid": "PidMode",
        "ipc": "IpcMode",
        "uts": "UTSMode",
        "cgroup": "CgroupMode",
        "net": "NetworkMode",
    }[kind]
    assert document[key] == f"container:{sampan.text('inspect', '--format', '{{.Id}}', 'donor')}"


def test_the_user_namespace_of_another_container(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "donor", BUSYBOX, "sleep", "100")
    found = inside(sampan, "--userns", "container:donor")
    donor = of_running(sampan, "donor")
    assert {k for k in KINDS if found[k] == donor[k]} == {"user"}


def test_several_of_one(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "a", BUSYBOX, "sleep", "100")
    sampan.text("run", "-d", "--name", "b", "--pid", "container:a", BUSYBOX, "sleep", "101")
    found = inside(
        sampan, "--pid", "container:b", "--ipc", "container:a", "--network", "container:b"
    )
    a, b = of_running(sampan, "a"), of_running(sampan, "b")
    assert (found["pid"], found["ipc"], found["net"]) == (a["pid"], a["ipc"], b["net"])
    assert found["user"] == a["user"] == b["user"]


def test_processes_see_each_other_and_end_with_their_own(sampan: Sampan) -> None:
    """A shared pid namespace: the second container's end takes its own processes only, whatever they left."""
    sampan.text("run", "-d", "--name", "donor", BUSYBOX, "sleep", "100")
    script = "(sleep 201 & sleep 202 &) ; setsid sleep 203 & ps"
    shown = sampan.text(
        "run", "--name", "c", "--pid", "container:donor", BUSYBOX, "sh", "-c", script
    )
    assert "sleep 100" in shown
    left = sampan.text("exec", "donor", "ps")
    assert "sleep 100" in left
    assert not [word for word in ("sleep 201", "sleep 202", "sleep 203") if word in left]
    assert sampan.state("donor")["Status"] == "running"


def test_the_host_s_processes(sampan: Sampan) -> None:
    """--pid=host: the container's processes end with its first one, and further commands too."""
    sampan.text(
        "run", "-d", "--name", "c", "--pid", "host", BUSYBOX,
        "sh", "-c", "(setsid sleep 301 &); (sleep 302 &); sleep 1.5",
    )  # fmt: skip
    runner = sampan.spawn("exec", "c", "sleep", "303")
    assert until(lambda: len(_sleepers()) == 3)
    monitor = sampan.state("c")["ConmonPid"]
    assert sampan.text("wait", "c") == "0"
    assert until(lambda: not _sleepers(), 3), _sleepers()
    assert runner.wait(5) == 137
    assert until(lambda: ended(monitor), 3)


def _sleepers() -> list[str]:
    found: list[str] = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if words[0] == b"sleep" and words[1].startswith(b"30"):
                found.append(name)
    return found


def test_shared_memory_of_another_container(sampan: Sampan) -> None:
    sampan.text(
        "run",
        "-d",
        "--name",
        "donor",
        "--shm-size",
        "8m",
        BUSYBOX,
        "sh",
        "-c",
        "echo hello > /dev/shm/word; sleep 100",
    )
    assert until(lambda: sampan("exec", "donor", "test", "-s", "/dev/shm/word").returncode == 0)
    shown = sampan.text(
        "run",
        "--rm",
        "--ipc",
        "container:donor",
        BUSYBOX,
        "sh",
        "-c",
        "cat /dev/shm/word; echo back > /dev/shm/answer; df -k /dev/shm",
    )
    assert shown.startswith("hello") and " 8192 " in shown
    assert sampan.text("exec", "donor", "cat", "/dev/shm/answer") == "back"


def test_a_donor_that_lies_about_its_shm(sampan: Sampan) -> None:
    """Its /dev/shm is resolved in its own root: a link to the host's files leads nowhere."""
    sampan.text("run", "-d", "--name", "donor", "--ipc", "none", BUSYBOX, "sleep", "100")
    assert sampan("run", "--rm", "--ipc", "container:donor", BUSYBOX, "true").returncode == 125
    sampan.text(
        "run",
        "-d",
        "--name",
        "liar",
        "--privileged",
        BUSYBOX,
        "sh",
        "-c",
        "umount /dev/shm; rmdir /dev/shm; ln -s ../../../../../etc /dev/shm; sleep 100",
    )
    time.sleep(0.5)
    result = sampan("run", "--rm", "--ipc", "container:liar", BUSYBOX, "ls", "/dev/shm")
    assert b"machine-id" not in result.stdout and b"subuid" not in result.stdout


def test_names_of_another_s_network_and_uts(sampan: Sampan) -> None:
    sampan.text(
        "run",
        "-d",
        "--name",
        "donor",
        "--hostname",
        "home",
        "--add-host",
        "peer:10.1.2.3",
        BUSYBOX,
        "sleep",
        "100",
    )
    script = "hostname; cat /etc/hostname; grep -c peer /etc/hosts"
    assert (
        sampan.text("run", "--rm", "--network", "container:donor", BUSYBOX, "sh", "-c", script)
        == "home\nhome\n1"
    )
    assert sampan.text("run", "--rm", "--uts", "container:donor", BUSYBOX, "hostname") == "home"
    assert sampan.text("run", "--rm", "--uts", "host", BUSYBOX, "hostname") == os.uname().nodename
    assert os.uname().nodename != "home"
    result = sampan("run", "--rm", "--uts", "host", "--hostname", "x", BUSYBOX, "true")
    assert result.returncode == 125


def test_a_donor_must_run(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "donor", BUSYBOX, "sleep", "100")
    sampan.text("create", "--name", "c", "--pid", "container:donor", BUSYBOX, "true")
    sampan.text("stop", "-t", "0", "donor")
    for words in (["start", "c"], ["run", "--rm", "--ipc", "container:donor", BUSYBOX, "true"]):
        result = sampan(*words)
        assert result.returncode == 125 and b"is not running" in result.stderr, words
    assert sampan("run", "--rm", "--pid", "container:nobody", BUSYBOX, "true").returncode == 125
    assert sampan.state("c")["Status"] == "created"


def test_the_donor_ends_and_takes_its_pid_namespace(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "donor", BUSYBOX, "sleep", "100")
    sampan.text("run", "-d", "--name", "c", "--pid", "container:donor", BUSYBOX, "sleep", "101")
    os.kill(sampan.state("donor")["Pid"], signal.SIGKILL)
    assert sampan.text("wait", "c") == "137"


def test_who_is_joined_is_not_removed_by_mistake(sampan: Sampan) -> None:
    sampan.text("create", "--name", "donor", BUSYBOX, "true")
    sampan.text("create", "--name", "c", "--pid", "container:donor", BUSYBOX, "true")
    result = sampan("rm", "donor")
    assert result.returncode == 125 and b"has dependent containers" in result.stderr
    donor = sampan.text("inspect", "--format", "{{.Id}}", "donor")
    assert json.loads(sampan.text("inspect", "c"))[0]["Dependencies"] == [donor]
    sampan.text("rm", "--depend", "donor")
    assert sampan.text("ps", "-aq") == ""


def test_words_that_are_refused(sampan: Sampan) -> None:
    for words in (
        ["--pid", "x"],
        ["--pid", "container:"],
        ["--uts", "ns:/proc/1/ns/uts"],
        ["--cgroupns", "no"],
    ):
        result = sampan("run", "--rm", *words, BUSYBOX, "true")
        assert result.returncode == 125 and result.stderr.count(b"\n") == 1, words
