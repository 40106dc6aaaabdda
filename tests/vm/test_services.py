"""Containers as services under a real systemd: after a boot, in a unit of their own, in the journal, frozen."""

from __future__ import annotations

import json
import time

import pytest

from vm.machine import Machine

pytestmark = pytest.mark.timeout(1200)  # the first test builds and boots

UNITS = "$HOME/.config/systemd/user"


def _until(vm: Machine, command: str, wanted: str, seconds: float = 60) -> str:
    deadline = time.monotonic() + seconds
    found = vm.run(command).out
    while found != wanted and time.monotonic() < deadline:
        time.sleep(1)
        found = vm.run(command).out
    return found


def test_who_starts_again_after_a_boot(vm: Machine) -> None:
    """The generated unit starts what has a policy, but for what was stopped."""
    for name, policy in (
        ("always", "always"),
        ("kept", "unless-stopped"),
        ("ended", "unless-stopped"),
        ("none", "no"),
    ):
        vm.ok(f"sampan run -d --name {name} --restart {policy} busybox sleep 10000")
    vm.ok("sampan exec kept sh -c 'echo word > /kept'; sampan stop -t 0 always ended")
    vm.ok(
        f"mkdir -p {UNITS}; sampan generate systemd > {UNITS}/sampan-boot.service;"
        "systemctl --user daemon-reload; systemctl --user enable sampan-boot"
    )
    vm.ok("sync", user="root")
    vm.reboot()
    try:
        names = "sampan ps --format '{{.Names}}' | sort | xargs"
        assert _until(vm, names, "always kept") == "always kept"
        assert vm.ok("sampan exec kept cat /kept") == "word"
        states = "sampan ps -a --format '{{.Names}} {{.State}}' | sort | xargs"
        assert vm.ok(states) == "always running ended exited kept running none exited"
    finally:
        vm.run(f"systemctl --user disable --now sampan-boot; rm {UNITS}/sampan-boot.service")


def test_a_unit_for_one_container(vm: Machine) -> None:
    """systemd starts it, sees it end, and stops it."""
    vm.ok(
        f"mkdir -p {UNITS}; sampan create --name web --stop-timeout 2 busybox sh -c"
        " 'trap \"exit 0\" TERM; while :; do sleep 0.1; done';"
        f"sampan generate systemd --name web > {UNITS}/container-web.service;"
        "systemctl --user daemon-reload"
    )
    try:
        vm.ok("systemctl --user start container-web")
        assert vm.run("systemctl --user is-active container-web").out == "active"
        assert vm.ok("sampan inspect web --format '{{.State.Status}}'") == "running"
        vm.ok("systemctl --user stop container-web")
        assert (
            vm.ok("sampan inspect web --format '{{.State.Status}} {{.State.ExitCode}}'")
            == "exited 0"
        )
        vm.ok("systemctl --user start container-web; sampan kill web")
        active = "systemctl --user is-active container-web"
        assert _until(vm, active, "inactive", 20) in ("inactive", "failed")
    finally:
        vm.run(
            f"systemctl --user stop container-web; rm {UNITS}/container-web.service; systemctl --user daemon-reload"
        )


@pytest.mark.smoke
def test_output_in_the_journal(vm: Machine) -> None:
    """Both streams, a last line without its end; followed, and by the last lines."""
    vm.ok(
        "sampan run -d --name c --log-driver journald busybox sh -c 'echo one; echo two >&2; sleep 1; printf end'"
    )
    followed = vm.run("sampan logs -f c 2>/dev/null; sampan logs c 2>&1 >/dev/null", timeout=60)
    assert followed.out.split() == ["one", "endtwo"], followed
    vm.ok("sampan wait c")
    assert vm.ok("sampan logs c 2>/dev/null | head -1") == "one"
    assert vm.ok("sampan logs --tail 1 c") == "end"
    name = vm.ok(
        "journalctl -q --user-unit='*' CONTAINER_NAME=c -o json 2>/dev/null | tail -1 || true"
    )
    if name:
        assert json.loads(name)["CONTAINER_NAME"] == "c"


@pytest.mark.smoke
def test_a_pause_is_the_kernel_s(vm: Machine) -> None:
    """pause freezes the control group, stats are the kernel's figures, a health check runs inside the group."""
    vm.ok(
        "sampan run -d --name c -m 64m --health-cmd 'grep -c . /proc/self/cgroup' --health-interval 1s busybox"
        " sh -c 'while :; do :; done'"
    )
    path = vm.ok("sampan inspect c --format '{{.State.CgroupPath}}'")
    events = f"grep frozen /sys/fs/cgroup{path}/cgroup.events || grep frozen {path}/cgroup.events"
    assert vm.ok("sampan wait --condition healthy c") == "-1"
    vm.ok("sampan pause c")
    assert vm.run(events).out == "frozen 1"
    assert vm.ok("sampan inspect c --format '{{.State.Status}}'") == "paused"
    shown = vm.ok("sampan stats --no-stream --format '{{.PIDs}} {{.MemLimit}}' c").split()
    assert int(shown[0]) >= 1 and shown[1] == "67108864"
    vm.ok("sampan unpause c")
    assert vm.run(events).out == "frozen 0"
    vm.ok("sampan pause c; sampan rm -f -t 0 c")
