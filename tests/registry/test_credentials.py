"""Where credentials are kept and found: files, their order and modes, and helpers."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from sampan.errors import NotFoundError, SampanError
from sampan.registry import credentials, helpers
from sampan.registry.access import Credential
from sampan.registry.credentials import Looked

ANN = Credential("ann", "canary-secret")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    return tmp_path


def helper(home: Path, name: str, script: str) -> None:
    path = home / "bin" / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_order_of_files(home: Path) -> None:
    paths = credentials.files()
    assert [path.removeprefix(f"{home}/") for path in paths] == [
        "config/sampan/auth.json",
        "run/containers/auth.json",
        "config/containers/auth.json",
        "docker/config.json",
    ]
    for at, path in reversed(list(enumerate(paths))):
        credentials.save("r.io", Credential(f"user{at}", "x"), path)
        found = credentials.lookup("r.io", "a/b")
        assert found is not None and found.user == f"user{at}" and found.source == path


def test_where_a_login_is_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert credentials.target() == str(home / "config/sampan/auth.json"), "there is no session"
    (home / "run").mkdir()
    assert credentials.target() == str(home / "run/containers/auth.json")
    credentials.save("r.io", ANN, credentials.own())
    assert credentials.target() == credentials.own()
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/named")
    assert (credentials.target(), credentials.target("/other")) == ("/named", "/other")


def test_a_file_that_is_named_is_the_only_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials.save("r.io", ANN, credentials.own())
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "other"))
    assert credentials.lookup("r.io", "x") is None
    assert credentials.files(str(home / "third")) == [str(home / "third")]


def test_what_is_saved_is_for_nobody_else(home: Path) -> None:
    before = os.umask(0)
    try:
        kept = credentials.save("r.io/team", ANN, credentials.own())
    finally:
        os.umask(before)
    status = os.stat(kept)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(kept)).st_mode) == 0o700
    assert credentials.lookup("r.io", "other/x") is None
    found = credentials.lookup("r.io", "team/x")
    assert found is not None and found.password == ANN.password


def test_saving_keeps_what_others_have_written(home: Path) -> None:
    path = home / "docker" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"psFormat": "x", "auths": {"q.io": {"auth": "YTpi"}}}))
    credentials.save("r.io", ANN, str(path))
    assert credentials.erase("r.io", str(path)) and not credentials.erase("r.io", str(path))
    assert json.loads(path.read_text()) == {"psFormat": "x", "auths": {"q.io": {"auth": "YTpi"}}}
    assert credentials.erase_all(str(path))
    assert json.loads(path.read_text())["auths"] == {}


def test_a_link_to_a_file_elsewhere_stays_a_link(home: Path) -> None:
    real = home / "elsewhere.json"
    real.write_text("{}")
    link = home / "link.json"
    link.symlink_to(real)
    credentials.save("r.io", ANN, str(link))
    assert link.is_symlink() and "r.io" in real.read_text()


def test_a_helper_for_one_registry(home: Path) -> None:
    helper(
        home,
        "mine",
        f'[ "$1" = get ] && [ "$(cat)" = r.io ] && echo \'{{"Username": "ann", "Secret": "{ANN.password}"}}\'',
    )
    path = home / "docker" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"credHelpers": {"r.io": "mine"}}))
    trace: list[Looked] = []
    found = credentials.lookup("r.io", "x", trace=trace)
    assert found is not None and (found.user, found.password) == ("ann", ANN.password)
    assert found.source == "helper mine"
    assert credentials.lookup("q.io", "x") is None
    assert "user ann" in str(trace) and ANN.password not in str(trace)


def test_a_helper_for_all_takes_what_is_saved(home: Path) -> None:
    store = home / "store"
    helper(
        home,
        "all",
        f"case $1 in store) cat > {store};; get) read -r server; [ -f {store} ] && cat {store} || "
        '{ echo "credentials not found in native keychain"; exit 1; };; '
        f"erase) rm {store};; esac",
    )
    path = Path(credentials.own())
    path.parent.mkdir(parents=True)
    path.write_text('{"credsStore": "all"}')
    assert credentials.lookup("docker.io", "library/x") is None
    assert credentials.save("docker.io", ANN, str(path)) == "helper all"
    assert json.loads(store.read_text())["ServerURL"] == "https://index.docker.io/v1/"
    assert ANN.password not in path.read_text()
    found = credentials.lookup("docker.io", "library/x")
    assert found is not None and found.password == ANN.password
    assert credentials.erase("docker.io", str(path)) and not store.exists()


def test_an_identity_token_of_a_helper(home: Path) -> None:
    helper(home, "tok", 'echo \'{"Username": "<token>", "Secret": "T"}\'')
    found = helpers.get("tok", "r.io")
    assert found is not None and found.identity_token == "T" and not found.password


def test_a_helper_that_never_answers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "SECONDS", 0.5)
    helper(home, "slow", "exec sleep 60")
    begun = time.monotonic()
    with pytest.raises(SampanError, match="did not answer"):
        helpers.get("slow", "r.io")
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", ""])
def test_a_helper_is_a_name(home: Path, name: str) -> None:
    with pytest.raises(SampanError, match="cannot ask"):
        helpers.get(name or "/", "r.io")


def test_a_helper_that_is_not_there(home: Path) -> None:
    with pytest.raises(NotFoundError, match="docker-credential-none"):
        helpers.get("none", "r.io")


def test_a_helper_that_fails_tells_no_secret(home: Path) -> None:
    helper(home, "bad", "cat; exit 3")
    with pytest.raises(SampanError) as caught:
        helpers.store("bad", "r.io", ANN)
    assert ANN.password not in str(caught.value)
