"""The machine of this session: asked for by SAMPAN_TEST_VM=DIRECTORY, in which its disk is built and kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm import machine


@pytest.fixture(scope="session")
def vm() -> Iterator[machine.Machine]:
    """A booted machine with sampan of this checkout; tests call vm.run(...) and vm.ok(...)."""
    place = os.environ.get("SAMPAN_TEST_VM")
    if not place:
        pytest.skip("SAMPAN_TEST_VM names no directory for the virtual machine")
    if port := os.environ.get("SAMPAN_TEST_VM_PORT"):  # one that runs already, with sampan in it
        running = machine.Machine(Path(place))
        running.port = int(port)
        yield running
        return
    if lacking := machine.missing():
        pytest.skip(f"the virtual machine needs {', '.join(lacking)}")
    machine.build(Path(place))
    made = machine.Machine(Path(place))
    try:
        made.start()
        made.install()
        print(f"\nvirtual machine: {made.seconds}", file=sys.__stderr__)
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def no_containers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing of a test is left for the next one: no container, no scope."""
    yield
    if "vm" in request.fixturenames:
        vm = request.getfixturevalue("vm")
        left = vm.ok(
            "sampan rm -f -a -t 0 >/dev/null 2>&1; systemctl --user list-units --no-legend 'sampan-*'"
        )
        assert left == "", left
