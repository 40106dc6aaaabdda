"""A store to break and what must hold after every break."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from system_tools import BUSYBOX, Result, Sampan

CALLS = ("openat", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "clone", "clone3", "fork", "vfork", "mount",
         "move_mount", "fsopen", "fsmount", "open_tree", "unshare", "pivot_root", "umount2", "sendmsg", "recvmsg",
         "poll", "wait4", "flock", "fcntl", "execve", "close", "read", "chmod", "mkdirat", "unlinkat", "renameat",
         "symlinkat", "fdatasync", "ftruncate", "setresuid", "setns", "capset", "prctl")  # fmt: skip
RECOVERY = (
    1.0  # seconds for the next command; the machine may be busy, so a slow one is asked again
)


class Machine:
    """A store of its own with an image in it.  `user`: strace as root runs the program as this user."""

    def __init__(self, program: str, registries_conf: str, user: str = "") -> None:
        self.base = Path(tempfile.mkdtemp(prefix="sampan-faults-", dir="/var/tmp"))
        self.user = user
        self.sampan = Sampan(program, self.base / "root", self.base / "run", registries_conf)
        self.flags = ["--root", str(self.sampan.root), "--run-dir", str(self.sampan.run_dir)]
        if user:
            self._hand_over(user)
        self.slow: list[float] = []

    def _hand_over(self, user: str) -> None:
        import pwd

        row = pwd.getpwnam(user)
        for path in (self.base, self.sampan.run_dir):
            os.chown(path, row.pw_uid, row.pw_gid)
        self.sampan.environment |= {"HOME": row.pw_dir, "USER": user}

    def words(self, *words: str) -> list[str]:
        """The command; the store's path in its words makes every process of it known."""
        command = [self.sampan.program, *self.flags, *words]
        if not self.user:
            return command
        return ["setpriv", "--reuid", self.user, "--regid", self.user, "--init-groups", *command]

    def __call__(self, *words: str, timeout: float = 60) -> Result:
        return subprocess.run(
            self.words(*words), capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=timeout,
            env=self.sampan.environment, cwd="/",
        )  # fmt: skip

    def text(self, *words: str) -> str:
        result = self(*words)
        assert result.returncode == 0, (words, result.returncode, result.stderr)
        return result.stdout.decode().strip()

    def traced(self, options: list[str], *words: str, timeout: float = 30) -> tuple[int, bytes]:
        """Run under strace: (exit status, error output). Everything that is left after the time is killed."""
        command = ["strace", "-f", "-qq", *(["-u", self.user] if self.user else []), *options]
        command += [self.sampan.program, *self.flags, *words]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/",
            env=self.sampan.environment, start_new_session=True,
        )  # fmt: skip
        try:
            _, error = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            os.killpg(process.pid, signal.SIGKILL)
            _, error = process.communicate()
            raise AssertionError(f"{words} hung: {error[-300:]!r}") from None
        return process.returncode, error

    def counts(self, *words: str) -> Counter[str]:
        """How often the process that does so most makes each system call."""
        log = self.base / "trace"
        self.traced(["-o", str(log), "-e", f"trace={','.join(f'?{c}' for c in CALLS)}"], *words)
        seen: Counter[tuple[str, str]] = Counter()
        for line in log.read_text(errors="replace").splitlines():
            if match := re.match(r"(\d+) +(\w+)\(", line):
                seen[match[1], match[2]] += 1
        most: Counter[str] = Counter()
        for (_, call), count in seen.items():
            most[call] = max(most[call], count)
        return most

    def processes(self) -> list[int]:
        """Those whose words name the store: commands and monitors."""
        found: list[int] = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    words = Path(f"/proc/{name}/cmdline").read_bytes()
                    state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue
                if (
                    str(self.base).encode() in words
                    and state not in "ZX"
                    and b"strace" not in words[:20]
                ):
                    found.append(int(name))
        return found

    def recover(self, point: str) -> None:
        """The next commands work at once; nothing runs or is mounted; what is listed can be removed."""
        begun = time.monotonic()
        for words in (("ps", "-a"), ("images",)):
            result = self(*words)
            assert result.returncode == 0, (point, words, result.stderr)
        taken = (time.monotonic() - begun) / 2
        if taken > RECOVERY:
            self.slow.append(taken)
        end = time.monotonic() + 5
        while self.processes() and time.monotonic() < end:
            time.sleep(0.02)
        assert not self.processes(), (point, "processes are left", self.processes())
        with open("/proc/mounts", encoding="utf-8", errors="replace") as file:
            assert str(self.base) not in file.read(), (point, "mounts are left")

    def clean(self, point: str) -> None:
        """The name is free or its holder can be removed; after the next writer nothing is left."""
        result = self("rm", "-af", "-t", "0")
        assert result.returncode == 0, (point, result.stderr)
        self.text("create", "--name", "prize", BUSYBOX, "true")
        self.text("rm", "prize")
        left = self.sampan.leftovers()
        if any(
            name.startswith("leases/") for name in left
        ):  # empty files, which a collection takes
            self.text("rmi", "-f", BUSYBOX)
            left = self.sampan.leftovers()
            self.text("pull", "-q", BUSYBOX)
        assert not left, (point, left)

    def close(self) -> None:
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self("rm", "-af", "-t", "0")
        self("rmi", "-af")
        shutil.rmtree(self.base, ignore_errors=True)


def apart(script: str, program: str, registries_conf: str, size: int) -> tuple[int, list[str]]:
    """What the script prints that runs as root of namespaces with one uid, where it may mount."""
    here = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), *sys.path])}
    done = subprocess.run(
        ["unshare", "-Urm", sys.executable, script, program, registries_conf, str(size)],
        env=environment, capture_output=True, check=False, timeout=3000,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    tried, failures = json.loads(done.stdout)
    return tried, failures


def spread(counts: Counter[str], size: int) -> list[tuple[str, int]]:
    """At most `size` of the points (system call, Nth), evenly over all of them."""
    points = [(call, n) for call in sorted(counts) for n in range(1, counts[call] + 1)]
    if len(points) <= size:
        return points
    return [points[index * len(points) // size] for index in range(size)]


def sweep(points: list[tuple[str, int]], one: Callable[[str, int], None]) -> list[str]:
    """Try each point; what failed, in a line each."""
    failures: list[str] = []
    for call, number in points:
        try:
            one(call, number)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failures.append(f"{call} {number}: {error}"[:600])
    return failures
