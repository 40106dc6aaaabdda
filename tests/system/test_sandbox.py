"""What a container's first process can see, keep and do."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from system_tools import BUSYBOX, DEBIAN, Sampan


def status(sampan: Sampan, *words: str) -> dict[str, str]:
    text = sampan.text("run", "--rm", *words, BUSYBOX, "cat", "/proc/self/status")
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in text.splitlines()}


def test_privileges(sampan: Sampan) -> None:
    found = status(sampan)
    assert int(found["CapEff"], 16) == int(found["CapBnd"], 16) == 0x800405FB
    assert bin(int(found["CapEff"], 16)).count("1") <= 11
    assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
    assert found["Seccomp"] == "2" and found["NoNewPrivs"] == "0"
    assert int(found["SigIgn"], 16) == int(found["SigBlk"], 16) == 0
    assert found["Groups"] == "" or os.getgroups(), "groups of the host are inside"


def test_privileges_are_narrowed(sampan: Sampan) -> None:
    assert int(status(sampan, "--cap-drop", "all")["CapBnd"], 16) == 0
    assert int(status(sampan, "--cap-drop=all", "--cap-add=chown")["CapEff"], 16) == 1
    assert status(sampan, "--security-opt", "no-new-privileges")["NoNewPrivs"] == "1"
    assert status(sampan, "--security-opt", "seccomp=unconfined")["Seccomp"] == "0"
    assert sampan("run", "--rm", "--cap-add", "nonsense", BUSYBOX, "true").returncode == 125


def test_namespaces(sampan: Sampan) -> None:
    kinds = ["user", "mnt", "pid", "net", "uts", "ipc", "cgroup"]
    script = "for n in " + " ".join(kinds) + "; do readlink /proc/self/ns/$n; done"
    inside = sampan.text("run", "--rm", BUSYBOX, "sh", "-c", script).split()
    assert not set(inside) & {os.readlink(f"/proc/self/ns/{kind}") for kind in kinds}


def test_mounts(sampan: Sampan) -> None:
    text = sampan.text("run", "--rm", BUSYBOX, "cat", "/proc/self/mountinfo")
    rows = {line.split()[4]: line.split() for line in text.splitlines()}
    for path, flags in {
        "/": {"nodev"},
        "/proc": {"nosuid", "nodev", "noexec"},
        "/sys": {"ro", "nosuid", "nodev", "noexec"},
        "/dev": {"nosuid", "noexec"},
        "/dev/shm": {"nosuid", "nodev", "noexec"},
        "/dev/mqueue": {"nosuid", "nodev", "noexec"},
        "/proc/sys": {"ro", "nosuid", "nodev", "noexec"},
        "/sys/fs/cgroup": {"ro"},
        "/etc/hosts": {"nosuid", "nodev", "noexec"},
    }.items():
        assert flags <= set(rows[path][5].split(",")), (path, rows[path][5])
    assert not any(" shared:" in line or " master:" in line for line in text.splitlines())
    hidden = (str(sampan.root), str(sampan.run_dir), os.path.expanduser("~"))
    assert not any(place in text for place in hidden), "paths of the host show"


def test_masks(sampan: Sampan) -> None:
    script = (
        "for f in keys kcore timer_list kallsyms interrupts; do [ -e /proc/$f ] || continue; "
        "stat -c '%t:%T' /proc/$f; done; ls -A /sys/firmware /proc/acpi 2>/dev/null | grep -v : ; "
        "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/modprobe; do "
        "( : >> $f ) 2>/dev/null && echo WRITABLE $f; done; true"
    )
    lines = [
        line
        for line in sampan.text("run", "--rm", BUSYBOX, "sh", "-c", script).splitlines()
        if line
    ]
    assert set(lines) == {"1:3"}, lines


def test_devices(sampan: Sampan) -> None:
    script = "find /dev -type c -o -type b | sort; mknod /tmp/x c 1 3 || echo no"
    text = sampan.text("run", "--rm", BUSYBOX, "sh", "-c", script)
    names = text.split()
    assert names == [
        f"/dev/{n}" for n in ("full", "null", "pts/ptmx", "random", "tty", "urandom", "zero")
    ] + ["no"]


@pytest.mark.parametrize(
    "command",
    [
        "mount -t tmpfs none /tmp",
        "umount /proc/keys",
        "mount -o remount,rw,bind /proc/sys",
        "unshare -U true",
        "unshare -m true",
        "hostname other",
        "dmesg",
    ],
)
def test_forbidden(sampan: Sampan, command: str) -> None:
    assert sampan("run", "--rm", DEBIAN, "sh", "-c", command).returncode != 0


def test_nothing_of_the_caller(sampan: Sampan, tmp_path: Path) -> None:
    """Descriptors, environment, keyring, umask and ignored signals of the caller stay outside."""
    canary = tmp_path / "canary"
    canary.write_text("x")
    outside = f"trap '' HUP USR1; umask 077; exec 5<{canary}; exec \"$0\" run --rm {BUSYBOX} "

    def inside(command: str) -> str:
        return subprocess.run(
            ["sh", "-c", outside + command, sampan.program],
            env={**sampan.environment, "CANARY_TOKEN": "secret", "LISTEN_FDS": "1"},
            capture_output=True,
            check=True,
        ).stdout.decode()

    text = inside('sh -c "ls -l /proc/self/fd /proc/1/fd; env; umask"')
    assert "canary" not in text and "CANARY" not in text and "LISTEN" not in text
    assert text.endswith("\n0022\n")
    assert inside("grep SigIgn /proc/self/status").split()[1] == "0" * 16


@pytest.mark.parametrize("number", [3, 4, 5, 7, 9, 12, 64, 67, 70])
def test_working_directory_through_a_descriptor(sampan: Sampan, number: int) -> None:
    result = sampan("run", "--rm", "-w", f"/proc/self/fd/{number}", BUSYBOX, "ls")
    assert result.returncode != 0, result.stdout


def test_the_host_cannot_be_reached_through_the_monitor(sampan: Sampan) -> None:
    """The process that entered the container shows nothing to its root while commands are executed."""
    watcher = (
        "while [ ! -e /stop ]; do for p in /proc/[0-9]*; do for l in exe cwd root; do "
        "t=$(readlink $p/$l 2>/dev/null) && case $t in */python*|*/sampan*) echo $p/$l $t;; esac; done; "
        "cat $p/environ 2>/dev/null | tr '\\0' '\\n' | grep SAMPAN; done; done; echo end"
    )
    sampan.text("run", "-d", "--name", "w", BUSYBOX, "sh", "-c", watcher)
    for _ in range(30):
        sampan.text("exec", "w", "true")
    sampan.text("exec", "w", "touch", "/stop")
    assert sampan.text("wait", "w") == "0"
    assert sampan.text("logs", "w") == "end"


def test_loopback_of_the_host_is_out_of_reach(sampan: Sampan) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"nc -w 1 127.0.0.1 {port} < /dev/null"
        assert sampan("run", "--rm", BUSYBOX, "sh", "-c", script).returncode != 0
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()


def test_sockets_are_paths(sampan: Sampan) -> None:
    sampan.text("run", "-d", "--network", "host", BUSYBOX, "sleep", "100")
    text = sampan.text("run", "--rm", "--network", "host", BUSYBOX, "cat", "/proc/net/unix")
    assert not any("@" in line and "sampan" in line for line in text.splitlines())
    assert (sampan.run_dir / "containers").stat().st_mode & 0o777 == 0o700


def link_image(fresh: Sampan, base: Path, links: dict[str, str]) -> str:
    """An image whose root holds these links, built as an OCI layout and put into the store through the registry."""
    import io
    import tarfile

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        with open("/bin/busybox", "rb") as program:
            row = tarfile.TarInfo("bin/busybox")
            row.size, row.mode = os.fstat(program.fileno()).st_size, 0o755
            archive.addfile(row, program)
        for name in ("sh", "ls", "true", "cat"):
            row = tarfile.TarInfo(f"bin/{name}")
            row.type, row.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(row)
        for name, target in links.items():
            row = tarfile.TarInfo(name)
            row.type, row.linkname = tarfile.SYMTYPE, target
            archive.addfile(row)
    source = base / "links.tar"
    source.write_bytes(data.getvalue())
    maker = Path(__file__).resolve().parent.parent / "setup/oci_image.py"
    subprocess.run(
        ["/usr/bin/python3", str(maker), str(source), str(base / "oci"), "latest", "gzip"],
        check=True,
    )
    registry = os.environ["SAMPAN_TEST_REGISTRY"]
    name = f"{registry}/evil/{os.urandom(4).hex()}"
    subprocess.run(
        [
            "skopeo",
            "copy",
            "-q",
            "--insecure-policy",
            "--dest-tls-verify=false",
            f"oci:{base}/oci:latest",
            f"docker://{name}",
        ],
        check=True,
    )
    return name


@pytest.mark.parametrize(
    "name", ["dev", "proc", "sys", "etc", "run", "dev/null", "etc/hosts", "etc/passwd"]
)
def test_links_of_an_image_lead_nowhere(fresh: Sampan, tmp_path: Path, name: str) -> None:
    """An image whose /dev (or another target) is a link to a directory or file of the host."""
    host = tmp_path / "host"
    host.mkdir()
    (host / "file").write_text("host")
    for target in (str(host), "../" * 8 + str(host).lstrip("/"), str(host / "file")):
        case = tmp_path / os.urandom(4).hex()
        case.mkdir()
        image = link_image(fresh, case, {name: target})
        result = fresh("run", "--rm", image, "true", timeout=20)
        assert result.returncode in (0, 125), result.stderr
        if result.returncode:
            assert result.stderr.rstrip(b"\n").count(b"\n") <= 12 and b"Error: " in result.stderr
        assert os.listdir(host) == ["file"] and (host / "file").read_text() == "host"


def test_a_fifo_for_passwd_does_not_hang(fresh: Sampan) -> None:
    fresh.text("run", "--name", "f", BUSYBOX, "sh", "-c", "rm /etc/passwd; mkfifo /etc/passwd")
    result = fresh("start", "f", timeout=5)
    assert result.returncode == 125 and b"not a regular file" in result.stderr
