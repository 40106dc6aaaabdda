"""Starting the monitor: a fork made before anything heavy is imported.

While the command parses and resolves, the monitor makes its user namespace in parallel, and stays small: what it
shares with the command is what was loaded when it was forked.
"""

from __future__ import annotations

import os

from sampan.errors import SampanError, from_report
from sampan.linux import messages, sockets
from sampan.linux.userns import IdMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sampan.model.container import Run


class Spawned:
    """A monitor that waits for its plan. Closing the socket without sending one ends it."""

    def __init__(self, pid: int, sock: sockets.Socket) -> None:
        self.pid, self.sock = pid, sock

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        if not messages.send(self.sock, message, fds):
            self.expect("ready")  # its last words tell more
            raise SampanError("the monitor is gone", "it closed its socket", "try again")

    def receive(self) -> dict[str, Any] | None:
        """The monitor's next message; None when it is gone."""
        return messages.receive(self.sock)[0]

    def expect(self, kind: str) -> dict[str, Any]:
        """The next message, which must be of this kind; an error that it tells is raised."""
        answer = self.receive()
        if answer is None:
            raise SampanError("the monitor ended", "it was killed or lost its memory", "try again")
        if answer["kind"] == "error":
            raise from_report(answer["error"])
        assert answer["kind"] == kind, answer
        return answer


def spawn(idmap: IdMap, join: Run | None = None, *, nest: int = -1, enter: int = -1) -> Spawned:
    """Fork the monitor. The process must have one thread.

    join: the run of a container whose user namespace it is to join, instead of making one.
    nest: a descriptor of a user namespace in which its own one is to be made.  enter: of one that it is to join.
    """
    ours, theirs = sockets.pair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            from sampan.engine import monitor

            monitor.main(theirs, idmap, join, nest, enter)
        finally:
            os._exit(125)
    theirs.close()
    return Spawned(pid, ours)
