from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from badregistry import BadRegistry
from engine.standin import StandIn


@pytest.fixture
def registry() -> Iterator[BadRegistry]:
    with BadRegistry() as server:
        yield server


@pytest.fixture
def engine(tmp_path: Path, registry: BadRegistry) -> Iterator[StandIn]:
    store = tmp_path / "store"
    store.mkdir()
    made = StandIn(store)
    yield made
    os.close(made.root_fd)


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine's, and no waiting."""
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "registries.conf").write_text("")
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "registries.conf"))
    monkeypatch.setattr("sampan.registry.waiting.pause", lambda attempt, wanted: wanted or 0.0)
