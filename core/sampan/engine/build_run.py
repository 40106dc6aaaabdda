"""RUN of a builder: a container like any other, over a chain of layers instead of an image.

It is created, started under a monitor and committed by what `run` and `commit` use, so a build can do nothing that
`run` cannot.  It is not listed: its record names the builder, whose end is its end too, and which removes it.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import cast

from sampan import jsontext
from sampan.drivers import Change
from sampan.engine import (
    archive,
    build_mounts,
    difference,
    mounted,
    networks,
    ownership,
    pack,
    remove,
    run,
    surroundings,
)
from sampan.engine.build_sandbox import confide, sandbox_options
from sampan.engine.create import Builder, create
from sampan.errors import SampanError
from sampan.linux import paths, processes
from sampan.store.layers import LayerSource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from sampan.drivers import Command, Layers, Output
    from sampan.engine import Engine
    from sampan.engine.create import Created
    from sampan.engine.spawn import Spawned
    from sampan.store.images import Image
    from sampan.store.leases import Lease

CHUNK = 1 << 16


class Root:
    """What `create` asks of an image, of a chain of layers without one."""

    name = digest = id = "build"
    architecture = os = ""

    def __init__(self, layers: Layers) -> None:
        self.layers = layers
        self.diff_ids = [layer.diff_id for layer in layers]
        self.config: dict[str, Any] = {"config": {}}


class Runner:
    """One command over one chain."""

    def __init__(
        self, engine: Engine, lease: Lease, chain: Layers, command: Command, latest: int | None
    ) -> None:
        """latest: no time of a file is later (seconds)."""
        self._engine, self._lease, self._chain, self._command = engine, lease, chain, command
        self._latest = latest

    def run(self, output: Output) -> tuple[int, LayerSource | None]:
        """(exit code, the layer of what it changed, if it changed anything and the code is 0)."""
        engine = self._engine
        chosen = sandbox_options(engine, self._command)
        networks.settle(engine, chosen)
        spawned = run.monitor(engine, chosen)
        try:
            run.prepare(engine, spawned, chosen["network"])
            if engine.idmap.single:
                chosen["pretend_ids"] = True
            process = [os.getpid(), processes.start_time(os.getpid()) or 0]
            builder = Builder(process, confide(chosen, self._command))
            with contextlib.ExitStack() as held:
                wanted = self._command.mounts

                def say(text: str) -> None:
                    output(2, f"{text}\n".encode())

                chosen["mounts"] = [*build_mounts.make(engine, wanted, held, say)]
                run.ready(spawned)
                root = cast("Image", Root(self._chain))
                created = create(engine, root, chosen, sync=False, builder=builder)
                container = created.record["id"]
                try:
                    code = self._start(spawned, created, output)
                    return code, None if code else self._layer(created)
                finally:
                    remove.remove(engine, container, force=True)
        finally:
            spawned.sock.close()
            os.waitpid(spawned.pid, 0)

    def _start(self, spawned: Spawned, created: Created, output: Output) -> int:
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        attach = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC), out_end, err_end]
        try:
            try:
                snapshot = created.snapshot
                run.start(
                    self._engine, spawned, created.record, snapshot, attach=attach, leash=True
                )
            finally:
                for fd in attach:
                    os.close(fd)
            return _wait(spawned, {out: 1, err: 2}, output)
        finally:
            os.close(out)
            os.close(err)

    def _layer(self, created: Created) -> LayerSource | None:
        """What the command changed; mount points that were made for it are not of it."""
        engine = self._engine
        found = engine.containers.load(created.record["id"])
        storage = found.record["storage"]
        driver = engine.driver("storage", storage["driver"])
        targets = [mount.target for mount in self._command.mounts]
        if engine.idmap.single:
            targets.append(surroundings.APT)
        directory = engine.containers.open(found.id)
        rows = ownership.read(directory)
        os.close(directory)
        report, told = os.pipe()

        def produce(root: int, out: int) -> None:
            changes = list(driver.changes(storage["key"], storage["chain"]))
            own = without_stubs(changes, [*difference.PLACES, *_resolved(root, targets)])
            given = ownership.by_path(root, rows, own)
            told_of = {change.path for change in own}
            own += [Change("C", path) for path in given if path not in told_of]
            own.sort(key=lambda change: change.path)
            if own:
                writer = archive.write_changes(
                    engine, found, root, own, out, latest=self._latest, given=given
                )
                left_out = {change.path for change in changes} - {change.path for change in own}
                exact = not given and not (writer.sockets or writer.refused or writer.unsteady)
                exact = exact and not engine.layers.truth(storage["chain"])
                facts = [
                    exact,
                    own[0].path == b"",
                    [os.fsdecode(path) for path in sorted(left_out)[::-1]],
                ]
                os.write(told, jsontext.dumps(facts).encode())

        engine.layers.keys(())  # what a power cut has left is dropped before the child looks
        try:
            with mounted.container(engine, found, produce) as reading:
                os.close(told)
                packed = pack.written(engine, self._lease, reading.read)
            if packed is None:
                return None
            made, size = packed
            exact, with_root, left_out = jsontext.loads(os.read(report, 1 << 16))
            chain = [*(LayerSource(*layer) for layer in self._chain), made]
            if exact and self._latest is None and "adopts" in driver.features:
                without = list(map(os.fsencode, left_out))
                engine.layers.adopt(storage["key"], chain, size, without, with_root)
            else:
                pack.unpack(engine, chain)
            return made
        finally:
            os.close(report)


def _wait(spawned: Spawned, pipes: dict[int, int], output: Output) -> int:
    """Pass on what is written until both pipes are at their end and the exit code is known."""
    poll = select.poll()
    for fd in (*pipes, spawned.sock.fileno()):
        poll.register(fd, select.POLLIN)
    code: int | None = None
    while pipes or code is None:
        for fd, _ in poll.poll():
            if fd in pipes:
                if data := os.read(fd, CHUNK):
                    output(pipes[fd], data)
                    continue
                del pipes[fd]
            else:
                message = spawned.receive()
                if message is None:
                    raise SampanError("the monitor of a build step ended", "it was killed")
                if message["kind"] != "exit":
                    continue
                code = int(message["code"])
            poll.unregister(fd)
    return code


def without_stubs(changes: Sequence[Change], places: Iterable[bytes]) -> list[Change]:
    """The changes without the places and what leads to them, as long as nothing else was made there."""
    stubs: set[bytes] = set()
    for place in places:
        while place:
            stubs.add(place)
            place = place.rpartition(b"/")[0]
    kept: list[Change] = []
    needed: set[bytes] = set()  # directories of what is kept
    for change in sorted(changes, key=lambda one: one.path, reverse=True):
        if change.kind == "A" and change.path in stubs and change.path not in needed:
            continue
        kept.append(change)
        needed.add(change.path.rpartition(b"/")[0])
    return kept[::-1]


def _resolved(root: int, targets: Iterable[str]) -> list[bytes]:
    """Where the targets are in the root, links followed."""
    top = os.readlink(b"/proc/self/fd/%d" % root)
    found: list[bytes] = []
    for target in targets:
        try:
            fd = paths.open_in_root(root, target)
        except OSError:
            continue  # nothing was left there
        found.append(os.readlink(b"/proc/self/fd/%d" % fd).removeprefix(top).strip(b"/"))
        os.close(fd)
    return found
