"""sampan run."""

from __future__ import annotations

import os

from sampan.cli import container_options, container_words
from sampan.cli.context import check_runtime
from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, INTEGER, Option, Verb, parse
from sampan.engine import networks
from sampan.engine import run as starting
from sampan.errors import InUseError, NotFoundError, SampanError, UnsupportedError, UsageError
from sampan.linux.marks import mark
from sampan.model import isolation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.cli.progress import Quiet
    from sampan.engine import Engine
    from sampan.engine.spawn import Spawned
    from sampan.model.container import RunOptions
    from sampan.store.images import Image

NO_TTY = (
    b"The input device is not a TTY. The --tty and --interactive flags might not work properly\n"
)
VERB = Verb(
    "run",
    "Run a command in a new container",
    "IMAGE [COMMAND [ARG...]]",
    container_options.all_options(
        [
            Option("--detach -d", FLAG, "Run in the background and print the container's id"),
            Option(
                "--detach-keys", help="Keys that detach", default="ctrl-p,ctrl-q", metavar="KEYS"
            ),
            Option("--preserve-fds", INTEGER, "Pass this many further descriptors", default=0),
            Option("--rmi", FLAG, "Remove the image too when the container ends"),
            Option("--sig-proxy", FLAG, "Pass received signals on", default=True),
        ]
    ),
    minimum=1,
    interspersed=False,
)


def main(words: list[str], spawned: Spawned) -> int:
    mark("monitor forked, run loaded")
    values, arguments = parse(VERB, words)
    if values["rmi"]:
        values["rm"] = True
    engine = make_engine()
    check_runtime(engine.settings)
    _check_files(values)
    chosen = container_options.build(
        values, arguments[1:], engine.settings, detach=values["detach"]
    )
    settle(engine, chosen)
    spawned = starting.at_home(engine, spawned, chosen)
    starting.prepare(engine, spawned, chosen["network"])
    if values["tty"] and values["interactive"] and not os.isatty(0):
        os.write(2, NO_TTY)
    mark("options parsed, settings read")
    image = find_image(engine, arguments[0], values)
    mark("image resolved")
    starting.ready(spawned)
    mark("monitor ready")
    if values["replace"]:
        replace(engine, values)
    status = run(engine, spawned, image, chosen, values)
    if values["rmi"] and not values["detach"]:
        from sampan.engine.images import remove

        remove(engine, [image.id], force=False)
    return status


def settle(engine: Engine, chosen: RunOptions) -> None:
    """What is named must be there: other containers, networks, ports."""
    if isolation.shared(chosen):
        from sampan.engine import sharing

        sharing.settle(engine, chosen)
    networks.settle(engine, chosen)
    if "ports" in chosen:
        from sampan.engine import publish

        publish.check(engine, chosen)


def _check_files(values: dict[str, Any]) -> None:
    if values["cidfile"] and os.path.exists(values["cidfile"]):
        raise InUseError(
            "container id file exists",
            f"{values['cidfile']} may belong to another container",
            f"stop that one and delete {values['cidfile']}",
        )
    if values["detach"] and values["attach"]:
        raise UsageError("sampan run", "--attach and --detach cannot be used together")
    if values["detach"] and values["rmi"]:
        raise UnsupportedError(
            "sampan run --detach --rmi",
            "nobody waits for the end of the container to remove the image",
            "leave one of them out",
        )


def find_image(engine: Engine, name: str, values: dict[str, Any]) -> Image:
    """The image of the reference, pulled or built if the policy says so."""
    from sampan.engine.obtain import obtain

    platform = None
    if any(values[key] for key in ("platform", "arch", "os", "variant")):
        from sampan.cli.pull import platform_of

        platform = platform_of(values)
    return obtain(
        engine,
        name,
        policy=values["pull"],
        platform=platform,
        tls_verify=None if values["tls_verify"] else False,
        authfile=values["authfile"],
        progress=lambda: _progress(values["quiet"]),
    )


def _progress(quiet: bool) -> Quiet:
    from sampan.cli.progress import show

    return show(quiet)


def replace(engine: Engine, values: dict[str, Any]) -> None:
    """Remove a container of the wanted name."""
    from sampan.engine.remove import remove

    if not values["name"]:
        raise UsageError("--replace", "it needs --name")
    try:
        remove(engine, values["name"], force=True)
    except NotFoundError:
        return


def run(
    engine: Engine, spawned: Spawned, image: Image, chosen: RunOptions, values: dict[str, Any]
) -> int:
    from sampan.engine import terminal
    from sampan.engine.attach import Attached, parse_keys
    from sampan.engine.create import create

    detach = values["detach"]
    preserve = _preserved(chosen["preserve_fds"])
    keys = parse_keys(values["detach_keys"])
    attached = Attached(tty=chosen["tty"], stdin=chosen["stdin"] and not detach, detach_keys=keys)

    def committing() -> None:  # a signal that ends this process now would leave the container
        if not detach:
            attached.forward_signals(spawned, proxy=values["sig_proxy"])

    sync = detach or not chosen["rm"]
    created = create(engine, image, chosen, sync=sync, committing=committing)
    container_id = created.record["id"]
    mark("container committed")
    write_file(values["cidfile"], container_id)
    if detach:
        pid = starting.start(engine, spawned, created.record, created.snapshot, preserve=preserve)
        _write_pids(values, pid, spawned.pid)
        print(container_id, flush=True)
        _tell_of_logout(engine, container_id)
        return 0
    streams = container_words.streams(values["attach"]) or ["stdin", "stdout", "stderr"]
    with attached:
        attached.only(streams)
        pid = starting.start(
            engine,
            spawned,
            created.record,
            created.snapshot,
            attach=attached.fds,
            preserve=preserve,
            size=terminal.size() if chosen["tty"] else None,
        )
        attached.handed_over()
        _write_pids(values, pid, spawned.pid)
        if streams == ["stdin"]:  # nothing else would say which container it is
            print(container_id, flush=True)
        status = attached.wait(spawned)
    return 0 if status is None else status


def _tell_of_logout(engine: Engine, container_id: str) -> None:
    from sampan.engine import warn
    from sampan.engine.logout import notice

    started = engine.containers.run_record(container_id)
    if started and (text := notice(engine, started.get("cgroup", ""))):
        warn(text)


def write_file(path: str | None, text: str) -> None:
    if not path:
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SampanError(f"cannot write {path}", error.strerror or str(error)) from None
    os.write(fd, text.encode())
    os.close(fd)


def _write_pids(values: dict[str, Any], pid: int, monitor: int) -> None:
    write_file(values["pidfile"], str(pid))
    write_file(values["conmon_pidfile"], str(monitor))


def _preserved(count: int) -> list[int]:
    fds = list(range(3, 3 + count))
    for fd in fds:
        try:
            os.fstat(fd)
        except OSError:
            raise UsageError(f"--preserve-fds={count}", f"descriptor {fd} is not open") from None
    return fds
