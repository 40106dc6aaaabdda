from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import SampanError, UnsupportedError, UsageError
from sampan.model import cgroup_files, resources

CPUS, NODES = {0, 1, 2, 3}, {0}


def build(**values: Any) -> dict[str, Any]:
    return resources.build(values, CPUS, NODES)


def written(**values: Any) -> dict[str, str]:
    """File: value, with the last of the choices."""
    return dict(choices[-1] for _, choices, _ in cgroup_files.files(build(**values)))


def test_the_options_become_oci_resources() -> None:
    assert build(
        memory="64m",
        memory_swap="-1",
        memory_reservation="32m",
        cpus="1.5",
        cpu_shares="1024",
        cpuset_cpus="0-2",
        cpuset_mems="0",
        pids_limit="20",
        blkio_weight="500",
        cgroup_conf=["memory.high=1000000"],
    ) == {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": -1},
        "cpu": {"shares": 1024, "period": 100_000, "quota": 150_000, "cpus": "0-2", "mems": "0"},
        "pids": {"limit": 20},
        "blockIO": {"weight": 500},
        "unified": {"memory.high": "1000000"},
    }
    assert build() == {} and not resources.is_asked({"memory": None, "device_read_bps": []})


def test_resources_become_files() -> None:
    assert written(memory="64m") == {"memory.max": "67108864", "memory.swap.max": "67108864"}
    assert written(memory="64m", memory_swap="96m")["memory.swap.max"] == str(32 << 20)
    assert written(memory="64m", memory_swap="64m")["memory.swap.max"] == "0"
    assert written(memory="64m", memory_swap="-1")["memory.swap.max"] == "max"
    assert written(cpus="0.5") == {"cpu.max": "50000 100000"}
    assert written(cpu_quota="20000", cpu_period="50000") == {"cpu.max": "20000 50000"}
    assert written(cpu_period="50000") == {"cpu.max": "max 50000"}
    assert written(pids_limit="0") == written(pids_limit="-1") == {"pids.max": "max"}
    assert written(blkio_weight="10") == {"io.weight": "default 1"}
    assert written(blkio_weight="1000") == {"io.weight": "default 10000"}


def test_which_controllers_are_needed() -> None:
    asked = build(memory="64m", cpus="1", cpuset_cpus="0", pids_limit="5")
    assert cgroup_files.controllers(asked) == ["cpu", "cpuset", "memory", "pids"]
    assert cgroup_files.controllers(build(pids_limit="-1")) == []  # no limit needs nothing
    left = cgroup_files.without(asked, {"cpuset", "pids"})
    assert left == {"memory": asked["memory"], "cpu": {"period": 100_000, "quota": 100_000}}


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"memory": "5m"}, "minimum is 6m"),
        ({"memory": "much"}, "invalid --memory"),
        ({"memory_swap": "64m"}, "needs a memory limit"),
        ({"memory": "64m", "memory_swap": "63m"}, "must not be smaller"),
        ({"memory": "64m", "memory_reservation": "65m"}, "must not be larger"),
        ({"cpus": "4.01"}, "only 4 CPUs"),
        ({"cpus": "0.001"}, "from 0.01 to 4.00"),
        ({"cpus": "nan"}, "from 0.01"),
        ({"cpus": "1", "cpu_quota": "50000"}, "cannot be given with"),
        ({"cpu_period": "999"}, "from 1000 to 1000000"),
        ({"cpu_quota": "500"}, "from 1000"),
        ({"cpu_shares": "-1"}, "the range is"),
        ({"cpuset_cpus": "0-4"}, "4 is not available; available: 0-3"),
        ({"cpuset_cpus": "3-1"}, "is no range"),
        ({"cpuset_cpus": "0,,1"}, "the form is"),
        ({"cpuset_mems": "1"}, "available: 0"),
        ({"pids_limit": "-2"}, "the range is"),
        ({"blkio_weight": "5"}, "from 10 to 1000"),
        ({"device_read_bps": ["/dev/null:1m"]}, "not a block device"),
        ({"device_read_bps": ["/dev/no-such:1m"]}, "No such file"),
        ({"device_read_bps": ["sda:1m"]}, "the form is"),
        ({"cgroup_conf": ["memory.high"]}, "the form is"),
        ({"cgroup_conf": ["../memory.max=1"]}, "the form is"),
        ({"cgroup_conf": ["cgroup.procs=1"]}, "the form is"),
    ],
)
def test_bad_values_are_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build(**values)


def test_what_version_2_does_not_have() -> None:
    for values in ({"memory_swappiness": "10"}, {"oom_kill_disable": True}):
        with pytest.raises(UnsupportedError, match="is not supported: cgroup v2"):
            build(**values)
    assert build(memory_swappiness="-1") == {}


def test_devices() -> None:
    block = [p for p in Path("/dev").iterdir() if stat.S_ISBLK(p.stat().st_mode)]
    if not block:
        pytest.skip("no block device in /dev")
    number = block[0].stat().st_rdev
    place = f"{os.major(number)}:{os.minor(number)}"
    made = build(device_read_bps=[f"{block[0]}:1m"], device_write_iops=[f"{block[0]}:100"])
    values = [choices[0][1] for _, choices, _ in cgroup_files.files(made)]
    assert values == [f"{place} rbps=1048576", f"{place} wiops=100"]


def test_update_keeps_what_it_does_not_name() -> None:
    old = build(memory="64m", cpus="1")
    new = resources.build_update({"memory": "128m", "pids_limit": "5"}, old, CPUS, NODES)
    assert new["memory"] == {"limit": 128 << 20} and new["pids"] == {"limit": 5}
    assert new["cpu"] == old["cpu"] and old["memory"] == {"limit": 64 << 20}
    limited = build(memory="64m", memory_swap="64m")
    with pytest.raises(UsageError, match="must not be smaller"):
        resources.build_update({"memory": "128m"}, limited, CPUS, NODES)
    assert (
        resources.build_update({"memory_swap": "-1"}, limited, CPUS, NODES)["memory"]["swap"] == -1
    )


@given(st.integers(2, 262_144))
def test_weights_grow_with_shares(shares: int) -> None:
    weight = cgroup_files.weight_of_shares(shares)
    assert 1 <= weight <= 10_000 and weight <= cgroup_files.weight_of_shares(shares + 27)
    assert (
        cgroup_files.weight_of_shares(2) == 1 and cgroup_files.weight_of_shares(262_144) == 10_000
    )


@given(st.sets(st.integers(0, 200), min_size=1))
def test_ranges_are_read_back(found: set[int]) -> None:
    assert resources.numbers(resources.ranges(found), "x") == found


WORDS = st.one_of(st.none(), st.text("0123456789-.,kmg=x", max_size=8))
NAMED = st.fixed_dictionaries(
    {
        name: st.lists(st.text("/dev:0159mk=.", max_size=12), max_size=2)
        if name in ("cgroup_conf", "blkio_weight_device") or name.startswith("device_")
        else WORDS
        for name in resources.NAMES
        if name != "oom_kill_disable"
    }
)


@given(NAMED)
def test_any_words_are_read_or_refused(values: dict[str, Any]) -> None:
    """What is read becomes files of known controllers, each with a value of one line."""
    try:
        made = build(**values)
    except SampanError:
        return
    for controller, choices, _ in cgroup_files.files(made):
        for name, value in choices:
            assert name.startswith(f"{controller}.") and "/" not in name
            assert value and "\n" not in value
