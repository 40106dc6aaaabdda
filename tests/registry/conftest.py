"""A real registry (Debian's docker-registry) on a free loopback port."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from engine.standin import StandIn

USER, PASSWORD = "ann", "pass:word"


@pytest.fixture(scope="session")
def real_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT."""
    with registry(tmp_path_factory.mktemp("registry")) as host:
        yield host


@contextlib.contextmanager
def registry(root: Path, auth: str = "", tls: tuple[Path, Path] | None = None) -> Iterator[str]:
    """A docker-registry of its own. auth: that part of its configuration; tls: certificate and key."""
    program = shutil.which("docker-registry")
    if not program or not shutil.which("skopeo"):
        pytest.skip("docker-registry and skopeo are needed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = root / "config.yml"
    secure = f", tls: {{certificate: {tls[0]}, key: {tls[1]}}}" if tls else ""
    config.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'{secure}}}\n"
        f"log: {{level: error, accesslog: {{disabled: true}}}}\n{auth}"
    )
    log = (root / "log").open("wb")
    process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=log)
    try:
        _await(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def htpasswd(root: Path) -> str:
    """The `auth` of a registry that wants USER and PASSWORD."""
    path = root / "htpasswd"
    secret = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    path.write_text(f"{USER}:{secret}\n")
    return f"auth: {{htpasswd: {{realm: r, path: {path}}}}}\n"


def _await(port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the registry does not start")


def push(layout: Path, name: str, target: str, *options: str) -> None:
    """An image of an OCI layout into a registry."""
    subprocess.run(
        ["skopeo", "copy", "-q", "--dest-tls-verify=false", *options, f"oci:{layout}:{name}",
         f"docker://{target}"],
        check=True, timeout=60,
    )  # fmt: skip


def stand_in(root: Path) -> StandIn:
    root.mkdir()
    return StandIn(root)


@pytest.fixture
def no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither credentials nor a registries.conf of this machine."""
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none"))
    (tmp_path / "registries.conf").write_text("")
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
