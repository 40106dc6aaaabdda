"""Container records: committed by a rename, their state derived, the damaged ones no trouble to the others."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from containermaker import make_record
from sampan import files
from sampan.errors import CorruptError, InUseError, NotFoundError, SampanError
from sampan.linux import processes
from sampan.model.container import Exit, Record, Run
from sampan.store.containers import ContainerStore


class Fixture:
    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "root").mkdir()
        (place / "run").mkdir()
        self.root_fd = files.open_directory(str(place / "root"))
        self.store = ContainerStore(self.root_fd, str(place / "run"))

    def add(self, name: str, **more: Any) -> Record:
        record = make_record(name, **more)
        self.store.create(record, {"process": {"args": ["sh"]}}, sync=True)
        return record

    def path(self, record: Record, *names: str) -> Path:
        return self.place.joinpath("root", "containers", record["id"], *names)

    def listing(self, name: str) -> list[str]:
        return sorted(n for n in os.listdir(self.place / "root" / name) if n != ".lock")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    os.close(fixture.root_fd)


def run_of(pid: int, **more: Any) -> Run:
    run: dict[str, Any] = {
        "boot": processes.boot_id(), "pid": pid, "start_time": processes.start_time(pid), "monitor": pid,
        "monitor_start_time": processes.start_time(pid), "started": "2026-01-01T00:00:01.000000000+00:00",
        "restarts": 0, **more,
    }  # fmt: skip
    return run  # type: ignore[return-value]


def put(made: Fixture, record: Record, name: str, document: Any) -> None:
    made.path(record, name).write_text(json.dumps(document))


def ended(code: int | None, started: str) -> Exit:
    return {
        "code": code,
        "finished": started,
        "started": started,
        "oom": False,
        "error": "",
        "restarting": False,
        "restarts": 0,
    }


def test_create_and_find(made: Fixture) -> None:
    first = made.add("one", created="2026-01-02T00:00:00.000000000+00:00")
    second = made.add("two", created="2026-01-01T00:00:00.000000000+00:00")
    assert made.path(first).stat().st_mode & 0o777 == 0o700
    assert {p.name: p.stat().st_mode & 0o777 for p in made.path(first).iterdir()} == {
        "record.json": 0o600, "config.json": 0o600,
    }  # fmt: skip
    for word in ("one", first["id"], first["id"][:10]):
        assert made.store.find(word) == first["id"]
    assert [c.name for c in made.store.all()] == ["two", "one"], "the newest last"
    assert made.store.spec(second["id"]) == {"process": {"args": ["sh"]}}
    for word in ("three", "", ".", "..", "a/b", "../containers", "z" * 64):
        with pytest.raises(NotFoundError, match="no such container"):
            made.store.find(word)


def test_a_beginning_must_be_of_one_id(made: Fixture) -> None:
    for number in range(17):
        made.add(f"n{number}")
    ids = made.store.ids()
    common = next(c for c in "0123456789abcdef" if sum(i.startswith(c) for i in ids) > 1)
    with pytest.raises(SampanError, match="ambiguous"):
        made.store.find(common)


def test_a_taken_name(made: Fixture) -> None:
    record = made.add("one")
    with pytest.raises(InUseError, match=record["id"]):
        made.add("one")
    assert made.listing("containers") == [record["id"]], "nothing is left of the loser"
    made.store.remove(record["id"], "one")
    assert made.listing("containers") == made.listing("names") == []
    made.add("one")


def test_rename(made: Fixture) -> None:
    one, two = made.add("one"), made.add("two")
    with pytest.raises(InUseError):
        made.store.rename(one, "two")
    made.store.rename(one, "three")
    assert made.store.get("three").id == one["id"] and not made.store.name_taken("one")
    assert made.store.get("two").id == two["id"]


@pytest.mark.parametrize("step", ["directory", "record", "spec", "name"])
def test_the_name_of_a_killed_creator_is_free(made: Fixture, step: str) -> None:
    """Whatever it had written, nothing is listed and the next creator wins the name."""
    temporary = made.place / "root" / "containers" / files.temporary_name()
    record = make_record("prize")
    temporary.mkdir()
    if step != "directory":
        (temporary / "record.json").write_text(json.dumps(record))
    if step in ("spec", "name"):
        (temporary / "config.json").write_text("{}")
    if step == "name":
        (made.place / "root" / "names" / "prize").write_text(record["id"])
    assert list(made.store.all()) == [] and not made.store.name_taken("prize")
    with pytest.raises(NotFoundError):
        made.store.find("prize")
    winner = made.add("prize")
    assert made.store.get("prize").id == winner["id"]


def test_a_killed_creator_at_any_moment(made: Fixture) -> None:
    for number in range(60):
        pid = os.fork()
        if pid == 0:
            for _ in range(1000):
                made.add("prize")
                made.store.remove(made.store.find("prize"), "prize")
            os._exit(0)
        time.sleep(0.002 + number * 0.0001)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        for container in made.store.all():
            assert container.name == "prize"
            made.store.remove(container.id, "prize")
        record = made.add("prize")
        assert made.store.get("prize").id == record["id"]
        made.store.remove(record["id"], "prize")
        assert list(made.store.all()) == []


def test_racing_creators(made: Fixture) -> None:
    """16 of them, exactly one winner each time."""
    for round_ in range(10):
        children: list[int] = []
        for _ in range(16):
            pid = os.fork()
            if pid == 0:
                try:
                    made.store.create(make_record(f"n{round_}"), {}, sync=False)
                    os._exit(0)
                except InUseError:
                    os._exit(1)
                finally:
                    os._exit(2)
            children.append(pid)
        codes = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children)
        assert codes == [0] + [1] * 15
    assert len(list(made.store.all())) == len(made.listing("containers")) == 10


def test_states(made: Fixture) -> None:
    record = made.add("c")
    sleeper = subprocess.Popen(["sleep", "100"])
    try:
        assert made.store.get("c").state == "created"
        run = run_of(sleeper.pid)
        put(made, record, "run.json", run)
        assert made.store.get("c").state == "running" and made.store.get("c").run == run
        put(made, record, "exit.json", ended(5, "2025-01-01T00:00:00.000000000+00:00"))
        assert made.store.get("c").state == "running", "that was how an earlier run ended"
    finally:
        sleeper.kill()
        sleeper.wait()
    found = made.store.get("c")
    assert found.state == "exited" and found.exit and found.exit["code"] is None
    put(made, record, "exit.json", ended(7, run["started"]))
    found = made.store.get("c")
    assert found.state == "exited" and found.exit and found.exit["code"] == 7


@pytest.mark.parametrize("change", ["boot", "start_time", "zombie"])
def test_a_process_that_only_looks_like_ours(made: Fixture, change: str) -> None:
    """Another boot, a reused pid, a zombie: not running, and the code of the end is unknown."""
    record = made.add("c")
    process = subprocess.Popen(["sleep", "100"])
    try:
        run = run_of(process.pid)
        if change == "boot":
            run["boot"] = "00000000-0000-0000-0000-000000000000"
        elif change == "start_time":
            run["start_time"] += 1
            run["monitor_start_time"] = run["start_time"]
        else:
            process.kill()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        put(made, record, "run.json", run)
        found = made.store.get("c")
        assert found.state == "exited" and found.run is None
        assert found.exit and found.exit["code"] is None
    finally:
        process.kill()
        process.wait()


def test_an_end_that_is_being_recorded(made: Fixture) -> None:
    """The first process is dead and its monitor is not: nothing is known yet, so nothing has changed."""
    record = made.add("c")
    monitor = subprocess.Popen(["sleep", "100"])
    try:
        run = run_of(monitor.pid)
        run["start_time"] += 1
        put(made, record, "run.json", run)
        assert made.store.get("c").state == "running"
        put(made, record, "exit.json", ended(3, run["started"]))
        found = made.store.get("c")
        assert found.state == "exited" and found.exit and found.exit["code"] == 3
    finally:
        monitor.kill()
        monitor.wait()


Damage = Callable[[Path], object]


def _becomes_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _becomes_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def _becomes_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _lacks_a_key(path: Path) -> None:
    document = json.loads(path.read_text())
    del document[min(document)]
    path.write_text(json.dumps(document))


def _wrong_type(path: Path) -> None:
    document = json.loads(path.read_text())
    document[min(document)] = 3.5
    path.write_text(json.dumps(document))


DAMAGE: dict[str, Damage] = {
    "truncated": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "emptied": lambda p: p.write_bytes(b""),
    "zeroed": lambda p: p.write_bytes(bytes(p.stat().st_size)),
    "a bit flipped": lambda p: p.write_bytes(bytes([p.read_bytes()[0] ^ 4]) + p.read_bytes()[1:]),
    "not UTF-8": lambda p: p.write_bytes(p.read_bytes()[:-1] + b'"\xff\xfe": 1}'),
    "a list": lambda p: p.write_text("[]"),
    "a number": lambda p: p.write_text("5"),
    "null": lambda p: p.write_text("null"),
    "an empty object": lambda p: p.write_text("{}"),
    "a key of a wrong type": _wrong_type,
    "without a key": _lacks_a_key,
    "deep": lambda p: p.write_text("[" * 200_000),
    "huge": lambda p: os.truncate(p, 5 << 20),
    "a directory": _becomes_directory,
    "a link": _becomes_link,
    "a fifo": _becomes_fifo,
}


@pytest.mark.parametrize("name", ["record.json", "config.json", "run.json", "exit.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_harms_nobody_else(
    made: Fixture, name: str, damage: str
) -> None:
    record, other = made.add("c"), made.add("other")
    started = "2026-01-01T00:00:00.000000000+00:00"
    put(made, record, "run.json", {**run_of(os.getpid()), "pid": 1 << 22, "started": started})
    put(made, record, "exit.json", ended(0, started))
    DAMAGE[damage](made.path(record, name))
    with pytest.raises(SampanError) as caught:
        made.store.spec(record["id"]) if name == "config.json" else made.store.load(record["id"])
    assert isinstance(caught.value, CorruptError)
    text = str(caught.value)
    assert name in text and record["id"][:12] in text and "rm -f" in text and "\n" not in text
    assert "other" in [container.name for container in made.store.all()]
    assert made.store.get("other").id == other["id"]
    made.store.remove(record["id"], None)
    assert made.listing("containers") == [other["id"]]
    made.add("c")


def test_strangers_in_the_directory(made: Fixture) -> None:
    """A file, a link and an empty directory where a container should be."""
    record = made.add("c")
    containers = made.place / "root" / "containers"
    (containers / ("a" * 64)).write_text("")
    (containers / ("b" * 64)).symlink_to("/etc")
    (containers / ("c" * 64)).mkdir()
    assert [container.id for container in made.store.all()] == [record["id"]]
    for letter in "abc":
        made.store.remove(letter * 64, None)
    assert made.listing("containers") == [record["id"]] and os.path.exists("/etc/passwd")


@pytest.mark.parametrize("with_record", [True, False])
def test_what_a_killed_creator_leaves_is_found_and_discarded(
    made: Fixture, with_record: bool
) -> None:
    """The draft tells of the snapshot; a draft of somebody who lives is left alone."""
    child = subprocess.Popen(["true"])
    child.wait()
    record, kept = make_record("prize"), make_record("kept")
    containers = made.place / "root" / "containers"
    draft, own = (
        containers / f"{files.TEMPORARY}{child.pid}-0-00",
        containers / files.temporary_name(),
    )
    for place, content in ((draft, record if with_record else None), (own, kept)):
        place.mkdir()
        if content:
            (place / "record.json").write_text(json.dumps(content))
    (made.place / "root" / "names" / "prize").write_text(record["id"])
    (made.place / "root" / "names" / f"{files.TEMPORARY}{child.pid}-1-00").write_text("")
    (made.place / "run" / "containers" / record["id"]).mkdir()
    ((name, found),) = made.store.abandoned()
    assert name == draft.name and found == (record if with_record else None)
    made.store.discard(name, found)
    assert made.listing("containers") == [own.name] and made.store.abandoned() == []
    assert made.listing("names") == ([] if with_record else ["prize"])
    assert os.listdir(made.place / "run" / "containers") == ([] if with_record else [record["id"]])
