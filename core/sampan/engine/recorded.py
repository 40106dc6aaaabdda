"""What the monitor writes down of a run: that it is there, and how it ended."""

from __future__ import annotations

import os
import time

from sampan import files, jsontext
from sampan.engine import events, limits
from sampan.linux import processes
from sampan.model.rfc3339 import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine.supervise import Supervisor
    from sampan.model.container import Exit
    from sampan.model.contract import Process


def running(life: Supervisor, process: Process, started: str) -> None:
    """run.json: the processes of the run, and what it has of its network and its limits."""
    run = {
        "boot": processes.boot_id(),
        "pid": process.pid,
        "start_time": processes.start_time(process.pid),
        "monitor": os.getpid(),
        "monitor_start_time": processes.start_time(os.getpid()),
        "started": started,
        "restarts": life.restarts,
        **({"network": life.attachment} if life.attachment else {}),
        **limits.noted(life.plan),
    }
    files.write_atomic(life.dir_fd, "run.json", jsontext.dumps(run).encode(), sync=False)
    if not life.options["rm"]:  # for who watches over it: see model.units
        pid = f"{os.getpid()}\n".encode()
        files.write_atomic(life.bundle_fd, "monitor.pid", pid, sync=False)


def ended(
    life: Supervisor,
    code: int,
    started: str,
    error: str = "",
    *,
    restarting: bool = False,
    told: bool = False,
) -> None:
    """How a run ended, and whether this monitor will start another one. `told`: the event is there already."""
    row: Exit = {
        "code": code,
        "finished": stamp(time.time_ns()),
        "started": started,
        "oom": life.oom,
        "error": error,
        "restarting": restarting,
        "restarts": life.restarts,
    }
    if not told:
        events.of_container(life.engine, life.record, "died", {"containerExitCode": code})
    sync = not (life.options["rm"] or life.plan["leash"])
    try:
        files.write_atomic(life.dir_fd, "exit.json", jsontext.dumps(row).encode(), sync=sync)
    except OSError:  # a full disk: the missing record says that the end is unknown
        return
