"""A registry of sampan's own for a module's tests, as the user that runs pytest."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from certificates import self_signed
from registryserver import Client, Served


@pytest.fixture(scope="session")
def program() -> str:
    found = shutil.which("sampan")
    if not found:
        pytest.skip("sampan is not installed")
    return found


@pytest.fixture
def base() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sampan-serve-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def served(program: str) -> Iterator[Served]:
    """A server with two workers, that the module's tests share."""
    path = Path(tempfile.mkdtemp(prefix="sampan-serve-", dir="/var/tmp"))
    with Served(program, path, "--workers", "2") as server:
        yield server
    assert server.errors() == ""
    shutil.rmtree(path)


@pytest.fixture
def client(served: Served) -> Client:
    return served.client()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one for 127.0.0.1: cert.pem and key.pem in the directory."""
    directory = tmp_path_factory.mktemp("tls")
    self_signed(directory)
    return directory


@pytest.fixture(scope="session")
def htpasswd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """alice has the password harbour."""
    path = tmp_path_factory.mktemp("auth") / "htpasswd"
    hashed = bcrypt.hashpw(b"harbour", bcrypt.gensalt(6)).decode()
    path.write_text(f"# users\nalice:{hashed.replace('$2b$', '$2y$')}\n")
    return path
