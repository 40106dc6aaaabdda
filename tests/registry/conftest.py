"""A real registry (Debian's docker-registry) on a free loopback port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT."""
    program = shutil.which("docker-registry")
    if not program or not shutil.which("skopeo"):
        pytest.skip("docker-registry and skopeo are needed")
    root = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = root / "config.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {root}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
        "log: {level: error, accesslog: {disabled: true}}\n"
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
