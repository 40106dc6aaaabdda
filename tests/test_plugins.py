"""Distributions of our own making, found through their entry points."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sampan import plugins
from sampan.errors import NotFoundError, SampanError
from sampan.linux.userns import IdMap
from sampan.model.contract import DriverContext
from sampan.plugins import Plugins, read_index
from sampan.settings import Settings

Install = Callable[..., Path]
CONTEXT = DriverContext(-1, "/", IdMap((), ()), {}, print)
DRIVER = """
def sampan_storage_driver(context):
    return {answer!r}
def sampan_config():
    return {{"mode": (str, "fast", "how"), "count": (int, 1, "how many")}}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """install(distribution, {module: source}, {group: {name: value}}) puts one on sys.path."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(
        name: str, modules: dict[str, str], points: dict[str, dict[str, str]], version: str = "1.0"
    ) -> Path:
        place = tmp_path / name
        info = place / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(
            "".join(
                f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in rows.items())
                for group, rows in points.items()
            )
        )
        for module, source in modules.items():
            (place / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)
        sys.path.insert(0, str(place))
        return place

    return make


@pytest.fixture
def run_dir(tmp_path: Path) -> str:
    path = tmp_path / "run"
    path.mkdir(mode=0o700)
    return str(path)


def index_file(run_dir: str) -> Path:
    (found,) = (Path(run_dir) / name for name in os.listdir(run_dir) if name.startswith("plugins"))
    return found


def test_a_driver_is_found_and_made(install: Install, run_dir: str) -> None:
    install(
        "one",
        {"one_driver": DRIVER.format(answer="made")},
        {"sampan.storage": {"mine": "one_driver"}},
    )
    found = Plugins(run_dir)
    assert "mine" in found.names("storage")
    entry = found.entry("storage", "mine")
    assert (entry.distribution, entry.version) == ("one", "1.0")
    assert "one_driver" not in sys.modules, "nothing is imported before it is asked for"
    assert found.driver("storage", "mine", CONTEXT) == "made"
    assert found.probe("storage", "mine", CONTEXT).usable
    assert found.call("storage", "mine", "sampan_builder", context=CONTEXT) is None
    again = Plugins("", json.loads(json.dumps(found.rows())))
    assert again.rows() == found.rows()


def test_the_index_is_kept_and_refreshed(
    install: Install, run_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = install("one", {}, {"sampan.storage": {"mine": "m"}})
    first = read_index(run_dir)
    stamped = index_file(run_dir).stat()
    assert stamped.st_mode & 0o777 == 0o600
    with monkeypatch.context() as patch:  # a stamped index is believed without a scan
        patch.setattr(plugins, "scan", lambda: pytest.fail("scanned again"))
        assert [e.value for e in read_index(run_dir)] == [e.value for e in first]
    assert index_file(run_dir).stat().st_ino == stamped.st_ino
    os.utime(place, ns=(0, 5))  # as when something is installed there
    (place / "one-1.0.dist-info" / "entry_points.txt").write_text("[sampan.storage]\nother = m\n")
    os.utime(place, ns=(0, 6))
    assert "other" in {e.name for e in read_index(run_dir)}
    sys.path.remove(str(place))
    assert "other" not in {e.name for e in read_index(run_dir)}


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 50, b"[]", b"{}", b"null", b'{"stamp": 1}', b"\xff", b'{"stamp": [], "entries": 5}']
)  # fmt: skip
def test_a_damaged_index_is_made_anew(install: Install, run_dir: str, content: bytes) -> None:
    install("one", {}, {"sampan.storage": {"mine": "m"}})
    read_index(run_dir)
    index_file(run_dir).write_bytes(content)
    assert "mine" in {e.name for e in read_index(run_dir)}
    assert json.loads(index_file(run_dir).read_bytes())["entries"]


@pytest.mark.parametrize("entries", [5, [5], [["a"]], {"a": 1}, None])
def test_an_index_with_the_right_stamp_and_wrong_rows(
    install: Install, run_dir: str, entries: object
) -> None:
    install("one", {}, {"sampan.storage": {"mine": "m"}})
    read_index(run_dir)
    path = index_file(run_dir)
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps({**document, "entries": entries}))
    assert "mine" in Plugins(run_dir).names("storage")


def test_no_place_for_an_index(install: Install, tmp_path: Path) -> None:
    install("one", {}, {"sampan.storage": {"mine": "m"}})
    assert "mine" in {e.name for e in read_index(str(tmp_path / "absent"))}


def test_a_name_claimed_twice(install: Install, run_dir: str) -> None:
    install("one", {}, {"sampan.storage": {"mine": "m"}})
    install("two", {}, {"sampan.storage": {"mine": "n"}}, "2.0")
    with pytest.raises(SampanError, match="claimed twice") as caught:
        Plugins(run_dir).entry("storage", "mine")
    assert "one 1.0 (m)" in str(caught.value) and "two 2.0 (n)" in str(caught.value)


def test_an_earlier_entry_of_the_path_hides_a_later_one(install: Install, run_dir: str) -> None:
    install("one", {}, {"sampan.storage": {"old": "m"}})
    sys.path.insert(0, "/absent")
    newer = Path(run_dir).parent / "newer"
    info = newer / "one-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: one\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[sampan.storage]\nnew = m\n")
    sys.path.insert(0, str(newer))
    names = Plugins(run_dir).names("storage")
    assert "new" in names and "old" not in names


def test_a_missing_one_names_the_others(install: Install, run_dir: str) -> None:
    install("one", {}, {"sampan.storage": {"mine": "m"}})
    with pytest.raises(NotFoundError, match="no storage plugin is named 'absent'") as caught:
        Plugins(run_dir).entry("storage", "absent")
    assert "mine" in str(caught.value)


@pytest.mark.parametrize(
    "source", ["raise RuntimeError('broken')", "import a_module_that_is_not_there", "def (", "1/0"]
)
def test_a_broken_plugin_harms_nobody_else(install: Install, run_dir: str, source: str) -> None:
    install("bad", {"bad_driver": source}, {"sampan.storage": {"bad": "bad_driver"}})
    install(
        "good",
        {"good_driver": DRIVER.format(answer="good")},
        {"sampan.storage": {"good": "good_driver"}},
    )
    found = Plugins(run_dir)
    with pytest.raises(SampanError, match=r"plugin 'bad' of bad 1\.0 cannot be loaded"):
        found.driver("storage", "bad", CONTEXT)
    assert found.driver("storage", "good", CONTEXT) == "good"


def test_a_plugin_that_makes_nothing(install: Install, run_dir: str) -> None:
    install("one", {"none_driver": ""}, {"sampan.storage": {"mine": "none_driver"}})
    with pytest.raises(SampanError, match="made no storage driver"):
        Plugins(run_dir).driver("storage", "mine", CONTEXT)


def test_options(install: Install, run_dir: str) -> None:
    install(
        "one", {"one_driver": DRIVER.format(answer="x")}, {"sampan.storage": {"mine": "one_driver"}}
    )
    found = Plugins(run_dir)

    def configured(table: dict[str, object]) -> dict[str, object]:
        settings = Settings({}, {"storage.mine.x": "/etc/file"}, {"storage": {"mine": table}})
        return found.configure("storage", "mine", settings)

    assert configured({}) == {"mode": "fast", "count": 1}
    assert configured({"mode": "slow"}) == {"mode": "slow", "count": 1}
    with pytest.raises(SampanError, match=r"/etc/file: unknown key storage.mine.x"):
        configured({"x": 1})
    with pytest.raises(SampanError, match=r"storage.mine.count must be a int"):
        configured({"count": "many"})


def test_an_extension_wraps_a_hook_through_pluggy(install: Install, run_dir: str) -> None:
    """With an extension installed every call goes through pluggy, and the answer can be wrapped."""
    install(
        "one",
        {"one_driver": DRIVER.format(answer="plain")},
        {"sampan.storage": {"mine": "one_driver"}},
    )
    extension = """
