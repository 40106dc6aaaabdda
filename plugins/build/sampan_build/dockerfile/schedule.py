"""Stages in parallel: a process for each that the cache does not know to its end, as many at once as may be.

What a stage needs is started with it, and it waits for another one only at the step that takes from it.  So a stage
that only copies something at its end works while that is made.  What nothing needs is not made.
"""

from __future__ import annotations

import os
import select
import signal
import time

from sampan.errors import SampanError, from_report, to_report
from sampan.linux import processes
from sampan_build.dockerfile.execute import Made, StageMaker, find
from sampan_build.dockerfile.source import DockerfileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection
    from typing import Any, NoReturn

    from sampan.drivers import BuildHost, Layers
    from sampan_build.dockerfile.options import Options
    from sampan_build.dockerfile.plan import Step, Work
    from sampan_build.dockerfile.source import Source

OUTPUT_LIMIT = 1 << 20  # bytes of a step's output that an error shows


class StepError(DockerfileError):
    """A step failed. step_output: what it had written, the last MiB of it."""

    def __init__(self, source: Source, step: Step, error: SampanError, output: bytes) -> None:
        node = step.row.node
        super().__init__(source, node.start, error.what, error.why, error.hint, end=node.end)
        self.exit_status = error.exit_status
        self.step_name, self.step_output = step.name, output


class Worker:
    """The process that makes a stage."""

    def __init__(self, work: Work, pid: int, connection: Connection) -> None:
        self.work, self.pid, self.connection = work, pid, connection
        self.waits_for = -1
        self.at: Step | None = None  # what it makes now
        self.output = b""

    def hear(self, event: Mapping[str, Any]) -> None:
        """Remember what an error would have to tell."""
        if event["kind"] == "step" and event["state"] == "started":
            self.at = next(step for step in self.work.steps if step.number == event["id"])
            self.output = b""
        elif event["kind"] == "output":
            self.output = (self.output + event["data"])[-OUTPUT_LIMIT:]


class Scheduler:
    """Makes the works of a plan."""

    def __init__(
        self, works: Mapping[int, Work], host: BuildHost, options: Options, source: Source
    ) -> None:
        self.works, self.host, self.options, self.source = works, host, options, source
        self.done: dict[int, Made] = {}
        self._wanted: dict[int, Made | None] = {}  # what the cache knows of those that are wanted
        self._queue: list[int] = []
        self._workers: dict[int, Worker] = {}

    def make(self, target: int) -> Made:
        """The layers of a stage, when they are there."""
        try:
            self._want(target)
            while target not in self.done:
                self._start()
                self._listen()
        except BaseException:
            self._cancel()
            raise
        return self.done[target]

    def _want(self, index: int) -> None:
        """See that a stage is made, and what it needs for the steps that the cache does not know."""
        if index in self._wanted:
            return
        work = self.works[index]
        made = self._wanted[index] = find(work, self.host.cache)
        known = len(made.outcomes) - work.offset if made else 0
        parts: list[Step | Work] = [work, *work.steps[:known]]
        for part in parts:
            self._told(part, "started")
            self._told(part, "cached")
        if made is not None and known == len(work.steps):
            self.done[index] = made
            return
        if made is None and work.base.stage >= 0:
            self._want(work.base.stage)
        for step in work.steps[known:]:
            for source in step.sources:
                if source.stage >= 0:
                    self._want(source.stage)
        self._queue.append(index)

    def _told(self, part: Step | Work, state: str) -> None:
        now = time.time()
        self.host.progress(
            {"kind": "step", "id": part.number, "name": part.name, "state": state, "time": now}
        )

    def _start(self) -> None:
        """Start what is wanted, as far as there is room and its base is there."""
        for index in list(self._queue):
            work, made = self.works[index], self._wanted[index]
            busy = sum(worker.waits_for < 0 for worker in self._workers.values())
            if self.options.jobs and busy >= self.options.jobs:
                return
            if made is None and work.base.stage >= 0:
                if work.base.stage not in self.done:
                    continue
                below = self.done[work.base.stage]
                made = Made(below.layers, list(below.outcomes), below.cached)
            made = made or Made(work.base.layers)
            self._queue.remove(index)
            if work.steps:
                self._fork(index, work, made)
            else:
                self._finish(index, made)

    def _fork(self, index: int, work: Work, made: Made) -> None:
        from multiprocessing.connection import Pipe

        ours, theirs = Pipe()
        pid = os.fork()
        if pid == 0:
            _child(StageMaker, work, made, self.host, self.options, theirs, [ours, *self._pipes()])
        theirs.close()
        self._workers[ours.fileno()] = Worker(work, pid, ours)

    def _pipes(self) -> list[Connection]:
        return [worker.connection for worker in self._workers.values()]

    def _listen(self) -> None:
        if not self._workers:
            return
        poll = select.poll()
        for fd in self._workers:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll():
            self._message(self._workers[fd])

    def _message(self, worker: Worker) -> None:
        try:
            kind, content = worker.connection.recv()
        except (EOFError, ConnectionError):
            raise SampanError(
                f"cannot build stage {worker.work.stage.name}",
                "its process was killed",
                "see the kernel's log for OOM",
            ) from None
        if kind == "event":
            event = {**content, "time": time.time()}
            worker.hear(event)
            self.host.progress(event)
        elif kind == "want":
            worker.waits_for = content
            self._answer(worker)
        elif kind == "done":
            self._remove(worker)
            self._finish(worker.work.stage.index, content)
        else:
            self._fail(worker, from_report(content))

    def _answer(self, worker: Worker) -> None:
        found = self.done.get(worker.waits_for)
        if found is not None:
            worker.waits_for = -1
            worker.connection.send(found.layers)

    def _finish(self, index: int, made: Made) -> None:
        self.done[index] = made
        for worker in self._workers.values():
            if worker.waits_for >= 0:
                self._answer(worker)

    def _fail(self, worker: Worker, error: SampanError) -> NoReturn:
        self._remove(worker)
        if worker.at is None:
            raise error
        self.host.progress(
            {"kind": "step", "id": worker.at.number, "name": worker.at.name, "state": "failed", "time": time.time(),
             "error": error.what}
        )  # fmt: skip
        raise StepError(self.source, worker.at, error, worker.output)

    def _remove(self, worker: Worker) -> None:
        del self._workers[worker.connection.fileno()]
        worker.connection.close()
        os.waitpid(worker.pid, 0)

    def _cancel(self) -> None:
        """End what is still at work; its containers end with it."""
        for worker in list(self._workers.values()):
            os.kill(worker.pid, signal.SIGKILL)
            self._remove(worker)
            if worker.at is not None:
                self._told(worker.at, "canceled")


def _child(
    maker: type[StageMaker],
    work: Work,
    made: Made,
    host: BuildHost,
    options: Options,
    parent: Connection,
    others: list[Connection],
) -> NoReturn:
    """The life of a worker."""
    status = 1
    try:
        processes.die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for connection in others:
            connection.close()

        def tell(event: Mapping[str, Any]) -> None:
            parent.send(("event", dict(event)))

        known: dict[int, Layers] = {}

        def wait_for(stage: int) -> Layers:
            if stage not in known:
                parent.send(("want", stage))
                known[stage] = parent.recv()
            return known[stage]

        host.listen(tell)
        maker(work, host, options, tell, wait_for).make(made)
        parent.send(("done", made))
        status = 0
    except BaseException as error:
        parent.send(("error", to_report(error, f"stage {work.stage.name} failed")))
    finally:
        os._exit(status)
