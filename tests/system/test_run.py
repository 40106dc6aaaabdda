"""`run`: the main path, options, exit codes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from system_tools import BUSYBOX, DEBIAN, Sampan, has_subordinate_ids

needs_subids = pytest.mark.skipif(
    not has_subordinate_ids(), reason="the user has no subordinate ids"
)


def test_debian_by_short_name(sampan: Sampan) -> None:
    assert "ID=debian" in sampan.text("run", "--rm", "debian:bookworm", "cat", "/etc/os-release")


def test_inside_is_root_and_alone(sampan: Sampan) -> None:
    text = sampan.text("run", "--rm", BUSYBOX, "sh", "-c", "id -u; ps -o pid,comm")
    lines = text.splitlines()
    assert lines[0] == "0"
    assert len(lines) <= 4, "ps sees more than the shell, itself and its heading"


def test_nothing_is_left_after_rm(fresh: Sampan) -> None:
    fresh.text("run", "--rm", BUSYBOX, "true")
    assert fresh.leftovers() == []


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["sh", "-c", "exit 32"], 32),
        (["no-such-command"], 127),
        (["/no/such/path"], 127),
        (["/etc"], 126),
        (["/etc/passwd"], 126),
        (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
        (["true"], 0),
    ],
)
def test_exit_codes(sampan: Sampan, words: list[str], status: int) -> None:
    for _ in range(3):
        result = sampan("run", "--rm", BUSYBOX, *words)
        assert result.returncode == status, result.stderr
        if status in (126, 127):
            assert result.stderr.startswith(b"Error: cannot run ")
            assert result.stderr.count(b"\n") == 1


def test_own_errors_are_125(sampan: Sampan) -> None:
    for words in (
        ["run", "--no-such-flag", BUSYBOX],
        ["run"],
        ["run", "--rm", "repo/Upper", "true"],
        ["run", "--rm", "--memory", "64m", BUSYBOX, "true"],
        ["run", "--rm", "--security-opt", "no-such=option", BUSYBOX, "true"],
        ["no-such-verb"],
    ):
        result = sampan(*words)
        assert result.returncode == 125, words
        assert result.stderr.startswith(b"Error: "), words
        assert result.stderr.count(b"\n") == 1, result.stderr


def test_streams_are_apart(sampan: Sampan) -> None:
    result = sampan("run", "--rm", BUSYBOX, "sh", "-c", "echo out; echo err >&2")
    assert (result.stdout, result.stderr) == (b"out\n", b"err\n")


def test_stdin_reaches_the_command_and_ends(sampan: Sampan) -> None:
    assert sampan("run", "--rm", "-i", BUSYBOX, "cat", input=b"a\0b\n").stdout == b"a\0b\n"
    assert sampan("run", "--rm", BUSYBOX, "cat", input=b"not for the container").stdout == b""


def test_stdin_half_close(sampan: Sampan) -> None:
    """The command sees end of file while its output is still awaited."""
    script = "cat > /dev/null; sleep 0.3; echo after"
    assert (
        sampan("run", "--rm", "-i", BUSYBOX, "sh", "-c", script, input=b"x" * 100).stdout
        == b"after\n"
    )


def test_environment(sampan: Sampan, tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("# comment\n\nFROM_FILE=a=b 'c'\nFROM_HOST\nUNSET_ON_HOST\n")
    output = sampan(
        "run", "--rm", "--env-file", str(file), "-e", "LINES=one\ntwo", "-e", "TAKEN", "-e", "MISSING",
        "-e", "EMPTY=", BUSYBOX, "sh", "-c", "cat /proc/self/environ",
        env={"TAKEN": "yes", "FROM_HOST": "h", "SECRET_CANARY": "leak"},
    ).stdout  # fmt: skip
    values = dict(word.split(b"=", 1) for word in output.rstrip(b"\0").split(b"\0"))
    assert values[b"FROM_FILE"] == b"a=b 'c'"
    assert values[b"LINES"] == b"one\ntwo"
    assert values[b"TAKEN"] == b"yes" and values[b"FROM_HOST"] == b"h" and values[b"EMPTY"] == b""
    assert values[b"HOME"] == b"/root"
    assert not {b"MISSING", b"UNSET_ON_HOST", b"SECRET_CANARY"} & set(values)


def test_environment_bytes_and_size(sampan: Sampan, tmp_path: Path) -> None:
    many = [word for number in range(2000) for word in ("-e", f"V{number}=x")]
    assert sampan.text("run", "--rm", *many, BUSYBOX, "sh", "-c", "env | grep -c ^V") == "2000"
    raw = subprocess.run(
        [sampan.program, "run", "--rm", "-e", b"RAW=\xff\xfe", BUSYBOX, "sh", "-c", "echo $RAW"],
        env=sampan.environment, capture_output=True, check=False,
    )  # fmt: skip
    assert raw.stdout == b"\xff\xfe\n"
    before = sampan.leftovers()
    big = tmp_path / "big"
    big.write_text("BIG=" + "x" * (200 << 10))
    result = sampan("run", "--env-file", str(big), BUSYBOX, "true")
    assert result.returncode == 125
    assert b"BIG is too long" in result.stderr and b"131072" in result.stderr
    assert sampan.leftovers() == before


def test_entrypoint_and_command(sampan: Sampan) -> None:
    assert sampan.text("run", "--rm", "--entrypoint", "echo", BUSYBOX, "a", "b") == "a b"
    assert sampan.text("run", "--rm", "--entrypoint", '["echo","x"]', BUSYBOX, "y") == "x y"


def test_working_directory(sampan: Sampan) -> None:
    assert sampan.text("run", "--rm", "-w", "/usr/bin", BUSYBOX, "pwd") == "/usr/bin"
    assert sampan("run", "--rm", "-w", "relative", BUSYBOX, "pwd").returncode == 125


def test_hostname_and_hosts(sampan: Sampan) -> None:
    text = sampan.text(
        "run", "--rm", "--hostname", "ahoy", "--add-host", "friend:10.1.2.3", BUSYBOX, "sh", "-c",
        "hostname; cat /etc/hosts /etc/hostname",
    )  # fmt: skip
    assert text.splitlines()[0] == "ahoy"
    assert "10.1.2.3\tfriend" in text and text.endswith("ahoy")


def test_hosts_begin_with_a_base_file(sampan: Sampan, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.write_text("10.1.2.3 one # a comment\n10.1.2.4 two\n")
    conf = tmp_path / "containers.conf"
    ours = f'base_hosts_file = "{base}"\nhost_containers_internal_ip = "10.9.9.9"\n'
    conf.write_text(f"[containers]\n{ours}")
    named = {"CONTAINERS_CONF": str(conf)}
    words = ("run", "--rm", "--name", "two", "--hostname", "h")
    for more, own in ((("--add-host", "x:10.8.8.8"), False), (("--name", "three"), True)):
        shown = sampan.text(*words, *more, BUSYBOX, "cat", "/etc/hosts", env=named).splitlines()
        assert "10.1.2.3 one # a comment" in shown and "10.1.2.4 two" in shown
        assert "10.9.9.9\thost.containers.internal host.docker.internal" in shown
        assert any(line.startswith("::1\tlocalhost") for line in shown)
        assert [line for line in shown if line.endswith("\th three")] != [] or not own
        assert [line for line in shown if line.endswith("\th two")] == []
    conf.write_text("")
    place = {**named, "SAMPAN_BASE_HOSTS_FILE": "image"}
    assert "10.1.2.3" not in sampan.text("run", "--rm", BUSYBOX, "cat", "/etc/hosts", env=place)
    for key, value, told in (
        ("BASE_HOSTS_FILE", "/no/such", "is no file that can be read"),
        ("BASE_HOSTS_FILE", "relative", "is no file that can be read"),
        ("HOST_CONTAINERS_INTERNAL_IP", "10.0.0.300", "is no address"),
    ):
        result = sampan("run", "--rm", BUSYBOX, "true", env={f"SAMPAN_{key}": value})
        assert result.returncode == 125 and told in result.stderr.decode()


def test_labels_and_annotations(sampan: Sampan) -> None:
    sampan.text("create", "--name", "l", "--label", "a=b", "--annotation", "k=v", BUSYBOX)
    assert (
        sampan.text("inspect", "--format", "{{.Config.Labels.a}} {{.Config.Annotations.k}}", "l")
        == "b v"
    )


def test_mounts(sampan: Sampan, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "f").write_text("host")
    base = ["run", "--rm", "-v", f"{tmp_path}:/m"]
    assert sampan.text(*base, BUSYBOX, "cat", "/m/f") == "host"
    sampan.text(*base, BUSYBOX, "sh", "-c", "echo new > /m/made")
    assert (tmp_path / "made").read_text() == "new\n"
    assert (tmp_path / "made").stat().st_uid == os.getuid()
    result = sampan("run", "--rm", "-v", f"{tmp_path}:/m:ro", BUSYBOX, "touch", "/m/x")
    assert result.returncode == 1 and b"Read-only" in result.stderr
    text = sampan.text(
        "run", "--rm", "--mount", f"type=bind,src={tmp_path},dst=/deep/er/m,ro", "--tmpfs", "/t:size=1m",
        BUSYBOX, "sh", "-c", "cat /deep/er/m/f; grep ' /t ' /proc/mounts",
    )  # fmt: skip
    assert text.startswith("host") and "size=1024k" in text and "noexec" in text
    for bad in (
        f"{tmp_path}/absent:/m",
        f"{tmp_path}:relative",
        f"{tmp_path}:/m:nonsense",
        f"{tmp_path}:/",
    ):
        assert sampan("run", "--rm", "-v", bad, BUSYBOX, "true").returncode == 125


def test_read_only(sampan: Sampan) -> None:
    script = "touch /x 2>/dev/null || echo refused; touch /tmp/y && echo tmp"
    assert sampan.text("run", "--rm", "--read-only", BUSYBOX, "sh", "-c", script) == "refused\ntmp"


@needs_subids
def test_users(sampan: Sampan) -> None:
    def ids(*words: str) -> str:
        return sampan.text(
            "run", "--rm", *words, BUSYBOX, "sh", "-c", "echo $(id -u):$(id -g):$(id -G):$HOME"
        )

    assert ids() == "0:0:0:/root"
    assert ids("-u", "4242") == "4242:0:0:/"
    assert ids("-u", "4242:7") == "4242:7:7:/"
    assert ids("-u", "user") == "1000:1000:1000 8:/home/user"
    assert ids("-u", "1000:8") == "1000:8:8:/home/user"
    assert ids("-u", "user", "--group-add", "77") == "1000:1000:1000 8 77:/home/user"


@pytest.mark.parametrize(
    "user", ["-1", "2147483648", "4294967295", "4294967296", "0x0", "0 ", "1000:4294967296"]
)
def test_users_out_of_range(sampan: Sampan, user: str) -> None:
    result = sampan("run", "--rm", f"--user={user}", BUSYBOX, "id")
    assert result.returncode == 125 and result.stdout == b""


def test_unknown_user(sampan: Sampan) -> None:
    result = sampan("run", "--rm", "-u", "nobody-here", BUSYBOX, "id")
    assert result.returncode == 125 and b"unable to find user nobody-here" in result.stderr


@pytest.mark.skipif(has_subordinate_ids(), reason="the user has subordinate ids")
def test_one_uid_says_so(sampan: Sampan) -> None:
    assert (
        sampan.text("run", "--rm", BUSYBOX, "sh", "-c", "cat /proc/self/uid_map").split()[2] == "1"
    )
    result = sampan("run", "--rm", "-u", "1000", BUSYBOX, "id")
    assert result.returncode == 125 and b"subordinate ids" in result.stderr


def test_limits_and_sysctls(sampan: Sampan) -> None:
    text = sampan.text(
        "run", "--rm", "--ulimit", "nofile=100:200", "--sysctl", "net.ipv4.ip_forward=1", "--shm-size", "1m",
        BUSYBOX, "sh", "-c", "ulimit -n; ulimit -Hn; cat /proc/sys/net/ipv4/ip_forward; df -k /dev/shm | tail -1",
    )  # fmt: skip
    lines = text.splitlines()
    assert lines[:3] == ["100", "200", "1"] and lines[3].split()[1] == "1024"
    for bad in ("kernel.core_pattern=x", "net..x=1", "vm.swappiness=1", "net/../kernel/x=1"):
        assert sampan("run", "--rm", "--sysctl", bad, BUSYBOX, "true").returncode == 125


def test_devices_and_umask(sampan: Sampan) -> None:
    text = sampan.text(
        "run", "--rm", "--device", "/dev/fuse:/dev/mine", "--umask", "077", BUSYBOX, "sh", "-c",
        "stat -c %t:%T /dev/mine; umask; touch /f; stat -c %a /f",
    )  # fmt: skip
    assert text.splitlines() == ["a:e5", "0077", "600"]


def test_init_reaps_and_forwards(sampan: Sampan) -> None:
    text = sampan.text(
        "run", "--rm", "--init", BUSYBOX, "sh", "-c", "cat /proc/1/comm; (true &) ; sleep 0.2; ps"
    )
    assert text.splitlines()[0] != "sh" and " Z " not in text


def test_preserved_descriptors(sampan: Sampan, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("through three")
    command = f'exec 3<{tmp_path}/f; exec "$0" run --rm --preserve-fds 1 {BUSYBOX} sh -c "cat <&3"'
    done = subprocess.run(
        ["sh", "-c", command, sampan.program],
        env=sampan.environment,
        capture_output=True,
        check=False,
    )
    assert done.stdout == b"through three"
    leak = subprocess.run(
        ["sh", "-c", f'exec 7<{tmp_path}/f; exec "$0" run --rm {BUSYBOX} ls /proc/self/fd', sampan.program],
        env=sampan.environment, capture_output=True, check=False,
    )  # fmt: skip
    assert set(leak.stdout.split()) <= {b"0", b"1", b"2", b"3"}, (
        "descriptors of the caller are inside"
    )


def test_cidfile_and_detached(sampan: Sampan, tmp_path: Path) -> None:
    path = tmp_path / "cid"
    printed = sampan.text("run", "-d", "--cidfile", str(path), BUSYBOX, "sleep", "100")
    assert path.read_text() == printed and re.fullmatch("[0-9a-f]{64}", printed)
    assert sampan("run", "--cidfile", str(path), BUSYBOX, "true").returncode == 125
    assert sampan.state(printed)["Status"] == "running"


def test_name_and_replace(sampan: Sampan) -> None:
    first = sampan.text("run", "-d", "--name", "same", BUSYBOX, "sleep", "100")
    result = sampan("run", "--name", "same", BUSYBOX, "true")
    assert result.returncode == 125 and b"already in use" in result.stderr
    second = sampan.text("run", "-d", "--replace", "--name", "same", BUSYBOX, "sleep", "100")
    assert first != second and sampan.text("ps", "-q", "--no-trunc") == second
    assert sampan("run", "--name", "../x", BUSYBOX, "true").returncode == 125


def test_timeout(sampan: Sampan) -> None:
    assert sampan("run", "--rm", "--timeout", "1", BUSYBOX, "sleep", "100").returncode == 255


def test_network_modes(sampan: Sampan) -> None:
    interfaces = "sed -n 's/^ *\\([^:]*\\):.*/\\1/p' /proc/net/dev"
    assert (
        sampan.text("run", "--rm", "--network", "none", BUSYBOX, "sh", "-c", interfaces).strip()
        == "lo"
    )
    host = sorted(os.listdir("/sys/class/net"))
    inside = sampan.text("run", "--rm", "--network", "host", BUSYBOX, "sh", "-c", interfaces)
    assert sorted(inside.split()) == host
    assert sampan("run", "--rm", "--network", "nonesuch", BUSYBOX, "true").returncode == 125


@needs_subids
def test_apt_installs_a_package(sampan: Sampan, tmp_path: Path) -> None:
    """dpkg changes owners, makes users and runs maintainer scripts."""
    tree = tmp_path / "pkg"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: harbour\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\nDescription: test\n"
    )
    (tree / "DEBIAN/postinst").write_text(
        "#!/bin/sh\nset -e\nuseradd -r pilot\ninstall -o pilot -m 4755 /bin/true /usr/bin/harbour\n"
    )
    (tree / "DEBIAN/postinst").chmod(0o755)
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", str(tree), str(tmp_path / "h.deb")], check=True
    )
    tmp_path.chmod(0o755)
    text = sampan.text(
        "run", "--rm", "-v", f"{tmp_path}:/d:ro", DEBIAN, "sh", "-c",
        "apt-get install -y --no-install-recommends /d/h.deb >/dev/null 2>&1 && stat -c '%U %a' /usr/bin/harbour",
    )  # fmt: skip
    assert text == "pilot 4755"
