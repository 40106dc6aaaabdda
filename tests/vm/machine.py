"""A Debian machine with systemd and cgroup v2, emulated (no KVM is needed): built, booted, spoken to by ssh."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).parents[2]
PROGRAMS = ("qemu-system-x86_64", "mmdebstrap", "mke2fs", "ssh", "ssh-keygen")
BOOT_SECONDS = 240
# On a loaded host the kernel's look at its timer fails, and it panics.
KERNEL = "root=/dev/vda rw console=ttyS0 quiet no_timer_check panic=5"
ENVIRONMENT = "PATH=/srv/sampan/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class Done:
    """What a command in the machine answered."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out.strip(), err.strip()

    def __repr__(self) -> str:
        return f"<status {self.status}; {self.out!r}; {self.err!r}>"


def missing() -> list[str]:
    """What this host lacks for it."""
    lacking = [name for name in PROGRAMS if not shutil.which(name)]
    return lacking if os.geteuid() == 0 else ["root, who builds the disk", *lacking]


def build(work: Path) -> None:
    """The disk; what was built before is kept while nothing that it is made of has changed."""
    script = str(TOP / "tests/vm/image")
    environment = {**os.environ, "SAMPAN_TEST_PYTHON": sys.executable}
    subprocess.run(["bash", script, str(work)], check=True, env=environment)


class Machine:
    """One machine with a disk of its own, from `start` to `stop`."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.disk = work / f"run-{os.getpid()}.img"
        self.port = _free_port()
        self.qemu: subprocess.Popen[bytes] | None = None
        self.seconds: dict[str, float] = {}

    def start(self) -> None:
        """Boot a copy of the disk."""
        for old in self.work.glob("run-*.img"):
            if not Path(f"/proc/{old.stem[4:]}").exists():
                old.unlink()
        subprocess.run(["cp", "--sparse=always", self.work / "disk.img", self.disk], check=True)
        words = [
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2048",
        ]
        words += ["-nographic", "-monitor", "none", "-serial", "stdio"]
        words += ["-kernel", "vmlinuz", "-initrd", "initrd"]
        words += ["-drive", f"file={self.disk},if=virtio,format=raw,cache=unsafe"]
        words += ["-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{self.port}-:22"]
        words += [
            "-device",
            "virtio-net-pci,netdev=n0",
            "-append",
            KERNEL,
        ]
        with open(self.work / "console.log", "wb") as console:
            self.qemu = subprocess.Popen(
                words, cwd=self.work, stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
        begun = time.monotonic()
        self.await_ssh()
        self.seconds["boot"] = time.monotonic() - begun

    def await_ssh(self, seconds: float = BOOT_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.qemu is not None and self.qemu.poll() is None, "the machine ended"
            if self._last_words("true").status == 0:
                return
            time.sleep(1)
        raise TimeoutError(f"no ssh after {seconds} s; see {self.work}/console.log")

    def _ssh(self, user: str) -> list[str]:
        words = ["ssh", "-q", "-p", str(self.port), "-i", str(self.work / "key")]
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
        for option in (*options, "ConnectTimeout=20", "ServerAliveInterval=20"):
            words += ["-o", option]
        return [*words, f"{user}@127.0.0.1"]

    def run(
        self, command: str, *, user: str = "alice", timeout: float = 180, check: bool = False
    ) -> Done:
        """A shell command, in a login session of its own."""
        words = [*self._ssh(user), f"export {ENVIRONMENT}; {command}"]
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        answer = Done(done.returncode, done.stdout, done.stderr)
        assert not check or answer.status == 0, f"{command}: {answer}"
        return answer

    def ok(self, command: str, **more: object) -> str:
        """What a command that must succeed has written."""
        return self.run(command, check=True, **more).out  # type: ignore[arg-type]

    def copy(self, source: Path, target: str) -> None:
        with open(source, "rb") as file:
            words = [*self._ssh("root"), f"cat > {target}"]
            subprocess.run(words, stdin=file, check=True, timeout=180)

    def install(self) -> None:
        """sampan of this checkout, as a wheel, into the virtual environment; and the busybox image for alice."""
        begun = time.monotonic()
        wheels = self.work / "built"
        shutil.rmtree(wheels, ignore_errors=True)
        source = self.work / "source"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(
            TOP, source, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", "*_cache")
        )
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", wheels, source],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        (wheel,) = wheels.glob("sampan-*.whl")
        self.copy(wheel, f"/srv/{wheel.name}")
        pip = "/srv/sampan/bin/pip install -q --no-deps --no-index --force-reinstall"
        self.ok(f"{pip} /srv/{wheel.name} && rm /srv/{wheel.name}", user="root", timeout=300)
        self.ok("sampan import /srv/busybox.tar docker.io/library/busybox:latest", timeout=300)
        self.seconds["install"] = time.monotonic() - begun

    def reboot(self) -> None:
        boot = self.ok("cat /proc/sys/kernel/random/boot_id", user="root")
        self._last_words("systemctl reboot --no-block")
        deadline = time.monotonic() + BOOT_SECONDS
        while time.monotonic() < deadline:
            time.sleep(2)
            done = self._last_words("cat /proc/sys/kernel/random/boot_id")
            if done.status == 0 and done.out != boot:
                return
        raise TimeoutError("the machine did not come back")

    def _last_words(self, command: str) -> Done:
        """To a machine that is going down or coming up: an answer that does not come is none."""
        try:
            return self.run(command, user="root", timeout=20)
        except subprocess.TimeoutExpired:
            return Done(255, "", "no answer")

    def stop(self) -> None:
        """Power off; qemu is ended by its own pid if the machine does not do it."""
        if self.qemu is None:
            return
        try:
            self._last_words("systemctl poweroff --no-block")
            self.qemu.wait(60)
        except subprocess.TimeoutExpired:
            self.qemu.kill()
            self.qemu.wait()
        finally:
            self.disk.unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