from sampan.hookspecs import hookimpl
events = []
@hookimpl(wrapper=True)
def sampan_storage_driver(context):
    answer = yield
    return f"wrapped {answer}"
def sampan_event(event):
    events.append(event)
def sampan_spec(spec, container):
    spec["seen"] = container["id"]
"""
    install("more", {"an_extension": extension}, {"sampan.extension": {"more": "an_extension"}})
    found = Plugins(run_dir)
    assert found.driver("storage", "mine", CONTEXT) == "wrapped plain"
    document: dict[str, str] = {}
    found.announce("sampan_spec", spec=document, container={"id": "c"})
    assert document == {"seen": "c"}
    found.announce("sampan_event", event={"kind": "x"})
    assert sys.modules["an_extension"].events == [{"kind": "x"}]


def test_without_extensions_pluggy_is_not_loaded(run_dir: str) -> None:
    import subprocess

    code = (
        "import sys; from sampan.plugins import Plugins; from sampan.model.contract import DriverContext;"
        "p = Plugins(sys.argv[1]); p.driver('network', 'none', None); p.announce('sampan_event', event={});"
        "print('pluggy' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for expected in (b"False", b"False"):  # with a scan, and from the index
        done = subprocess.run(
            [sys.executable, "-c", code, run_dir], capture_output=True, env=environment
        )
        assert done.stdout.strip() == expected, done.stderr


def test_the_drivers_of_this_repository_are_found(run_dir: str) -> None:
    found = Plugins(run_dir)
    for concern, name in (
        ("storage", "overlay"),
        ("network", "none"),
        ("runtime", "native"),
        ("build", "host"),
    ):
        assert name in found.names(concern)
        found.load(found.entry(concern, name))
