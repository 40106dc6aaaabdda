"""A test leaves the working directory and the descriptors of the process that runs all of them as they were."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """Contexts and what is taken from them stay open as long as a build, which ends with its process."""
    here = os.getcwd()
    before = set(os.listdir("/proc/self/fd"))
    yield
    os.chdir(here)
    for name in set(os.listdir("/proc/self/fd")) - before:
        try:
            os.close(int(name))
        except OSError:
            pass  # that of the list itself
