"""Where settings come from, and who wins."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sampan import settings
from sampan.errors import SampanError

unprivileged = pytest.mark.skipif(os.getuid() == 0, reason="root has places of its own")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own, and no variable of the caller's."""
    for name in [n for n in os.environ if n.startswith(("SAMPAN_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config" / "sampan").mkdir(parents=True)
    return tmp_path


def configure(place: Path, text: str) -> Path:
    path = place / ".config" / "sampan" / "sampan.toml"
    path.write_text(text)
    return path


def test_the_later_place_wins(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings.load({})
    assert (found.log_driver, found.sources["log_driver"]) == ("k8s-file", "default")
    path = configure(place, 'log_driver = "json-file"\nruntime = "file"\n')
    found = settings.load({})
    assert (found.log_driver, found.sources["log_driver"]) == ("json-file", str(path))
    monkeypatch.setenv("SAMPAN_LOG_DRIVER", "none")
    found = settings.load({"runtime": "flag", "log_level": None})
    assert (found.log_driver, found.sources["log_driver"]) == (
        "none",
        "environment SAMPAN_LOG_DRIVER",
    )
    assert (found.runtime, found.sources["runtime"]) == ("flag", "flag --runtime")
    assert found.sources["log_level"] == "default"


def test_podmans_name_of_a_manager_is_known_everywhere(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings.load({}).cgroup_manager == "auto"
    assert settings.load({"cgroup_manager": "cgroupfs"}).cgroup_manager == "delegated"
    monkeypatch.setenv("SAMPAN_CGROUP_MANAGER", "cgroupfs")
    assert settings.load({}).cgroup_manager == "delegated"
    assert settings.load({"cgroup_manager": "systemd"}).cgroup_manager == "systemd"


def test_tables_belong_to_plugins(place: Path) -> None:
    path = configure(place, '[storage.overlay]\nmode = "x"\nnumber = 5\n[network.none]\n')
    found = settings.load({})
    assert found.table("storage", "overlay") == {"mode": "x", "number": 5}
    assert found.table("storage", "absent") == found.table("build", "host") == {}
    assert found.sources["storage.overlay.mode"] == str(path)
    with pytest.raises(AttributeError):
        _ = found.absent


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rot = 'x'", "unknown key rot"),
        ("root = 5", "root must be a text"),
        ("storage = 'x'", "unknown key storage"),
        ("[storage]\noverlay = 1", "unknown key storage.overlay"),
        ("[other.table]", "unknown key other"),
        ("root = 'x", "cannot read"),
        ("root = '\udcff'", "cannot read"),
        ("log_level = 'loud'", "log level 'loud'"),
        ("limits = 'perhaps'", "limits = 'perhaps'"),
    ],
)
def test_mistakes_name_the_file_and_the_key(place: Path, text: str, told: str) -> None:
    path = configure(place, "")
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(SampanError) as caught:
        settings.load({})
    assert told in str(caught.value) and str(path) in str(caught.value)


def test_a_directory_is_no_file(place: Path) -> None:
    (place / ".config" / "sampan" / "sampan.toml").mkdir()
    with pytest.raises(SampanError, match="cannot read"):
        settings.load({})


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(
    ["[", "]", "storage", ".", "overlay", "root", "=", "'x'", "1", "\n", "{", "}", "a"]), max_size=12
).map(lambda parts: "".join(parts).encode())))  # fmt: skip
def test_any_file_is_read_or_refused(place: Path, data: bytes) -> None:
    configure(place, "").write_bytes(data)
    try:
        settings.load({})
    except SampanError as error:
        assert "\n" not in str(error)


@unprivileged
def test_the_root(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.default_root() == f"{place}/.local/share/sampan"
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert settings.default_root() == "/data/sampan"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", f"{place}/absent")
    with pytest.raises(SampanError, match="home directory"):
        settings.default_root()
    monkeypatch.chdir(place)
    assert settings.load({"root": "relative"}).root == f"{place}/relative"


@unprivileged
def test_the_run_dir_is_private(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaked XDG_RUNTIME_DIR is passed over, whatever is wrong with it."""
    good = place / "good"
    good.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(good))
    assert settings.default_run_dir() == (f"{good}/sampan", "environment XDG_RUNTIME_DIR")
    open_to_all, link, file = place / "open", place / "link", place / "file"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    link.symlink_to(good)
    file.write_text("")
    read_only = place / "read-only"
    read_only.mkdir(mode=0o500)
    for wrong in (open_to_all, link, file, read_only, place / "absent", Path("/root"), Path("/")):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(wrong))
        path, source = settings.default_run_dir()
        assert not path.startswith(str(wrong) + "/sampan") and source.startswith("default")
        private = os.path.dirname(path) if path.endswith("/sampan") else path
        assert stat.S_IMODE(os.stat(private).st_mode) == 0o700
        assert not os.path.lexists(wrong / "sampan")
