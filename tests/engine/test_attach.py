"""The command's side of an attached container."""

from __future__ import annotations

import os
import signal

from sampan.engine.attach import Attached
from sampan.engine.spawn import Spawned
from sampan.linux import messages, sockets


def test_a_signal_after_the_end_leaves_the_exit_code_to_be_read() -> None:
    ours, theirs = sockets.pair()
    messages.send(theirs, {"kind": "exit", "code": 7})
    theirs.close()
    child = os.fork()
    if child == 0:  # its handlers are nobody else's
        code = 1
        try:
            attached = Attached(tty=False, stdin=False)
            spawned = Spawned(os.getpid(), ours)
            attached.forward_signals(spawned)
            os.kill(os.getpid(), signal.SIGUSR1)
            code = attached.wait(spawned) or 0
        finally:
            os._exit(code)
    ours.close()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
