"""What is said of containers that end with a login or a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.engine import logout


def test_a_batch_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in logout.JOBS:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert "Slurm (SLURM_JOB_ID)" in logout.reason("")


def test_logind_s_files_in_their_order(tmp_path: Path) -> None:
    main, more = tmp_path / "logind.conf", tmp_path / "logind.conf.d"
    places = (str(main), str(more))
    assert not logout.kills_users(places)
    main.write_text("[Login]\n#KillUserProcesses=yes\n")
    assert not logout.kills_users(places)
    main.write_text("[Login]\nKillUserProcesses=yes\n")
    assert logout.kills_users(places)
    more.mkdir()
    (more / "10-site.conf").write_text("[Login]\nKillUserProcesses=no\n")
    assert not logout.kills_users(places)
    (more / "20-site.conf").write_text("[Login]\nKillUserProcesses = 1\n")
    assert logout.kills_users(places)
