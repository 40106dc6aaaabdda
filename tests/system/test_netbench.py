"""sampan network bench's engine side: a row for each mode, and nothing that is left of it, also after ^C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from networks import TUN, fake, needs, own_address
from sampan.linux import processes
from system_tools import Sampan, ended, until

pytestmark = pytest.mark.skipif(not TUN, reason="/dev/net/tun for everybody is needed")
PROGRAM = """
import json, sys
from sampan.cli.context import engine
from sampan.engine import netbench, netbench_wire
netbench_wire.SECONDS, netbench_wire.ROUNDS = float(sys.argv[1]), 200
for row in netbench.bench(engine(), sys.argv[3:], sys.argv[2]):
    print(json.dumps(row), flush=True)
"""
MODES = ("host", "bridge", "pasta", "slirp4netns")


def command(sampan: Sampan, *words: str) -> list[str]:
    return [str(Path(sampan.program).parent / "python"), "-c", PROGRAM, *words]


def rows(sampan: Sampan, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    done = subprocess.run(
        command(sampan, *words), env={**sampan.environment, **(env or {})}, capture_output=True, timeout=100, check=True
    )  # fmt: skip
    assert done.stderr == b""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["Network"]: row for row in found}


def left(sampan: Sampan) -> list[Path]:
    return list(sampan.run_dir.glob("bench-*"))


@needs("slirp4netns")
@needs("pasta")
@pytest.mark.parametrize("address", ["127.0.0.1", "own"])
def test_every_mode_has_its_figures(sampan: Sampan, address: str) -> None:
    address = own_address() if address == "own" else address
    found = rows(sampan, "0.1", address)
    assert set(found) >= {"host", "pasta", "slirp4netns"} and "none" not in found
    assert next(iter(found)) == "host"
    for name, row in found.items():
        if row["Usable"] != "yes":
            continue
        if name == "pasta" and "timed out" in row["Why"]:  # Debian 12's loses data of a fast sender
            continue
        assert row["Why"] == "", row
        assert (row["AttachMs"] is None) == (name == "host")
        for figure in ("InMBs", "OutMBs", "LatencyUs", "LatencyP99Us", "ConnectsPerSecond"):
            assert row[figure] > 0, row
        assert row["LatencyUs"] <= row["LatencyP99Us"]
    assert left(sampan) == []


def test_what_cannot_be_had_is_told(sampan: Sampan, tmp_path: Path) -> None:
    environment = fake(
        tmp_path, "slirp4netns", "echo 'version 0.1'; echo 'it is broken' >&2; exit 2"
    )
    found = rows(sampan, "0.1", "127.0.0.1", "none", "slirp", env=environment)
    assert (found["none"]["Usable"], found["none"]["Why"]) == ("no", "it connects nothing")
    assert (
        found["slirp"]["Usable"] == "no" and "does not work: version 0.1" in found["slirp"]["Why"]
    )
    assert found["slirp"]["InMBs"] is None
    assert left(sampan) == []


def below(pid: int) -> list[int]:
    return [other for child in processes.children(pid) for other in (child, *below(child))]


@needs("slirp4netns")
@needs("pasta")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_left_when_it_is_interrupted(sampan: Sampan, mode: str, how: int) -> None:
    """^C comes to every process of the terminal's group."""
    row = rows(sampan, "0.1", "127.0.0.1", mode)[mode]
    if row["Usable"] != "yes":
        pytest.skip(row["Why"])
    words = command(sampan, "5", "127.0.0.1", mode)
    process = subprocess.Popen(
        words, env=sampan.environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip
    until(lambda: len(below(process.pid)) >= (2 if mode == "host" else 3))
    started = below(process.pid)
    if how == signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.kill()
    process.communicate(timeout=20)
    assert len(started) >= 2
    assert until(lambda: all(ended(pid) for pid in started), 5)
    if how == signal.SIGINT:
        assert left(sampan) == []
    for place in left(sampan):
        shutil.rmtree(place)  # perhaps with the helper's socket
