"""registries.conf: search lists, aliases, prefixes, mirrors."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.errors import SampanError, UsageError
from sampan.model.reference import parse as name
from sampan.registry import config

CONF = """
unqualified-search-registries = ["quay.io", "docker.io"]
[aliases]
"debian" = "docker.io/library/debian"
[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "mirror.example/hub"
insecure = true
[[registry.mirror]]
location = "by-digest.example"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "docker.io/library"
location = "127.0.0.1:5000/stand-in"
insecure = true
[[registry]]
prefix = "*.corp.example"
blocked = true
[[registry]]
location = "quay.io/team"
"""
DIGEST = "sha256:" + "a" * 64


def endpoints(text: str) -> list[tuple[str, str, bool, bool]]:
    parsed = config.parse(CONF, "a test")
    return [(e.host, e.path, e.insecure, e.mirror) for e in parsed.endpoints(name(text))]


def test_endpoints() -> None:
    assert endpoints("debian") == [("127.0.0.1:5000", "stand-in/debian", True, False)]
    assert endpoints("me/x") == [
        ("mirror.example", "hub/me/x", True, True),
        ("registry-1.docker.io", "me/x", False, False),
    ]
    assert endpoints(f"me/x@{DIGEST}")[1] == ("by-digest.example", "me/x", False, True)
    assert endpoints("quay.io/team/x") == [("quay.io", "team/x", False, False)]
    assert endpoints("quay.io/teams/x") == [("quay.io", "teams/x", False, False)]
    with pytest.raises(SampanError, match="blocked"):
        endpoints("a.corp.example:5000/x")
    assert endpoints("corp.example/x")[0][0] == "corp.example"


def test_candidates() -> None:
    conf = config.parse(CONF, "a test")
    assert [str(one) for one in conf.candidates("x:1")] == [
        "quay.io/x:1",
        "docker.io/library/x:1",
    ]
    assert [str(one) for one in conf.candidates("debian:12")] == ["docker.io/library/debian:12"]
    assert [str(one) for one in conf.candidates("localhost/x")] == ["localhost/x:latest"]
    empty = config.RegistriesConf()
    assert [str(one) for one in empty.candidates("x")] == ["docker.io/library/x:latest"]


@pytest.mark.parametrize(
    "text",
    [
        "unqualified-search-registries = 1",
        "[[registry]]",
        "[[registry]]\nlocation = 1",
        '[[registry]]\nlocation = "x"\nblocked = "yes"',
        '[[registry]]\nlocation = "x"\n[[registry.mirror]]\ninsecure = true',
        '[aliases]\n"x" = 1',
        "registry = 1",
        "=",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a test"):
        config.parse(text, "a test")


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONTAINERS_REGISTRIES_CONF", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(config, "SYSTEM", str(tmp_path / "etc/registries.conf"))

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    assert config.load() == config.RegistriesConf()
    write("etc/registries.conf", 'unqualified-search-registries = ["etc.io"]')
    write("etc/registries.conf.d/a.conf", '[aliases]\n"x" = "etc.io/x"\n"y" = "etc.io/y"')
    assert config.load().search == ("etc.io",)
    write("user/containers/registries.conf", 'unqualified-search-registries = ["user.io"]')
    write("user/containers/registries.conf.d/b.conf", '[aliases]\n"x" = "user.io/x"')
    loaded = config.load()
    assert loaded.search == ("user.io",)
    assert dict(loaded.aliases) == {"x": "user.io/x", "y": "etc.io/y"}
    write("chosen.conf", 'unqualified-search-registries = ["chosen.io"]')
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(tmp_path / "chosen.conf"))
    assert config.load().search == ("chosen.io",)
