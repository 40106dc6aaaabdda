"""A machine that lacks what networks need: what is named is told, and where nothing is named the next one is used."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import lan
from lan import Host
from system_tools import BUSYBOX, Sampan

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")
PACKAGES = {"slirp4netns": "slirp4netns", "pasta": "passt"}
RUN = ("run", "--rm", "--pull", "never")


@pytest.fixture
def bare(store: lan.Store) -> Iterator[tuple[Host, Sampan]]:
    """A machine, on which nothing has been chosen yet."""
    with lan.machine(store) as found:
        choices = store.base / "root/choices.json"
        choices.unlink(missing_ok=True)
        yield found
        choices.unlink(missing_ok=True)


def hide(machine: Host, *programs: str) -> None:
    """What is mounted there cannot be executed."""
    for program in programs:
        machine.sh(
            f"for p in /usr/bin/{program} /bin/{program}; do mount --bind /dev/null $p; done"
        )


def refused(sampan: Sampan, mode: str) -> str:
    result = sampan(*RUN, "--network", mode, BUSYBOX, "true")
    assert result.returncode == 125 and result.stdout == b"" and result.stderr.count(b"\n") == 1
    return result.stderr.decode()


def interfaces(sampan: Sampan) -> tuple[list[str], str]:
    """Those of a container that names no network, and what is said to that."""
    result = sampan(*RUN, BUSYBOX, "cat", "/proc/net/dev")
    assert result.returncode == 0, result.stderr
    rows = [row.partition(":")[0].strip() for row in result.stdout.decode().splitlines()[2:]]
    return sorted(rows), result.stderr.decode()


def test_without_slirp4netns(bare: tuple[Host, Sampan]) -> None:
    """pasta takes its place, but not without a default route."""
    machine, sampan = bare
    assert interfaces(sampan) == (["lo", "tap0"], "")
    hide(machine, "slirp4netns")
    found, said = interfaces(sampan)
    assert found == ["lo"] and "there is no such route" in said and said.count("\n") == 1
    with Host() as peer:
        lan.cable(machine, peer, "eth0", "eth0")
        machine.give("eth0", "192.0.2.10/24")
        machine.sh("ip route add default via 192.0.2.20")
        assert interfaces(sampan) == (["lo", "tap0"], "")
    told = "slirp4netns is not installed; an administrator can install the package slirp4netns"
    assert told in refused(sampan, "slirp4netns")


def test_without_both(bare: tuple[Host, Sampan]) -> None:
    machine, sampan = bare
    hide(machine, *PACKAGES)
    found, said = interfaces(sampan)
    assert found == ["lo"] and said.count("\n") == 1
    assert "the container has no network" in said
    for program, package in PACKAGES.items():
        told = f"{program} is not installed; an administrator can install the package {package}"
        assert told in said and told in refused(sampan, program)
    sampan.text("network", "create", "net")
    machine.sh(
        "ip link add d0 type veth peer name d1; ip link set d0 up; ip address add 2001:db8::1/64 dev d0 nodad"
    )
    machine.sh(
        "ip route add default via 2001:db8::2"
    )  # whether ports have IPv6 is asked of the way out
    assert "bridge" in sampan.text("network", "ls", "--format", "{{.Name}}").split()
    assert "is not installed" in refused(sampan, "net")


def test_without_the_tun_device(bare: tuple[Host, Sampan]) -> None:
    machine, sampan = bare
    machine.sh("mount -t tmpfs tmpfs /dev/net")
    found, said = interfaces(sampan)
    assert found == ["lo"] and said.count("\n") == said.count("mode 0666") == 1
    for program in PACKAGES:
        told = refused(sampan, program)
        assert "/dev/net/tun: No such file or directory" in told and "module tun" in told


def test_without_nftables(bare: tuple[Host, Sampan]) -> None:
    machine, sampan = bare
    library = machine.sh("ldconfig -p | sed -n 's/.*libnftables.so.1 .*=> //p'").splitlines()[0]
    sampan.text("network", "create", "net")
    machine.sh(f"mount --bind /dev/null {library}")
    said = refused(sampan, "net")
    assert (
        "libnftables.so.1" in said and "an administrator can install the package nftables" in said
    )
    assert interfaces(sampan) == (["lo", "tap0"], "")
