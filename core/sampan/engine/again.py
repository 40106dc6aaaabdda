"""What a monitor does beyond one plain run: restart policy and health checks.

Loaded only for a container that has one of them.
"""

from __future__ import annotations

import time

from sampan.engine import events, idmaps, limits, recorded
from sampan.engine.health import Health, begin
from sampan.linux import processes
from sampan.model import options, restart
from sampan.model.rfc3339 import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine.journal import JournalWriter
    from sampan.engine.logfile import LogWriter
    from sampan.engine.supervise import Supervisor
    from sampan.engine.watch import Turn


def turns(
    life: Supervisor,
    turn: Turn,
    log: LogWriter | JournalWriter,
    started: str,
    code: int | None = None,
) -> None:
    """Run after run, until none follows. `code`: that of the first one, if it has ended already."""
    restarts, wait = 0, 0.0
    while True:
        ill = False
        begun = time.monotonic()
        if code is None:
            checks = _Checks(life, turn)
            code = life.until_end(turn)
            ill = checks.restart
        if not (ill or _follows(life, code, restarts)) or _stopped(life, started):
            return life.last(turn, code, started)
        wait = restart.delay(wait, time.monotonic() - begun)
        recorded.ended(life, code, started, turn.error, restarting=True)
        life.watch.tell(turn, code, again=True)
        for client in list(turn.streams.clients):
            life.watch.forget(client.sock, turn)
        turn.streams.close()
        asked_to_stop = not life.watch.rest(wait) or _stopped(life, started)
        if asked_to_stop or not (ill or _follows(life, code, restarts)):
            return life.last(turn, code, started, told=True)
        code = None
        restarts += 1
        started = stamp(time.time_ns())
        try:
            turn = life.begin_again(log, started, restarts)
        except BaseException as error:
            return life.failed(error, started)


def _follows(life: Supervisor, code: int, restarts: int) -> bool:
    policy, most = life.policy()
    return restart.wanted(policy, most, code, restarts)


def _stopped(life: Supervisor, started: str) -> bool:
    """Whether the user ended this run."""
    return (
        life.watch.asked_to_stop or life.engine.containers.stopped_run(life.record["id"]) == started
    )


class _Checks:
    """The health checks of one run, and what follows from a bad one."""

    def __init__(self, life: Supervisor, turn: Turn) -> None:
        self.restart = False
        self._life, self._turn = life, turn
        config = life.options.get("health")
        if config is None:
            return
        self._on_failure = config["on_failure"]
        spec = life.document()
        nested = "idmap" in life.record
        born = processes.start_time(turn.process.pid) or 0

        def enter(_: int) -> None:
            idmaps.become_root(life.record)

        turn.health = Health(
            life.dir_fd,
            config,
            lambda words, out: begin(
                life.runtime,
                turn.process,
                born,
                spec,
                words,
                out,
                lambda: limits.enter(life.engine, life.plan),
                enter if nested else None,
            ),
            self._changed,
        )

    def _changed(self, status: str) -> None:
        life = self._life
        events.of_container(life.engine, life.record, "health_status", {"health_status": status})
        if status != "unhealthy" or self._on_failure == "none":
            return
        self.restart = self._on_failure == "restart"
        if self._on_failure == "stop":
            self._turn.signal(options.signal_number(life.options["stop_signal"]))
            self._turn.deadlines["stop"] = time.monotonic() + life.options["stop_timeout"]
        else:
            self._turn.signal(9)
