"""system df and the prunes by the installed program."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from system_tools import Sampan


@pytest.fixture
def own(program: str, registries_conf: str, tmp_path: Path) -> Sampan:
    """A store of this test alone."""
    return Sampan(program, tmp_path / "root", tmp_path / "run", registries_conf)


def sizes(own: Sampan) -> dict[str, tuple[int, int, int, int]]:
    rows = json.loads(own.text("system", "df", "--format", "json"))
    return {
        row["Type"]: (row["Total"], row["Active"], row["RawSize"], row["RawReclaimable"])
        for row in rows
    }


def test_df_and_prune(own: Sampan) -> None:
    nothing = (0, 0, 0, 0)
    kinds = "Images", "Containers", "Local Volumes", "Build Cache"
    assert sizes(own) == dict.fromkeys(kinds, nothing)
    own.text("pull", "-q", "busybox")
    own.text("run", "--name", "one", "busybox", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=8")
    own.text("commit", "-q", "one", "big:1")
    running = own.text("run", "-d", "busybox", "sleep", "100")
    try:
        told = sizes(own)
        assert told["Images"][:2] == (2, 1) and told["Containers"][:2] == (2, 1)
        base = told["Images"][2] - told["Images"][3]
        assert 8 << 20 <= told["Images"][3] < 9 << 20 and 0 < base < 5 << 20, told
        assert 8 << 20 <= told["Containers"][3] < 9 << 20
        table = own.text("system", "df").splitlines()
        assert (
            table[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
            and len(table) == 5
        )
        verbose = own.text("system", "df", "-v")
        assert "UNIQUE SIZE" in verbose and "localhost/big" in verbose and "one" in verbose
        out = own.text("system", "prune", "-f")
        assert "Deleted Containers" in out and "Total reclaimed space: 8." in out
        assert own("container", "exists", "one").returncode == 1
        assert own.text("ps", "-q") == running[:12]
        assert "Deleted Images" in own.text("system", "prune", "-a", "-f")
        assert own("image", "exists", "big:1").returncode == 1
        assert own("image", "exists", "busybox").returncode == 0
        assert sizes(own)["Images"][:2] == (1, 1)
    finally:
        own.text("rm", "-f", "-t", "0", running)
    own.text("system", "prune", "-a", "-f")
    assert sizes(own)["Images"] == (0, 0, 0, 0)


def test_prune_asks(own: Sampan) -> None:
    own.text("pull", "-q", "busybox")
    own.text("run", "busybox", "true")
    refused = own("system", "prune", "-a", input=b"n\n")
    assert refused.returncode == 0 and b"WARNING!" in refused.stdout
    assert sizes(own)["Containers"][0] == 1
    assert own("system", "prune", "--filter", "nonsense=1", "-f").returncode == 125
    assert own("system", "nonsense").returncode == 125
    assert own("system").returncode == 125


def test_volumes_count(own: Sampan) -> None:
    own.text("pull", "-q", "busybox")
    script = "dd if=/dev/zero of=/v/big bs=1M count=4; chmod 0 /v/big; ln /v/big /v/again"
    own.text("run", "--name", "c", "-v", "used:/v", "busybox", "sh", "-c", script)
    own.text("volume", "create", "idle")
    total, active, size, free = sizes(own)["Local Volumes"]
    assert (total, active, free) == (2, 1, 0) and 4 << 20 <= size < 5 << 20, (
        "two names of a file are one"
    )
    assert "used" in own.text("system", "df", "-v")
    assert "idle" not in own.text("system", "prune", "-f"), "volumes only when they are asked for"
    assert own.text("volume", "ls", "-q").split() == ["idle", "used"]
    told = own.text("system", "prune", "-f", "--volumes")
    assert "Deleted Volumes\nidle\nused" in told and "Total reclaimed space: 4.19MB" in told
    assert own.text("volume", "ls", "-q") == ""


def test_unshare(own: Sampan, tmp_path: Path) -> None:
    """Files of subordinate ids are the user's to see and to remove."""
    assert own.text("unshare", "id", "-u") == "0"
    (tmp_path / "f").write_text("x")
    status = own("unshare", "chown", "5:6", str(tmp_path / "f"))
    if status.returncode == 0:
        assert own.text("unshare", "stat", "-c", "%u:%g", str(tmp_path / "f")) == "5:6"
        own.text("unshare", "rm", str(tmp_path / "f"))
    assert own("unshare", "sh", "-c", "exit 7").returncode == 7
    assert own("unshare", "no-such-command").returncode == 127
