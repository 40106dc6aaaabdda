"""What happens to the machine: no delegate.conf, logout with and without linger, the end of monitors, a reboot.

Each test leaves the machine as it was.  Restart policies after a boot belong to the end of `test_a_reboot`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from vm.machine import Machine

pytestmark = pytest.mark.timeout(1200)  # the first test builds and boots

DELEGATE = "/etc/systemd/system/user@.service.d/delegate.conf"
AGAIN = "systemctl daemon-reload; systemctl restart user@1000"
STATE = "sampan inspect c --format '{{.State.Status}} {{.State.ExitCodeKnown}}'"


@pytest.fixture
def undelegated(vm: Machine) -> Iterator[Machine]:
    """The file is set aside; a test may put another in its place."""
    vm.ok(f"mv {DELEGATE} /srv/; {AGAIN}", user="root")
    yield vm
    vm.run("sampan rm -f -a -t 0")
    vm.ok(f"mv /srv/delegate.conf {DELEGATE}; {AGAIN}", user="root")


def test_without_the_administrators_file(undelegated: Machine) -> None:
    """What Debian delegates is limited; of the rest the file is named that would deliver it."""
    vm = undelegated
    found = vm.ok("sampan info --format '{{.Host.CgroupControllers}}'").strip("[]").split()
    assert {"memory", "pids"} <= set(found) and not {"cpuset", "io"} & set(found)
    done = vm.run("sampan run --blkio-weight 100 --cpuset-cpus 0 busybox true; sampan ps -aq")
    assert done.out == "" and len(done.err.splitlines()) == 1
    assert "the cgroup controllers cpuset, io cannot be used" in done.err and DELEGATE in done.err


def test_memory_and_pids_alone(undelegated: Machine) -> None:
    """As older systems delegate."""
    vm = undelegated
    conf = "[Service]\\nDelegate=\\nDelegate=memory pids\\n"
    vm.ok(f"printf '{conf}' > {DELEGATE}; {AGAIN}", user="root")
    assert vm.ok("sampan info --format '{{.Host.CgroupControllers}}'") == "[memory pids]"
    look = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    assert vm.ok(f"sampan run --rm -m 64m busybox {look}") == "67108864\n2048"
    done = vm.run("sampan run --cpus 1 --cpuset-cpus 0 busybox true; sampan ps -aq")
    assert done.out == "" and len(done.err.splitlines()) == 1
    assert "the cgroup controllers cpu, cpuset cannot be used" in done.err
    assert DELEGATE in done.err and "Delegate=cpu cpuset io memory pids" in done.err
    loose = "SAMPAN_LIMITS=best-effort sampan"
    done = vm.run(
        f"{loose} run -d --name c --cpus 1 --cpuset-cpus 1 -m 64m busybox sleep 100 >/dev/null;"
        f"{loose} exec c cat /sys/fs/cgroup/memory.max; {loose} exec c grep Cpus_allowed_list /proc/self/status;"
        f"{loose} inspect c --format '{{{{.HostConfig.LimitsNotEnforced}}}}'"
    )
    assert "limits of cpu, cpuset are not enforced" in done.err
    assert done.out.split("\n")[0] == "67108864" and done.out.endswith("[cpu cpuset]")
    in_first = vm.ok(
        "grep Cpus_allowed_list /proc/$(sampan inspect c --format '{{.State.Pid}}')/status"
    )
    assert in_first.split() == ["Cpus_allowed_list:", "1"]


@pytest.mark.parametrize("linger", [True, False], ids=["linger", "no-linger"])
def test_logout(vm: Machine, linger: bool) -> None:
    """KillUserProcesses=yes: a container outlives the session that started it exactly where the user lingers."""
    conf = "/etc/systemd/logind.conf.d/test.conf"
    vm.ok(
        f"mkdir -p /etc/systemd/logind.conf.d; "
        f"printf '[Login]\\nKillUserProcesses=yes\\nUserStopDelaySec=1\\n' > {conf};"
        f"systemctl restart systemd-logind; loginctl {'enable' if linger else 'disable'}-linger alice",
        user="root",
    )
    try:
        started = vm.run("sampan run -d --name c busybox sleep 1000")  # its session ends here
        assert started.status == 0
        warned = "containers end with your last login" in started.err
        time.sleep(6)
        alive = vm.run("pgrep -u alice -x sleep", user="root").status == 0
        shown = vm.ok(STATE)
        assert (alive, shown, warned) == (
            (True, "running true", False) if linger else (False, "exited false", True)
        )
    finally:
        vm.run(
            f"rm {conf}; systemctl restart systemd-logind; loginctl enable-linger alice; systemctl start user@1000",
            user="root",
        )


def test_a_reboot(vm: Machine) -> None:
    """Containers are shown as exited; what they wrote survives stop, start, the monitor's death and the boot."""
    write = "sampan exec c sh -c 'echo {} >> /kept'"
    vm.ok("sampan run -d --name c busybox sleep 1000; " + write.format("run"))
    vm.ok("sampan stop -t 0 c; sampan start c; " + write.format("start"))
    vm.ok(
        "kill -9 $(sampan inspect c --format '{{.State.ConmonPid}}'); sleep 2; sampan start c;"
        + write.format("kill")
    )
    vm.ok("sync", user="root")
    vm.reboot()
    assert vm.ok(STATE) == "exited false"
    assert vm.ok("sampan ps -q") == ""
    assert vm.ok("sampan start c; sampan exec c cat /kept") == "c\nrun\nstart\nkill"
    assert vm.ok("sampan rm -f -t 0 c") == "c"
