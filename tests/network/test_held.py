"""The lock under which it is settled whether there is a holder."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from sampan.errors import InUseError
from sampan_network import held


def test_who_holds_the_lock_for_too_long_is_told_of(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    with (tmp_path / held.LOCK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        begun = time.monotonic()
        with (
            pytest.raises(InUseError, match="another process has locked"),
            held.locked(directory, 0.1),
        ):
            pass
        assert 0.1 <= time.monotonic() - begun < 2
        timer = threading.Timer(0.1, lambda: fcntl.flock(other, fcntl.LOCK_UN))
        timer.start()
        with held.locked(directory, 5):
            timer.join()
            with pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(directory)
