"""stop and kill: signals by pidfd to the process that the record surely means."""

from __future__ import annotations

import os
import time

from sampan import files
from sampan.engine import events, warn
from sampan.errors import InUseError, NotFoundError, SampanError
from sampan.linux import messages, processes
from sampan.model import options
from sampan.store.containers import STOPPED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine
    from sampan.linux import sockets
    from sampan.model.container import Run
    from sampan.store.containers import Container

NOTE = "stopping"  # in the run directory: pid and start time of who stops the container
GRACE = 10.0  # seconds for the monitor to write the exit record once the first process is dead


def _first_process(container: Container) -> int | None:
    run = container.run
    return processes.open_if_same(run["pid"], run["start_time"]) if run else None


def kill(engine: Engine, word: str, signal: str = "KILL") -> str:
    """Send a signal to the container's first process."""
    number = options.signal_number(signal)
    container = settled(engine, word)
    pidfd = _first_process(container)
    if pidfd is None:
        raise InUseError(
            f"cannot kill container {container.id[:12]}",
            f"container state improper: it is {container.state}, and can only be killed while running",
        )
    try:
        if number in (9, options.signal_number(container.record["options"]["stop_signal"])):
            _note_stopped(engine, container)
        processes.send_signal(pidfd, number)
        events.of_container(engine, container.record, "kill", {"signal": str(number)})
        if number == 9:
            _await(engine, container, pidfd, GRACE)
    finally:
        os.close(pidfd)
    return container.id


def stop(engine: Engine, word: str, *, timeout: float | None = None) -> str:
    """The stop signal, then after `timeout` seconds SIGKILL. A container that does not run is left alone."""
    container_id = engine.containers.find(word)
    try:
        container = settled(engine, container_id)
    except NotFoundError:  # it was ending, and --rm took it away
        return container_id
    while container.state == "restarting":
        _note_stopped(engine, container)
        container = _interrupt(engine, container)
    pidfd = _first_process(container)
    if pidfd is None:
        return container_id
    if container.state == "paused":  # what stands still hears no signal
        from sampan.engine.freezing import resume

        resume(engine, container)
    _note_stopped(engine, container)
    chosen = container.record["options"]
    grace = chosen["stop_timeout"] if timeout is None else timeout
    try:
        if grace > 0 or timeout is None:
            _note(engine, container)
            processes.send_signal(pidfd, options.signal_number(chosen["stop_signal"]))
        if not processes.ended(pidfd, grace):
            if grace > 0:
                name = options.signal_name(chosen["stop_signal"])
                warn(
                    f"StopSignal {name} failed to stop container {container.name} "
                    f"in {grace:g} seconds, resorting to SIGKILL"
                )
            processes.send_signal(pidfd, 9)
        _await(engine, container, pidfd, GRACE)
    finally:
        os.close(pidfd)
    events.of_container(engine, container.record, "stop")
    return container.id


def _note_stopped(engine: Engine, container: Container) -> None:
    """Its restart policy must not bring it back."""
    if container.run is None:
        return
    lasting = container.record["options"]["restart"] != "no"  # else `update` may just change that
    try:
        directory = engine.containers.open(container.id)
        files.write_atomic(directory, STOPPED, container.run["started"].encode(), sync=lasting)
        os.close(directory)
    except FileNotFoundError:  # it is being removed
        return
    except OSError:  # a full disk must not keep it running: its monitor is told instead
        try:
            _tell_monitor(engine, container).close()
        except InUseError:  # it has just left
            return


def _tell_monitor(engine: Engine, container: Container) -> sockets.Socket:
    """Ask the monitor to start no further run; the connection ends with the monitor."""
    from sampan.engine.run import connect

    monitor = connect(engine, container)
    messages.send(monitor.sock, {"kind": "stop"})
    return monitor.sock


def _interrupt(engine: Engine, container: Container) -> Container:
    """Tell a monitor that waits before the next run to give up; the container as it is then."""
    try:
        sock = _tell_monitor(engine, container)
        messages.receive(sock)  # until it is gone, or goes on with a run
        sock.close()
    except InUseError:
        time.sleep(0.01)  # it has just left
    return engine.containers.get(container.id)


def _note(engine: Engine, container: Container) -> None:
    """Others see that this process is stopping it, as long as both live."""
    own = f"{os.getpid()} {processes.start_time(os.getpid())}"
    try:
        directory = files.open_directory(container.id, dir_fd=engine.containers.run_fd)
        files.write_atomic(directory, NOTE, own.encode(), sync=False)
        os.close(directory)
    except FileNotFoundError:  # it ended meanwhile
        return


def is_stopping(engine: Engine, container: Container) -> bool:
    """Whether somebody waits for the running container to end."""
    try:
        pid, started = files.read(engine.containers.run_fd, f"{container.id}/{NOTE}").split()
    except (FileNotFoundError, ValueError):
        return False
    return processes.start_time(int(pid)) == int(started)


def _await(engine: Engine, container: Container, pidfd: int, seconds: float) -> None:
    """Until the process is dead and its monitor has recorded the end (or is gone)."""
    if not processes.ended(pidfd, seconds):
        raise SampanError(
            f"container {container.id[:12]} does not end",
            "its first process survives SIGKILL, probably in a system call",
            "try again later",
        )
    settle(container.run, seconds)


def settle(run: Run | None, seconds: float = GRACE) -> None:
    """Wait until the monitor of a run whose first process is dead has cleaned up and is gone."""
    monitor = processes.open_if_same(run["monitor"], run["monitor_start_time"]) if run else None
    if monitor is not None:
        processes.ended(monitor, seconds)
        os.close(monitor)


def settled(engine: Engine, word: str) -> Container:
    """The container, once nothing of a run that has ended is still at work on it."""
    container = engine.containers.get(word)
    run = engine.containers.run_record(container.id)
    if (
        run
        and run["boot"] == processes.boot_id()
        and processes.start_time(run["pid"]) != run["start_time"]
    ):
        if container.state == "restarting":
            return container
        settle(run)
        container = engine.containers.get(container.id)
    return container


def await_record(engine: Engine, container: Container, seconds: float = GRACE) -> None:
    """Wait until the monitor has recorded the end, or is gone."""
    run = container.run
    monitor = processes.open_if_same(run["monitor"], run["monitor_start_time"]) if run else None
    if monitor is None or run is None:
        return
    deadline = time.monotonic() + seconds
    while not processes.ended(monitor, 0.002) and time.monotonic() < deadline:
        try:
            ended = engine.containers.exit_record(container.id)
        except NotFoundError:
            break
        if ended and ended["started"] == run["started"]:
            break
    os.close(monitor)
