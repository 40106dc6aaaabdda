"""Words of `run` and `create` that need more than a parser: the proxy variables (R18)."""

from __future__ import annotations

import pytest

from sampan.cli.container_words import PROXY, proxies


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_both_letter_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "localhost")
    assert proxies("none") == {
        "https_proxy": "http://proxy:3128",
        "HTTPS_PROXY": "http://proxy:3128",
        "no_proxy": "localhost",
        "NO_PROXY": "localhost",
    }


@pytest.mark.parametrize(
    ("url", "network", "told"),
    [
        ("http://127.0.0.1:3128", "slirp4netns", True),
        ("http://user:word@localhost:3128/", "bridge", True),
        ("http://[::1]:3128", "bridge", True),
        ("127.0.0.1:3128", "bridge", True),
        ("http://127.0.0.1:3128", "host", False),
        ("http://127.0.0.1:3128", "none", False),
        ("http://proxy.example.com:3128", "bridge", False),
    ],
)
def test_a_proxy_of_this_machine_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    url: str,
    network: str,
    told: bool,
) -> None:
    monkeypatch.setenv("http_proxy", url)
    assert proxies(network)["HTTP_PROXY"] == url
    assert ("loopback" in capfd.readouterr().err) == told
