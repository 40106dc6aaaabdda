"""Small versions of the fault sweeps (see docs/testing.md): kills, errors, full disks, crowds and signals."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator

import pytest

from full_sweeps import crowd, disk, errors, kill, monitors, nets, signals
from full_sweeps.harness import Machine
from networks import needs
from system_tools import has_subordinate_ids

traced = pytest.mark.skipif(
    not shutil.which("strace") or has_subordinate_ids(),
    reason="needs strace, under which newuidmap has no privilege: run tests/full as root for this user",
)


@pytest.fixture(scope="module")
def machine(program: str, registries_conf: str) -> Iterator[Machine]:
    made = Machine(program, registries_conf)
    yield made
    made.close()


@traced
@pytest.mark.parametrize("verb", kill.VERBS)
def test_a_kill_at_any_system_call(machine: Machine, verb: str) -> None:
    tried, failures = kill.run(machine, verb, 3)
    assert tried == 3 and failures == []


@traced
@needs("slirp4netns")
@pytest.mark.parametrize("verb", ["create", "run, a further", "stop", "connect"])
def test_a_kill_while_networks_change(machine: Machine, verb: str) -> None:
    tried, failures = nets.kills(machine, verb, 2)
    assert tried == 2 and failures == []


@traced
@pytest.mark.parametrize("error", errors.ERRORS)
def test_a_system_call_that_fails(machine: Machine, error: str) -> None:
    tried, failures = errors.run(machine, "run", error, 4)
    assert tried >= 3 and failures == []


@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_disks_of_every_size(program: str, registries_conf: str) -> None:
    tried, failures = disk.run(program, registries_conf, 8)
    assert tried >= 8 and failures == []


@needs("slirp4netns")
@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_run_directories_of_every_size(program: str, registries_conf: str) -> None:
    tried, failures = nets.full_run_directories(program, registries_conf, 4)
    assert tried == 4 and failures == []


def test_many_at_once_and_many_in_a_row(machine: Machine) -> None:
    _, failures = crowd.at_once(machine, 1, 20)
    assert failures == []
    assert crowd.racers(machine, 1) == []
    assert crowd.rounds(machine, 8) == (8, [])
    taken, before, after = crowd.soak(machine, 20)
    assert after["entries"] <= before["entries"] and after["mounts"] == after["processes"] == 0
    assert after["KiB"] <= before["KiB"] + 64
    assert len(taken) == 20


def test_monitors_and_first_processes_that_are_killed(machine: Machine) -> None:
    assert monitors.killed_monitors(machine, 2) == []
    assert monitors.first_processes(machine, 2) == []
    assert monitors.reused_pids(machine, 2) == []


@pytest.mark.parametrize("number", signals.SIGNALS, ids=lambda number: number.name)
def test_a_signal_at_any_moment(machine: Machine, number: signal.Signals) -> None:
    tried, failures = signals.run(machine, range(0, 160, 32), number)
    assert tried == 5 and failures == []


def test_a_command_that_is_stopped_for_a_while(machine: Machine) -> None:
    assert signals.stopped(machine, 2) == []
