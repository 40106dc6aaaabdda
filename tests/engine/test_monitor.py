"""The monitor before it has a plan."""

from __future__ import annotations

import os

import pytest

from sampan.engine import monitor
from sampan.linux import sockets
from sampan.linux.messages import receive, send
from sampan.linux.userns import IdMap

pytestmark = pytest.mark.skipif(os.getuid() == 0, reason="makes the namespace of a user")


@pytest.mark.parametrize("planned", [True, False])
def test_signals_that_come_before_the_plan_are_kept(planned: bool) -> None:
    """They, and a resize, are no plan: a command that was interrupted early made the monitor fail."""
    ours, theirs = sockets.pair()
    child = os.fork()
    if child == 0:
        try:
            ours.close()
            idmap = IdMap(((0, os.getuid(), 1),), ((0, os.getgid(), 1),))
            plan, _ = monitor._prepare(theirs, idmap)
            send(theirs, {"plan": plan})
        finally:
            os._exit(0)
    theirs.close()
    assert receive(ours)[0] == {"kind": "ready"}
    send(ours, {"kind": "signal", "number": 2})
    send(ours, {"kind": "resize", "rows": 5, "columns": 6})
    send(ours, {"kind": "signal", "number": 15})
    if planned:
        send(ours, {"kind": "run", "size": None})
        assert receive(ours)[0] == {"plan": {"kind": "run", "size": None, "signals": [2, 15]}}
    ours.close()
    assert os.waitpid(child, 0)[1] == 0
