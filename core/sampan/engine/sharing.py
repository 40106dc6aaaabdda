"""Namespaces of another container: `--pid`, `--ipc`, `--uts`, `--cgroupns`, `--network` and `--userns container:NAME`.

A namespace can be joined only by who is root of the user namespace that owns it.  So the monitor of a container
that shares anything is born in the user namespace of its donor, instead of one of its own.
"""

from __future__ import annotations

import os

from sampan.errors import InUseError, SampanError, UnsupportedError, UsageError
from sampan.linux import libc, mounts, paths, processes, userns
from sampan.model import isolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.drivers import NetworkBackend
    from sampan.engine import Engine
    from sampan.engine.spawn import Spawned
    from sampan.model.container import Record, Run, RunOptions
    from sampan.store.containers import Container

SHM = "shm"  # in the bundle: another container's /dev/shm


def settle(engine: Engine, chosen: RunOptions) -> None:
    """Names become ids; what cannot be shared is refused before anything is made."""
    asked = isolation.shared(chosen)
    ids = chosen["uidmap"] or chosen["gidmap"] or chosen["userns"] not in ("", "host")
    if asked and ids and "userns" not in asked:
        raise UsageError(
            f"{', '.join(asked)} of another container",
            "a container that shares namespaces has no ids of its own",
            "leave out --userns, --uidmap and --gidmap",
        )
    for option, word in asked.items():
        donor = engine.containers.get(word)
        if "idmap" in donor.record:
            raise UnsupportedError(
                f"cannot join the {option} namespace of container {donor.name}",
                "it has an id map of its own, whose root this user is not",
                "run it without --userns",
            )
        if option == "ipc" and donor.record["options"]["ipc"] in ("private", "none"):
            raise UsageError(
                f"sharing of the ipc namespace with container {donor.name}",
                "is not allowed: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
            )
        chosen[option] = f"{isolation.CONTAINER}{donor.id}"  # type: ignore[literal-required]


def donors(engine: Engine, options: RunOptions) -> dict[str, Container]:
    """{option: the running container whose namespace is joined}."""
    found: dict[str, Container] = {}
    for option, container_id in isolation.shared(options).items():
        donor = engine.containers.get(container_id)
        if not donor.live:
            raise InUseError(
                f"cannot join the {option} namespace of container {donor.name}",
                f"it is not running: it is {donor.state}",
                f"sampan start {donor.name}",
            )
        found[option] = donor
    return found


def respawn(engine: Engine, spawned: Spawned, options: RunOptions) -> Spawned:
    """A monitor in the user namespace of the donors, in place of the one that waits in its own."""
    from sampan.engine.spawn import spawn

    found = list(donors(engine, options).values())
    homes = {processes.namespace(_run(donor)["pid"], "user") for donor in found}
    if len(homes) > 1:
        names = ", ".join(sorted({donor.name for donor in found}))
        raise UnsupportedError(
            f"cannot join the namespaces of {names} at once",
            "they have user namespaces of their own",
            "let all of them join the first one (--userns container:NAME)",
        )
    check_home(engine, options, _run(found[0])["pid"])
    spawned.sock.close()
    return spawn(engine.idmap, join=_run(found[0]))


def check_home(engine: Engine, options: RunOptions, pid: int) -> None:
    """A container on networks lives inside their user namespace, so whom it joins must do so, too."""
    if "networks" not in options:
        return
    home = engine.network(options["network"]).home()
    if home < 0:
        return
    joined = userns.outermost(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC))
    if os.fstat(joined).st_ino != os.fstat(home).st_ino:
        raise UnsupportedError(
            f"cannot join another container on network {options['networks'][0]['name']}",
            "that one lives outside of the networks' user namespace",
            f"start it on a {options['network']} network, too",
        )


def _run(donor: Container) -> Run:
    assert donor.run is not None
    return donor.run


