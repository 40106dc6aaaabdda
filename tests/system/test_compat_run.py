"""Options of `run` as podman has them."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from system_tools import BUSYBOX, DEBIAN, Sampan, has_subordinate_ids

ATTACHED = ["sh", "-c", "echo out; echo err >&2"]


def test_attach_chooses_the_streams(sampan: Sampan) -> None:
    for stream, out, err in (("stdout", b"out\n", b""), ("stderr", b"", b"err\n")):
        result = sampan("run", "--name", stream, "-a", stream, BUSYBOX, *ATTACHED)
        assert (result.stdout, result.stderr) == (out, err)
        logged = sampan("logs", stream)
        assert (logged.stdout, logged.stderr) == (b"out\n", b"err\n")
    name = sampan.text("run", "--attach", "stdin", "--name", "c", BUSYBOX, "echo", "hello")
    assert name == sampan.text("inspect", "--format", "{{.Id}}", "c")
    result = sampan("run", "-a", "stdlog", BUSYBOX)
    assert result.returncode == 125 and b'invalid stream "stdlog"' in result.stderr


def test_hostuser(sampan: Sampan) -> None:
    me = pwd.getpwuid(os.getuid())
    for word in (me.pw_name, str(me.pw_uid)):
        line = sampan.text("run", "--rm", "--hostuser", word, BUSYBOX, "tail", "-n1", "/etc/passwd")
        assert line.split(":")[0] == me.pw_name and line.split(":")[5] == me.pw_dir
    if has_subordinate_ids():
        words = ["--hostuser", me.pw_name, "--user", me.pw_name]
        shown = sampan.text("run", "--rm", *words, BUSYBOX, "sh", "-c", 'echo "$(id -u) $HOME"')
        assert shown == f"{me.pw_uid} {me.pw_dir}"
    result = sampan("run", "--rm", "--hostuser", "no-such-user", BUSYBOX, "true")
    assert result.returncode == 126 and b"unable to find user" in result.stderr
    assert me.pw_name not in sampan.text("run", "--rm", BUSYBOX, "cat", "/etc/passwd")


def test_workdir_must_exist(sampan: Sampan, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    tmp_path.chmod(0o755)
    result = sampan("run", "--rm", "--workdir", "/not/there", BUSYBOX, "pwd")
    assert result.returncode == 126
    assert b'workdir "/not/there" does not exist on container' in result.stderr
    for volume in (f"{tmp_path}:/new", f"{tmp_path}/file:/new/file"):
        shown = sampan.text("run", "--rm", "-w", "/new", "-v", volume, BUSYBOX, "cat", "file")
        assert shown == "content"


def test_timeout_differs_from_a_kill(sampan: Sampan) -> None:
    assert (
        sampan("run", "--name", "late", "--timeout", "1", BUSYBOX, "sleep", "60").returncode == 255
    )
    assert sampan.state("late")["ExitCode"] == -1 and sampan.state("late")["ExitCodeKnown"]


def test_containerenv_tells_only_a_privileged_container(sampan: Sampan) -> None:
    assert sampan.text("run", "--rm", BUSYBOX, "stat", "-c", "%s", "/run/.containerenv") == "0"
    told = sampan.text(
        "run", "--rm", "--privileged", "--name", "p", BUSYBOX, "cat", "/run/.containerenv"
    )
    assert 'name="p"' in told and "rootless=1" in told


def test_mtab(sampan: Sampan) -> None:
    assert sampan.text("run", "--rm", DEBIAN, "readlink", "/etc/mtab") == "/proc/mounts"
    assert (
        sampan.text("run", "--rm", "--read-only", DEBIAN, "readlink", "/etc/mtab") == "/proc/mounts"
    )


def test_unsetenv_all(sampan: Sampan) -> None:
    shown = sampan.text(
        "run", "--rm", "--unsetenv-all", "-e", "A=b", BUSYBOX, "/bin/sh", "-c", "env"
    )
    names = {line.partition("=")[0] for line in shown.splitlines()}
    assert "A" in names and not names & {"container", "HOSTNAME", "TERM"}


def test_the_size_of_a_log(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--name", "l", "--log-opt", "max-size=1.047m", BUSYBOX, "true")
    show = ["inspect", "--format", "{{.HostConfig.LogConfig.Size}} {{.HostConfig.LogConfig.Path}}"]
    size, path = sampan.text(*show, "l").split()
    assert size == "1.047MB" and Path(path).is_file()
    script = "seq 1 20000; echo last"
    sampan("run", "--name", "m", "--log-opt", "max-size=100k", BUSYBOX, "sh", "-c", script)
    log = Path(sampan.text(*show, "m").split()[1])
    assert 0 < log.stat().st_size <= 100_000 + (64 << 10) * 8  # one piece of output may be more
    assert sampan.text("logs", "--tail", "1", "m") == "last"
    sampan("run", "--name", "n", "--log-driver", "none", BUSYBOX, "true")
    assert sampan.text(*show, "n") == "0B "
    assert b"using the 'none' log driver, cannot read logs" in sampan("logs", "n").stderr
    assert sampan("run", "--log-opt", "max-size=big", BUSYBOX).returncode == 125
    assert b"is not supported" in sampan("run", "--log-opt", "path=/x", BUSYBOX).stderr


def test_kernel_memory_is_no_longer_a_limit(sampan: Sampan) -> None:
    result = sampan("run", "--rm", "--kernel-memory", "100", BUSYBOX, "true")
    assert b"The --kernel-memory flag is no longer supported. This flag is a noop." in result.stderr


def test_ports_without_a_network_are_discarded_aloud(sampan: Sampan) -> None:
    for network in ("host", "none"):
        result = sampan("run", "--rm", "-p", "8080", "--network", network, BUSYBOX, "echo", "x")
        assert result.stdout == b"x\n"
        assert result.stderr.startswith(b"Port mappings have been discarded")
    result = sampan("run", "--rm", "-p", "8080", BUSYBOX, "true", env={"SAMPAN_NETWORK": "none"})
    assert result.returncode == 125 and b"--network slirp4netns does" in result.stderr


@pytest.mark.parametrize(
    "word",
    ["--pod=new:x", "--gpus=all", "--rootfs", "--systemd=always", "--link=a:b"],
)  # fmt: skip
def test_parts_that_are_not_there(sampan: Sampan, word: str) -> None:
    result = sampan("run", "--rm", word, BUSYBOX, "true")
    assert result.returncode == 125
    assert result.stderr.startswith(
        f"Error: option {word.partition('=')[0]} is not supported".encode()
    )


def test_values_that_ask_for_what_is_so_anyway(sampan: Sampan) -> None:
    words = ["--restart=no", "--pid=private", "--ipc=private", "--uts=private", "--cgroupns=private",
             "--userns=host", "--systemd=false", "--no-healthcheck", "--disable-content-trust"]  # fmt: skip
    assert sampan.text("run", "--rm", *words, BUSYBOX, "echo", "x") == "x"


def test_security_options(sampan: Sampan) -> None:
    for word in ("no-new-privileges", "no-new-privileges=true", "no-new-privileges:true"):
        words = ["--security-opt", word, BUSYBOX, "grep", "NoNewPrivs", "/proc/self/status"]
        assert sampan.text("run", "--rm", *words).split() == ["NoNewPrivs:", "1"]
    words = [
        "--security-opt",
        "no-new-privileges=false",
        BUSYBOX,
        "grep",
        "NoNewPrivs",
        "/proc/1/status",
    ]
    assert sampan.text("run", "--rm", *words).split() == ["NoNewPrivs:", "0"]


def test_a_directory_cannot_be_executed(sampan: Sampan) -> None:
    result = sampan("run", "--rm", BUSYBOX, "/etc")
    assert result.returncode == 126 and b"exec: permission denied" in result.stderr
    result = sampan("run", "--rm", BUSYBOX, "/no/such/command")
    assert result.returncode == 127 and b"No such file or directory" in result.stderr


def test_the_cidfile_is_never_written_over(sampan: Sampan, tmp_path: Path) -> None:
    cidfile = tmp_path / "cid"
    name = sampan.text("create", "--cidfile", str(cidfile), BUSYBOX)
    assert cidfile.read_text() == name
    for verb in ("create", "run"):
        result = sampan(verb, "--cidfile", str(cidfile), BUSYBOX, "true")
        assert result.returncode == 125
        assert (
            b"container id file exists" in result.stderr
            and f"delete {cidfile}".encode() in result.stderr
        )


def test_quotes_in_a_label(sampan: Sampan) -> None:
    sampan.text("create", "--name", "q", "--label", 'true="false"', BUSYBOX)
    assert sampan.text("inspect", "--format", "{{.Config.Labels.true}}", "q") == '"false"'


def test_ipc(sampan: Sampan) -> None:
    result = sampan("run", "--rm", "--ipc=none", BUSYBOX, "ls", "/dev/shm")
    assert result.returncode == 1 and b"No such file" in result.stderr
    sampan.text("create", "--name", "closed", "--ipc=private", BUSYBOX)
    result = sampan("run", "--rm", "--ipc=container:closed", BUSYBOX)
    assert result.returncode == 125 and b"is not allowed: non-shareable IPC" in result.stderr


def test_a_terminal_that_is_none_is_told(sampan: Sampan) -> None:
    result = sampan("run", "--rm", "-it", BUSYBOX, "echo", "x")
    assert result.stdout == b"x\r\n" and b"The input device is not a TTY" in result.stderr
    assert sampan("run", "--rm", "-t", "-i=false", BUSYBOX, "true").stderr == b""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-h"], "flag needs an argument: 'h' in -h"),
        (["-d", "--rmi", BUSYBOX], "run --detach --rmi"),
        (["--oom-score-adj", "5000", BUSYBOX], "invalid --oom-score-adj 5000"),
        (["-d", "-a", "stdout", BUSYBOX], "--attach and --detach cannot be used together"),
    ],
)
def test_what_does_not_fit_together(sampan: Sampan, words: list[str], told: str) -> None:
    result = sampan("run", *words)
    assert result.returncode == 125 and told in result.stderr.decode()
