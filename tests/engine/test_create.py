"""create: what happens when somebody else creates at the same moment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sampan.engine import Engine, create
from sampan.errors import InUseError
from sampan.linux import userns
from sampan.linux.userns import IdMap
from sampan.model import names
from sampan.settings import KEYS, Settings
from sampan.store.containers import NameTakenError

pytestmark = pytest.mark.skipif(os.getuid() == 0, reason="tried as a user without privileges")


class Racing:
    """A creator that takes the name between our look and our claim, some times."""

    def __init__(self, engine: Engine, times: int) -> None:
        self.left = times
        self.tried: list[str] = []
        self._create = engine.containers.create
        engine.containers.create = self  # type: ignore[method-assign, assignment]

    def __call__(self, record: Any, document: Any, **more: Any) -> None:
        self.tried.append(record["name"])
        if self.left:
            self.left -= 1
            raise NameTakenError("taken")
        self._create(record, document, **more)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    values = {key: default for key, (default, _) in KEYS.items()}
    values |= {
        "root": str(tmp_path / "root"),
        "run_dir": str(tmp_path / "run"),
        "storage_driver": "overlay",
    }
    own = IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),))
    return Engine(Settings(values, dict.fromkeys(KEYS, "test"), {}), own)


class Picture:
    """An image without layers."""

    id = digest = "sha256:" + "0" * 64
    name, os, architecture = "localhost/x:latest", "linux", ""
    config: dict[str, Any] = {"config": {"Cmd": ["true"]}}  # noqa: RUF012
    diff_ids: list[str] = []  # noqa: RUF012


def options(name: str = "") -> Any:
    from sampan.cli import container_options
    from sampan.cli.parse import parse
    from sampan.cli.run import VERB

    values, _ = parse(VERB, [*(["--name", name] if name else []), "x"])
    settings = Settings({key: default for key, (default, _) in KEYS.items()}, {}, {})
    return container_options.build(values, [], settings, detach=False)


def test_a_chosen_name_gives_way(engine: Engine) -> None:
    racing = Racing(engine, 3)
    created = create.create(engine, Picture(), options())  # type: ignore[arg-type]
    assert len(racing.tried) == 4 and created.record["name"] == racing.tried[-1]
    assert engine.containers.get(racing.tried[-1]).id == created.record["id"]
    left = [name for name in os.listdir(engine.settings.root + "/overlay") if name.startswith("c")]
    assert left == [created.record["storage"]["key"]], "snapshots of the failed tries are gone"
    userns.run(engine.idmap, lambda: engine.storage.remove(left[0]))


def test_a_given_name_does_not(engine: Engine) -> None:
    racing = Racing(engine, 1)
    with pytest.raises(InUseError):
        create.create(engine, Picture(), options("mine"))  # type: ignore[arg-type]
    assert racing.tried == ["mine"]


def test_no_name_is_left(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "random_name", lambda: "only_one")
    create.create(engine, Picture(), options())  # type: ignore[arg-type]
    with pytest.raises(InUseError, match="no free container name"):
        create.create(engine, Picture(), options())  # type: ignore[arg-type]
