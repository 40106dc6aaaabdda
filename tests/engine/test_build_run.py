"""RUN of a build has what `run` has, and what it leaves behind of its mounts is no change."""

from __future__ import annotations

from typing import Any

import pytest

from sampan import settings
from sampan.cli import container_options
from sampan.cli.parse import parse
from sampan.cli.run import VERB
from sampan.drivers import Change, Command, RunMount, Secret
from sampan.engine.build_run import without_stubs
from sampan.engine.build_sandbox import sandbox_options

OWN = {
    "name",
    "command",
    "entrypoint",
    "unset_env",
    "workdir",
    "log_driver",
    "image_volume",
    "proxy_env",
}


@pytest.fixture
def engine() -> Any:
    class Fake:
        pass

    made: Any = Fake()
    made.settings = settings.load({})
    return made


def test_the_sandbox_of_run(engine: Any) -> None:
    """Every option that is not the command's own is what `run` has without any option."""
    values, words = parse(VERB, ["image", "true"])
    wanted: dict[str, Any] = dict(
        container_options.build(values, words[1:], engine.settings, detach=False)
    )
    found: dict[str, Any] = dict(sandbox_options(engine, Command(["true"], {})))
    assert found.keys() == wanted.keys()
    assert {key: found[key] for key in found.keys() - OWN} == {
        key: wanted[key] for key in wanted.keys() - OWN
    }


def changes(*rows: str) -> list[Change]:
    return [Change(row[0], row[2:].encode()) for row in rows]


def test_mount_points_are_no_changes() -> None:
    found = changes("A etc/hosts", "A mnt", "A mnt/deep", "A mnt/deep/er", "A proc", "C etc/passwd")
    assert without_stubs(found, [b"etc/hosts", b"mnt/deep/er", b"proc"]) == changes("C etc/passwd")


def test_what_was_made_beside_a_mount_point_is_one() -> None:
    found = changes("A mnt", "A mnt/deep", "A mnt/file", "D old")
    assert without_stubs(found, [b"mnt/deep"]) == changes("A mnt", "A mnt/file", "D old")


def test_a_secret_is_not_in_what_is_shown() -> None:
    command = Command(
        ["x"],
        {},
        mounts=[RunMount("file", "/s", data=Secret(b"geheim"))],
        secrets={"A": Secret(b"geheim")},
    )
    assert "geheim" not in repr(command)
