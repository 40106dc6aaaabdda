"""A real sshd on the loopback interface, which lets one user in."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

from system_tools import until

SSHD = "/usr/sbin/sshd"


class SshServer:
    """sshd as the user `user` (the caller, if none is named), with its keys in `place`."""

    def __init__(self, place: Path, user: str = "") -> None:
        self.place = place
        for name in ("host", "key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(place / name)], check=True
            )
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        public = (place / "host.pub").read_text()
        (place / "known").write_text(f"[127.0.0.1]:{self.port} {public}")
        shutil.copy(place / "key.pub", place / "authorized")
        (place / "config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {place}/host\n"
            f"AuthorizedKeysFile {place}/authorized\nStrictModes no\nUsePAM no\nPidFile none\n"
        )
        self.user = user
        command = [SSHD, "-D", "-e", "-f", str(place / "config")]
        if user:
            for name in ("host", "authorized", "config"):
                shutil.chown(place / name, user)
            command = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *command]
        self.log = place / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)
        assert until(self._listens), self.log.read_text()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def words(self) -> list[str]:
        """What `container move` needs to get in, but for the host."""
        return [
            "--port", str(self.port), "--identity", f"{self.place}/key",
            "--ssh-option", f"UserKnownHostsFile={self.place}/known",
            "--ssh-option", "IdentitiesOnly=yes",
        ]  # fmt: skip

    @property
    def host(self) -> str:
        return f"{self.user}@127.0.0.1" if self.user else "127.0.0.1"

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def remote_program(place: Path, program: str, environment: dict[str, str]) -> Path:
    """A script that is sampan with a store of its own."""
    lines = [f"export {name}='{value}'" for name, value in environment.items()]
    script = place / "sampan-there"
    script.write_text("\n".join(["#!/bin/sh", *lines, f'exec {program} "$@"', ""]))
    script.chmod(0o755)
    return script


def is_there() -> bool:
    return os.path.exists(SSHD) and shutil.which("ssh-keygen") is not None
