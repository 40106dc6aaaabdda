"""A connection that may break while the container runs: in the monitor, which watches and repairs it.

Loaded only for a container whose network backend runs something.
"""

from __future__ import annotations

import os

from sampan import files, jsontext
from sampan.engine import events, recorded
from sampan.errors import SampanError, to_report
from sampan.linux import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.engine.resolver import Follower
    from sampan.engine.supervise import Supervisor
    from sampan.engine.watch import Turn
    from sampan.linux.sockets import Socket
    from sampan.model.contract import Process


class Link:
    """The connection of one run. What happens to it is an event; what cannot be repaired is the container's error."""

    def __init__(self, life: Supervisor, process: Process, started: str) -> None:
        self._life, self._process, self._started = life, process, started
        self._names: Follower | None = None
        if not life.network.name_servers(life.options.get("network_settings", {})):
            from sampan.engine.resolver import Follower

            self._names = Follower(life.bundle_fd, life.options, life.network)

    def interest(self) -> Sequence[int]:
        watched = self._life.network.watched(self._life.record["id"])
        return (*watched, self._names.fd) if self._names else watched

    def handle(self, turn: Turn, fd: int) -> None:
        """What of `interest` can be read."""
        if self._names and fd == self._names.fd:
            self._names.handle()
        else:
            self._mend(turn)

    def close(self) -> None:
        if self._names:
            os.close(self._names.fd)

    def _mend(self, turn: Turn) -> None:
        life = self._life
        network = {"network": life.network.name}
        try:
            life.attachment = life.network.status(life.record["id"], life.attachment)
            events.of_container(life.engine, life.record, "reconnect", network)
            life.tell_addresses()
        except SampanError as error:
            if str(error) == life.attachment.get("error"):
                return
            turn.error = str(error)
            life.attachment = {**life.attachment, "error": turn.error}
            told = {**network, "error": turn.error}
            events.of_container(life.engine, life.record, "disconnect", told)
        recorded.running(life, self._process, self._started)

    def change(self, sock: Socket) -> None:
        """A command has changed the networks of the record: follow it, and tell the command."""
        from sampan.engine import networks

        life, container = self._life, self._life.record["id"]
        try:
            record = jsontext.loads(files.read(life.dir_fd, "record.json"))
            found = networks.told(life.engine, record)
            life.attachment = life.network.change(container, life.attachment, found)
            life.tell_addresses()
            life.plan["networks"] = found  # for a further run
            recorded.running(life, self._process, self._started)
            messages.send(sock, {"kind": "networks"})
        except (SampanError, OSError) as error:
            report = to_report(error, "cannot change the networks of the container")
            messages.send(sock, {"kind": "error", "error": report})
