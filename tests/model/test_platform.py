"""Which image of an index fits a machine."""

from __future__ import annotations

import json

import pytest

from sampan.errors import NotFoundError, UsageError
from sampan.model import image, platform


def index(*platforms: str) -> image.Index:
    entries = [
        {"digest": f"sha256:{at:064x}", "size": 1}
        | ({"platform": dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))}
           if text else {})
        for at, text in enumerate(platforms)
    ]  # fmt: skip
    parsed = image.parse_manifest(json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
    assert isinstance(parsed, image.Index)
    return parsed


@pytest.mark.parametrize(
    ("wanted", "offered", "chosen"),
    [
        ("linux/arm64/v8", ["linux/arm64"], 0),
        ("arm64", ["linux/amd64", "linux/arm64/v8"], 1),
        ("linux/arm/v7", ["linux/arm/v6", "linux/arm/v7"], 1),
        ("linux/arm/v6", ["linux/arm/v6", "linux/arm/v7"], 0),
        ("linux/arm/v8", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], 1),
        ("linux/amd64", ["unknown/unknown", "linux/amd64/v3", "linux/amd64"], 2),
        ("linux/amd64/v3", ["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], 1),
        ("x86_64", ["windows/amd64", "linux/amd64", "linux/amd64"], 1),
        ("linux/riscv64", ["linux/riscv64"], 0),
        ("linux/amd64", ["", "unknown/unknown"], 0),
    ],
)
def test_choose(wanted: str, offered: list[str], chosen: int) -> None:
    found = platform.choose(index(*offered), platform.parse(wanted), "x")
    assert int(found.digest[7:], 16) == chosen


@pytest.mark.parametrize(
    ("wanted", "offered"),
    [
        ("linux/arm/v6", ["linux/arm/v7"]),
        ("linux/amd64", ["linux/amd64/v2"]),
        ("linux/s390x", ["linux/amd64", "unknown/unknown"]),
        ("linux/amd64", ["", ""]),
        ("linux/amd64", []),
    ],
)
def test_nothing_fits(wanted: str, offered: list[str]) -> None:
    with pytest.raises(NotFoundError, match="--platform"):
        platform.choose(index(*offered), platform.parse(wanted), "x")


def test_parse() -> None:
    assert str(platform.parse("linux/arm/v7")) == "linux/arm/v7"
    assert str(platform.parse("aarch64")) == "linux/arm64"
    assert str(platform.parse("linux")) == str(platform.host())
    for wrong in ("", "a/b/c/d", "linux//x"):
        with pytest.raises(UsageError):
            platform.parse(wrong)
