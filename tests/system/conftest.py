"""System tests drive the installed `sampan` as the user that runs pytest, who has no privileges."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from frames import Lan
from system_tools import Sampan


@pytest.fixture(scope="session")
def registry() -> str:
    """HOST:PORT of the registry that the set-up filled."""
    address = os.environ.get("SAMPAN_TEST_REGISTRY")
    if not address:
        pytest.skip("no registry: run tests/run as root")
    return address


@pytest.fixture(scope="session")
def registries_conf(registry: str) -> Iterator[str]:
    """docker.io is the registry of the set-up."""
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(
            'unqualified-search-registries = ["docker.io"]\n'
            f'[[registry]]\nprefix = "docker.io"\nlocation = "{registry}"\ninsecure = true\n'
        )
        file.flush()
        yield file.name


@pytest.fixture(scope="session")
def program() -> str:
    found = shutil.which("sampan")
    if not found:
        pytest.skip("sampan is not installed")
    return found


@pytest.fixture(scope="session")
def shared_root() -> Iterator[Path]:
    """A store that the tests of the session share, so that an image is pulled once."""
    base = Path(tempfile.mkdtemp(prefix="sampan-system-", dir="/var/tmp"))
    yield base
    subprocess.run(
        ["unshare", "-r", "rm", "-rf", str(base)], check=False, stderr=subprocess.DEVNULL
    )


@pytest.fixture(scope="session")
def shared(program: str, shared_root: Path, registries_conf: str) -> Iterator[Sampan]:
    sampan = Sampan(program, shared_root / "root", shared_root / "run", registries_conf)
    for image in ("debian:bookworm", "busybox"):
        result = sampan("pull", "-q", image)
        assert result.returncode == 0, result.stderr
    yield sampan
    sampan("rm", "-af", "-t", "0")
    sampan("rmi", "-af")


@pytest.fixture
def sampan(shared: Sampan) -> Iterator[Sampan]:
    """The shared store, without containers before and after."""
    yield shared
    shared("rm", "-af", "-t", "0")
    shared("network", "prune", "-f")
    assert shared("ps", "-aq").stdout == b""


@pytest.fixture
def fresh(program: str, registries_conf: str) -> Iterator[Sampan]:
    """A store of the test's own, empty."""
    base = Path(tempfile.mkdtemp(prefix="sampan-fresh-", dir="/var/tmp"))
    sampan = Sampan(program, base / "root", base / "run", registries_conf)
    yield sampan
    sampan("rm", "-af", "-t", "0")
    sampan("rmi", "-af")
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def lan(shared: Sampan) -> Iterator[Lan]:
    """Members of bridge networks, one of whom sends frames by hand."""
    yield Lan(shared)
    shared("rm", "-af", "-t", "0")
    shared("network", "prune", "-f")
