"""Tests that run as root lay networks of their own, on which sampan runs for an ordinary user."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import lan


@pytest.fixture(scope="session")
def store() -> Iterator[lan.Store]:
    base = Path(tempfile.mkdtemp(prefix="sampan-lan-", dir="/var/tmp"))
    try:
        found = lan.store_at(base)
        if found is None:
            pytest.skip("sampan or its registry is missing: run tests/run")
        yield found
    finally:
        shutil.rmtree(base, ignore_errors=True)
