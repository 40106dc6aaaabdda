"""Volumes on disk: committed whole, one winner, nothing of a killed creator left."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from containermaker import add, make_engine
from sampan.engine import Engine, tidy, volumes
from sampan.errors import CorruptError, InUseError, NotFoundError, SampanError, UsageError
from sampan.model.volume import Volume
from sampan.store.volumes import VolumeExistsError


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    engine = make_engine(tmp_path)
    engine.settings.values["volume_path"] = str(tmp_path / "volumes")
    return engine


def path_of(engine: Engine, name: str) -> Path:
    return Path(engine.settings.volume_path) / name


def test_a_volume_and_its_record(engine: Engine) -> None:
    volumes.create(engine, "a", labels={"k": "v"})
    found = engine.volumes.get("a")
    assert (found.driver, found.labels, found.options, found.anonymous) == (
        "local",
        {"k": "v"},
        {},
        False,
    )
    assert str(path_of(engine, "")) not in path_of(engine, "a/record.json").read_text(), (
        "a store may be moved"
    )
    assert path_of(engine, "a/_data").stat().st_mode & 0o7777 == 0o755
    assert [volume.name for volume in engine.volumes.all()] == ["a"]


@pytest.mark.parametrize("name", ["..", ".", "", "a/../a", ".lock", "nosuch"])
def test_names_that_are_none(engine: Engine, name: str) -> None:
    volumes.create(engine, "a")
    with pytest.raises(NotFoundError, match="no such volume"):
        engine.volumes.get(name)


def test_the_beginning_of_a_name(engine: Engine) -> None:
    for name in ("ab", "abc", "x1", "x2"):
        volumes.create(engine, name)
    assert engine.volumes.find("ab").name == "ab"
    assert engine.volumes.find("abc").name == "abc"
    with pytest.raises(SampanError, match="more than one"):
        engine.volumes.find("x")


def test_one_creator_wins(engine: Engine) -> None:
    """A barrier inside the driver's work: both have seen that the name is free."""
    barrier = threading.Barrier(2)
    outcome: list[str] = []

    def make(volume: Volume) -> None:
        barrier.wait(10)

    def create() -> None:
        try:
            engine.volumes.create(Volume("a", "local", {}, {}, "", anonymous=False), make)
            outcome.append("made")
        except VolumeExistsError:
            outcome.append("exists")

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome) == ["exists", "made"]
    assert engine.volumes.abandoned() == [] and engine.volumes.names() == ["a"]


def test_a_driver_that_fails_leaves_nothing(engine: Engine) -> None:
    bad = [
        {"bogus": "x"},
        {"type": "nfs", "device": ":/x"},
        {"type": "bind", "device": "/no/such"},
        {"type": "bind", "device": "rel"},
        {"device": "/x"},
        {"type": "tmpfs", "o": "lowerdir=/"},
    ]
    for options in bad:
        with pytest.raises(SampanError, match="invalid volume option"):
            volumes.create(engine, "a", options=options)
    assert os.listdir(engine.volumes.fd) == []


@pytest.mark.parametrize("moment", ["record", "driver", "rename"])
def test_a_creator_that_is_killed(engine: Engine, moment: str) -> None:
    def die(volume: Volume) -> None:
        if moment == "driver":
            os.mkdir("half", dir_fd=volume.fd)
        os._exit(9)

    pid = os.fork()
    if pid == 0:
        real = os.rename
        if moment == "rename":
            os.rename = lambda *words, **more: (
                os._exit(9) if words[1] == "a" else real(*words, **more)
            )
            volumes.create(engine, "a")
        engine.volumes.create(Volume("a", "local", {}, {}, "", anonymous=False), die)
    os.waitpid(pid, 0)
    assert engine.volumes.names() == [] and len(engine.volumes.abandoned()) == 1
    tidy.tidy(engine)
    assert engine.volumes.abandoned() == []
    volumes.create(engine, "a")


def test_a_remover_that_is_killed(engine: Engine) -> None:
    volumes.create(engine, "a")
    path_of(engine, "a/_data/file").write_text("x")
    pid = os.fork()
    if pid == 0:
        engine.volumes.put_aside("a")
        os._exit(9)
    os.waitpid(pid, 0)
    with pytest.raises(NotFoundError):
        engine.volumes.get("a")
    tidy.tidy(engine)
    assert [n for n in os.listdir(engine.volumes.fd) if n != ".lock"] == []


def test_a_damaged_record(engine: Engine) -> None:
    for name in ("a", "b", "c"):
        volumes.create(engine, name)
    path_of(engine, "a/record.json").write_text('{"name": 5}')
    path_of(engine, "b/record.json").write_text("[")
    for name in ("a", "b"):
        with pytest.raises(CorruptError, match="record of volume"):
            engine.volumes.get(name)
    assert [volume.name for volume in engine.volumes.all()] == ["c"]


def test_in_use_is_what_the_containers_records_say(engine: Engine) -> None:
    volumes.create(engine, "a")
    record = add(engine, "one", "-v", "a:/x", "-v", "a:/y", "-v", "/tmp:/z")
    assert [c.id for c in volumes.users(engine)["a"]] == [record["id"]]
    with pytest.raises(InUseError, match=record["id"]) as caught:
        volumes.remove(engine, "a")
    assert caught.value.exit_status == 2
    assert [volume.name for volume in volumes.unused(engine)] == []
    assert volumes.prune(engine, ["a"]) == []
    engine.containers.remove(record["id"], "one")
    assert volumes.prune(engine, ["a", "gone"]) == ["a"]


def test_only_unused_anonymous_volumes_are_dropped(engine: Engine) -> None:
    volumes.create(engine, "named")
    mine = volumes.create(engine, anonymous=True).name
    shared = volumes.create(engine, anonymous=True).name
    assert len(mine) == 64 and set(mine) <= set("0123456789abcdef")
    add(engine, "other", "-v", f"{shared}:/x")
    volumes.drop(engine, ["named", mine, shared, "gone"])
    assert sorted(engine.volumes.names()) == sorted(["named", shared])


def test_names_are_checked(engine: Engine) -> None:
    with pytest.raises(UsageError, match="invalid volume name"):
        volumes.create(engine, "../x")
