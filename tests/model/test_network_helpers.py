"""What is said where a helper cannot work."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan_network import helper


def test_a_program_that_is_not_there_names_its_package() -> None:
    assert helper.missing("no-such-helper", "pack") == (
        "no-such-helper is not installed",
        "an administrator can install the package pack",
    )


def test_no_tun_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(helper, "TUN", str(tmp_path / "tun"))
    wrong = helper.missing("sh", "pack")
    assert wrong is not None
    assert wrong[0] == f"{tmp_path}/tun: No such file or directory" and "0666" in wrong[1]
    error = str(helper.unusable("sh", wrong))
    assert error.startswith("cannot connect a container with sh: ") and "\n" not in error
