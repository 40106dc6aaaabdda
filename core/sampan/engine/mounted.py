"""A container's root file system, whatever the storage driver: read in a child, gone with the child.

Of a container that does not run, the child makes a user namespace of the store's map and a mount
namespace of its own, and mounts the snapshot there.  A second mount of a running container's would
be undefined (overlay) or impossible (FUSE): so its monitor hands out a descriptor of the mount it
has, and the child joins the container's user namespace.  Either way the child sees the root without
volumes, /proc and the files of the engine, and writes what it finds into a pipe.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

from sampan import files, jsontext
from sampan.engine import idmaps
from sampan.errors import InUseError, SampanError, from_report, to_report
from sampan.linux import libc, mounts, paths, processes, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sampan.engine import Engine
    from sampan.model.mount import Snapshot
    from sampan.store.containers import Container

PLACE = "mnt"  # below the run directory; what is mounted there only the child sees
PIPE = 1 << 20


class Reading:
    """`with` it, and `read` what the child writes; an error of the child is raised at the end."""

    def __init__(self, child: Callable[[int], object]) -> None:
        """child: called in the forked process with the descriptor to write to."""
        self.fd, write_end = os.pipe()
        fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE)
        self._errors, report = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.fd)
            os.close(self._errors)
            _child(child, write_end, report)
        os.close(write_end)
        os.close(report)

    def __enter__(self) -> Reading:
        return self

    def read(self, size: int = PIPE) -> bytes:
        """`size` bytes, fewer at the end, then b""; the child has then ended well."""
        data = os.read(self.fd, size)
        if data and len(data) < size:
            parts = [data]
            left = size - len(data)
            while left and (more := os.read(self.fd, left)):
                parts.append(more)
                left -= len(more)
            return b"".join(parts)
        if not data:
            self.finish()
        return data

    def finish(self) -> None:
        """Wait for the child; its error is raised here."""
        if self._pid < 0:
            return
        told = b""
        while chunk := os.read(self._errors, 1 << 16):
            told += chunk
        pid, self._pid = self._pid, -1
        _, status = os.waitpid(pid, 0)
        if told:
            raise from_report(jsontext.loads(told))
        if status:
            raise SampanError("cannot read the file system", f"wait status {status}")

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)
        try:
            if self._pid > 0:
                pid, self._pid = self._pid, -1
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        finally:
            os.close(self._errors)


def _child(action: Callable[[int], object], out: int, report: int) -> None:
    status = 1
    try:
        processes.die_with_parent()
        action(out)
        status = 0
    except BrokenPipeError:
        pass  # nobody reads any more
    except BaseException as error:
        text = jsontext.dumps(to_report(error, "cannot read the file system")).encode()
        os.write(report, text[:60000])
    finally:
        os._exit(status)


def namespace(engine: Engine, produce: Callable[[int], object]) -> Reading:
    """A child in the store's user namespace: `produce(out)`."""

    def child(out: int) -> None:
        userns.enter(engine.idmap)
        processes.die_with_parent()  # the change of ids took it back
        produce(out)

    return Reading(child)


def snapshots(
    engine: Engine, wanted: Sequence[Snapshot | None], produce: Callable[[list[int], int], object]
) -> Reading:
    """A child that has these snapshots mounted: `produce(roots, out)`; None is an empty directory."""
    run_dir = files.open_directory(engine.settings.run_dir)
    place = files.open_directory(PLACE, dir_fd=run_dir, create=True)
    os.close(run_dir)

    def inside(out: int) -> None:
        produce(_mount(f"{engine.settings.run_dir}/{PLACE}", wanted), out)

    reading = namespace(engine, inside)
    os.close(place)
    return reading


def _mount(place: str, wanted: Sequence[Snapshot | None]) -> list[int]:
    from sampan.engine.surroundings import mount_snapshot

    libc.unshare(libc.CLONE_NEWNS)
    mounts.change_propagation("/", mounts.MS_PRIVATE)
    tmpfs = mounts.new(
        "tmpfs", [("size", "1m"), ("mode", "700")], mounts.NOSUID | mounts.NODEV | mounts.NOEXEC
    )
    target = os.open(place, paths.O_PATH | os.O_DIRECTORY)
    mounts.move(tmpfs, target)
    os.close(target)
    os.close(tmpfs)
    roots: list[int] = []
    for number, snapshot in enumerate(wanted):
        os.mkdir(f"{place}/{number}", 0o755)
        if snapshot is not None:
            target = os.open(f"{place}/{number}", paths.O_PATH | os.O_DIRECTORY)
            mount_snapshot(snapshot, target)
            os.close(target)
        roots.append(os.open(f"{place}/{number}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    return roots


def container(engine: Engine, found: Container, produce: Callable[[int, int], object]) -> Reading:
    """A child that has the root of the container: `produce(root, out)`.

    Owners are those of the store's user namespace if it does not run, else those of the container's.
    """
    if found.state == "restarting":
        raise InUseError(
            f"cannot read the file system of container {found.id[:12]}",
            "it is being restarted",
            "try again",
        )
    if found.live:
        return _running(engine, found, produce)
    from sampan.engine.run import prepare_again

    held = hold(engine, found)
    snapshot = prepare_again(engine, found.record)
    reading = snapshots(engine, [snapshot], lambda roots, out: produce(roots[0], out))
    os.close(held)
    return reading


def hold(engine: Engine, found: Container) -> int:
    """Keep a container that does not run from being started: a descriptor of its directory, locked.

    A child that is forked now has the lock, too, for as long as it lives.
    """
    from sampan.store import locks

    fd = engine.containers.open(found.id)
    until = time.monotonic() + locks.TIMEOUT
    while not locks.try_lock(fd, shared=True):  # its monitor has it, from before it mounts the root
        if engine.containers.load(found.id).live or time.monotonic() > until:
            os.close(fd)
            raise InUseError(
                f"cannot read the file system of container {found.name}",
                "it has just been started",
                "try again",
            )
        time.sleep(0.01)
    return fd


def _running(engine: Engine, found: Container, produce: Callable[[int, int], object]) -> Reading:
    from sampan.engine.run import connect
    from sampan.linux import messages

    run = found.run
    assert run is not None
    monitor = connect(engine, found)
    monitor.send({"kind": "root"})
    answer, fds = messages.receive(monitor.sock, 1)
    monitor.sock.close()
    pidfd = processes.open_if_same(run["pid"], run["start_time"])
    if answer is None or not fds or pidfd is None:
        raise InUseError(
            f"cannot reach container {found.id[:12]}", "it has just ended", "try again"
        )

    def child(out: int) -> None:
        idmaps.join(found.record, pidfd)
        processes.die_with_parent()
        flags = os.O_RDONLY | os.O_DIRECTORY
        root = paths.openat2(fds[0], ".", flags, paths.RESOLVE_BENEATH)
        produce(root, out)

    reading = Reading(child)
    os.close(pidfd)
    os.close(fds[0])
    return reading
