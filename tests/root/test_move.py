"""container move between two users of one machine: one with subordinate ids, one without."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import sshserver

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="needs root"),
    pytest.mark.skipif(not sshserver.is_there(), reason="openssh-server is not installed"),
]
MANY = os.environ.get("SAMPAN_TEST_USER", "sampan-test")
ALONE = os.environ.get("SAMPAN_TEST_USER_NOSUBIDS", "sampan-nosub")


class Account:
    """A user with a store, an sshd that lets others in as him, and a script that is his sampan."""

    def __init__(self, base: Path, user: str, program: str, registry: str) -> None:
        self.user, self.home = user, base / user
        self.home.mkdir()
        self.conf = self.home / "registries.conf"
        self.conf.write_text(
            'unqualified-search-registries = ["docker.io"]\n'
            f'[[registry]]\nprefix = "docker.io"\nlocation = "{registry}"\ninsecure = true\n'
        )
        environment = {
            "SAMPAN_ROOT": f"{self.home}/root",
            "SAMPAN_RUN_DIR": f"{self.home}/run",
            "CONTAINERS_REGISTRIES_CONF": str(self.conf),
        }
        self.script = sshserver.remote_program(self.home, program, environment)
        ssh = self.home / "ssh"
        ssh.mkdir()
        for path in (self.home, *self.home.iterdir()):
            shutil.chown(path, user, user)
        self.server = sshserver.SshServer(ssh, user)

    def __call__(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        account = pwd.getpwnam(self.user)
        return subprocess.run(
            ["setpriv", "--reuid", self.user, "--regid", self.user, "--clear-groups", str(self.script), *words],
            env={"PATH": os.environ["PATH"], "HOME": account.pw_dir, "USER": self.user},
            capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip

    def text(self, *words: str) -> str:
        result = self(*words)
        assert result.returncode == 0, (words, result.stderr)
        return result.stdout.decode().strip()

    def move_to(self, other: Account, *words: str) -> subprocess.CompletedProcess[bytes]:
        """The key belongs to whoever moves."""
        shutil.chown(other.server.place / "key", self.user, self.user)
        return self(
            "container", "move", *other.server.words(), "--remote-program", str(other.script), *words,
            other.server.host,
        )  # fmt: skip


@pytest.fixture(scope="module")
def accounts() -> Iterator[tuple[Account, Account]]:
    program, registry = shutil.which("sampan"), os.environ.get("SAMPAN_TEST_REGISTRY")
    if not program or not registry:
        pytest.skip("sampan or its registry is missing: run tests/run")
    base = Path(tempfile.mkdtemp(prefix="sampan-move-root-", dir="/var/tmp"))
    base.chmod(0o755)
    many, alone = (Account(base, user, program, registry) for user in (MANY, ALONE))
    yield many, alone
    for account in (many, alone):
        account("rm", "-af", "-t", "0")
        account("volume", "prune", "-f")
        account.server.close()
    shutil.rmtree(base, ignore_errors=True)


def test_there_and_back(accounts: tuple[Account, Account]) -> None:
    """Owners that the other user cannot have are kept in his store's records, and are there again at home."""
    many, alone = accounts
    idle = "trap exit TERM; while :; do sleep 0.05; done"
    many.text("run", "-d", "--name", "traveller", "-v", "keep:/data", "busybox", "sh", "-c", idle)
    write = "echo hello > /file; chown 5:6 /file; chmod 640 /file; echo root > /root-file; "
    write += "echo x > /data/x; chown 7:8 /data/x"
    many.text("exec", "traveller", "sh", "-c", write)
    there = many.move_to(alone, "--volumes", "traveller")
    assert there.returncode == 0, there.stderr
    assert many("container", "exists", "traveller").returncode == 1
    assert alone.text("inspect", "--format", "{{.State.Status}}", "traveller") == "running"
    pid = alone.text("inspect", "--format", "{{.State.Pid}}", "traveller")
    assert os.stat(f"/proc/{pid}").st_uid == pwd.getpwnam(ALONE).pw_uid
    assert alone.text("exec", "traveller", "cat", "/root-file", "/data/x") == "root\nx"
    alone.text("exec", "traveller", "sh", "-c", "echo changed > /root-file")
    many.text("volume", "rm", "keep")
    back = alone.move_to(many, "--volumes", "traveller")
    assert back.returncode == 0, back.stderr
    assert many.text("exec", "traveller", "cat", "/root-file") == "changed"
    assert many.text("exec", "traveller", "stat", "-c", "%u:%g:%a", "/file") == "5:6:640"
    assert alone.text("ps", "-aq") == ""