def join(run: Run) -> None:
    """Become root of the user namespace of another container."""
    pidfd = processes.open_if_same(run["pid"], run["start_time"])
    if pidfd is None:
        raise InUseError("cannot join another container", "it has just ended", "start it first")
    userns.enter_existing(pidfd)
    os.close(pidfd)


def fill_in(engine: Engine, record: Record, spec: dict[str, Any]) -> dict[str, Any]:
    """The document with the paths of the namespaces that are joined."""
    runs = {donor.id: _run(donor) for donor in donors(engine, record["options"]).values()}
    found: list[dict[str, str]] = []
    for namespace in spec["linux"]["namespaces"]:
        run = runs.get(namespace.get("path", ""))
        file = {"network": "net"}.get(namespace["type"], namespace["type"])
        place = {"path": f"/proc/{run['pid']}/ns/{file}"} if run else {}
        found.append({"type": namespace["type"], **place})
    return {**spec, "linux": {**spec["linux"], "namespaces": found}}


def network_of(engine: Engine, record: Record) -> tuple[NetworkBackend, Record]:
    """(the backend of the network, the record of the container that it belongs to)."""
    donor = donors(engine, record["options"]).get("network")
    own = donor.record if donor else record
    while further := isolation.shared(own["options"]).get("network"):  # it has joined, too
        own = engine.containers.get(further).record
    return engine.network(own["options"]["network"]), own


def place_shm(engine: Engine, record: Record, bundle: str) -> None:
    """Put the /dev/shm of the container whose IPC namespace is joined into the bundle.

    A child takes it out of that container's mount namespace: only there may it be cloned.
    """
    donor = donors(engine, record["options"]).get("ipc")
    if donor is None:
        return
    import _socket

    from sampan.linux import sockets

    run = _run(donor)
    ours, theirs = sockets.pair()
    pid = os.fork()
    if pid == 0:
        try:
            _send_shm(run, theirs)
        finally:
            os._exit(0)
    theirs.close()
    try:
        _, fds = sockets.receive(ours, 1)
    except _socket.error:
        fds = []
    os.waitpid(pid, 0)
    if not fds:
        raise SampanError(
            f"cannot share /dev/shm of container {donor.name}", "it has none, or it has just ended"
        )
    path = f"{bundle}/{SHM}"
    os.makedirs(path, 0o700, exist_ok=True)
    target = os.open(path, paths.O_PATH | os.O_DIRECTORY)
    mounts.move(fds[0], target)
    os.close(target)
    os.close(fds[0])


def _send_shm(run: Run, sock: Any) -> None:
    from sampan.linux import sockets

    pidfd = processes.open_if_same(run["pid"], run["start_time"])
    if pidfd is None:
        return
    libc.setns(pidfd, libc.CLONE_NEWNS)
    root = os.open("/", paths.O_PATH | os.O_DIRECTORY)
    shm = paths.open_in_root(root, "/dev/shm", paths.O_PATH | os.O_DIRECTORY)
    sockets.send(sock, b"shm", [mounts.clone_tree(shm, recursive=False)])


def end_all(first_mounts: int, keep: set[int]) -> None:
    """Kill what a container without a pid namespace of its own has left: the kernel does not.

    first_mounts: inode of its mount namespace, which a further command has joined.  keep: children of this
    monitor that are not the container's.  Everything else that descends from it has become its child
    (PR_SET_CHILD_SUBREAPER).
    """
    for _ in range(200):
        mine = [pid for pid in processes.children(os.getpid()) if pid not in keep]
        others = [
            pid for pid in processes.every() if processes.namespace(pid, "mnt") == first_mounts
        ]
        if not mine and not others:
            return
        for pid in {*mine, *others}:
            try:
                fd = os.pidfd_open(pid)
            except OSError:
                continue
            if pid in mine or (first_mounts and processes.namespace(pid, "mnt") == first_mounts):
                processes.send_signal(fd, 9)
            os.close(fd)
        for pid in mine:
            os.waitpid(pid, 0)
