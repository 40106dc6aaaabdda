"""A git repository that is served: over git:// by git's own daemon, and as plain files over HTTP."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

from httpthread import HttpThread

IDENTITY = ["-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main"]


def git(directory: Path, *words: str) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(
        ["git", *IDENTITY, *words], cwd=directory, check=True, capture_output=True, text=True, env=environment
    )  # fmt: skip
    return done.stdout.strip()


class Repository:
    """A work tree and what is served of it; commits are made by `commit`."""

    def __init__(self, top: Path) -> None:
        self.path = top / "repository.git"
        self.path.mkdir()
        git(self.path, "init", "--quiet")

    def commit(self, tag: str = "") -> str:
        git(self.path, "add", "--all")
        git(self.path, "commit", "--quiet", "--message", "x")
        if tag:
            git(self.path, "tag", tag)
        git(self.path, "update-server-info")
        return git(self.path, "rev-parse", "HEAD")

    @contextmanager
    def over_git(self) -> Iterator[str]:
        """git://..., with whose protocol a single commit can be asked for."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [
            "git", "daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", f"--port={port}",
            f"--base-path={self.path.parent}", str(self.path.parent),
        ]  # fmt: skip
        daemon = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.02)
            yield f"git://127.0.0.1:{port}/{self.path.name}"
        finally:
            daemon.terminate()
            daemon.wait()

    @contextmanager
    def over_http(self) -> Iterator[str]:
        """http://.../.git: no program, files alone."""

        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

        with HttpThread(functools.partial(Quiet, directory=str(self.path))) as server:  # type: ignore[arg-type]
            yield f"http://{server.host}/.git"
