"""Making a stage: step after step on the layers so far, each taken from the cache where somebody has made it already.

Beside its planned key a step has one by content: the layers that it really works on and the bytes that it really
takes.  It is what makes a step hit whose sources were built anew and came out the same, and miss where they did not.
Of two builds that need the same step at the same moment one makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan.drivers import RunMount
from sampan.errors import SampanError
from sampan_build.dockerfile import configuration, runs, transfer
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.sources import FORMAT, Source, digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from sampan.drivers import BuildCache, BuildHost, Cached, Command, Layer, Layers
    from sampan_build.dockerfile.options import Options
    from sampan_build.dockerfile.plan import Step, Work

Outcome = tuple[str, bool]  # when a step was made, and whether it has a layer


class CommandError(SampanError):
    """A command of RUN ended with another code than 0."""


@dataclass(slots=True)
class Made:
    """A stage after some of its steps: its layers, and what became of each step, from the first stage on."""

    layers: Layers
    outcomes: list[Outcome] = field(default_factory=lambda: list[Outcome]())
    cached: int = 0  # steps that the cache had


def find(work: Work, cache: BuildCache) -> Made | None:
    """The furthest that the cache knows of a stage; None if it knows none of its steps."""
    for step in work.steps[::-1]:
        if step.known and (found := cache.get(step.key)):
            outcomes = [(str(created), bool(there)) for created, there in found.about["outcomes"]]
            return Made(found.layers, outcomes, len(outcomes))
    return None


class StageMaker:
    """Makes the steps of one stage."""

    def __init__(
        self,
        work: Work,
        host: BuildHost,
        options: Options,
        tell: Callable[[Mapping[str, Any]], object],
        wait_for: Callable[[int], Layers],
    ) -> None:
        """wait_for: the layers of another stage, by its number, as soon as they are there."""
        self.work, self.host, self.options = work, host, options
        self._tell, self._wait_for = tell, wait_for

    def make(self, made: Made) -> None:
        """All steps from where `made` stands."""
        for step in self.work.steps[len(made.outcomes) - self.work.offset :]:
            self._tell({"kind": "step", "id": step.number, "name": step.name, "state": "started"})
            hit = self._step(step, made)
            made.cached += hit
            state = "cached" if hit else "done"
            self._tell({"kind": "step", "id": step.number, "name": step.name, "state": state})

    def _step(self, step: Step, made: Made) -> bool:
        """One step; True if the cache had it."""
        cache = self.host.cache
        key = self._content_key(step, made)
        found = self._known(key)
        if found is None:
            with cache.flight(key, lambda text: self._say(step, text)):
                found = self._known(key)
                if found is None:
                    self._record(key, step, made, self._layer(step, made))
        if found is not None:
            top = found.layers if step.alone else found.layers[len(made.layers) :]
            made.layers += top
            made.outcomes.append((str(found.about["outcomes"][-1][0]), bool(top)))
        cache.put(step.key, made.layers, self._about(step, made))
        return found is not None

    def _known(self, key: str) -> Cached | None:
        return None if self.work.fresh else self.host.cache.get(key)

    def _record(self, key: str, step: Step, made: Made, layer: Layer | None) -> None:
        top = (layer,) if layer else ()
        made.layers += top
        made.outcomes.append((self.options.now, layer is not None))
        about = {**self._about(step, made), "kind": "internal"}
        self.host.cache.put(key, top if step.alone else made.layers, about)

    def _about(self, step: Step, made: Made) -> dict[str, Any]:
        description = step.name.partition("] ")[2]
        return {"description": description, "kind": "regular", "outcomes": made.outcomes}

    def _content_key(self, step: Step, made: Made) -> str:
        below = [] if step.alone else [layer.diff_id for layer in made.layers]
        contents = [self._content(step, one) for one in step.sources]
        return digest(FORMAT, self.options.epoch, "content", below, step.own, contents)

    def _content(self, step: Step, source: Source) -> object:
        """What identifies the files that a step takes from a source."""
        layers = self._layers(source)
        if isinstance(step.row, v.Copy):
            row = step.row
            with self.host.digests() as digests:
                found = self.host.look(
                    (layers,),
                    lambda roots, notes: transfer.identity_in(row, roots[0], digests, notes[0]),
                )
            return found.hex()
        return [layer.diff_id for layer in layers]

    def _layers(self, source: Source) -> Layers:
        return source.layers if source.stage < 0 else self._wait_for(source.stage)

    def _layer(self, step: Step, made: Made) -> Layer | None:
        row = step.row
        if isinstance(row, v.Run):
            return self._run(step, made.layers)
        if isinstance(row, v.Workdir):
            path = configuration.joined(step.directory, row.path)
            return self.host.tree(
                (made.layers,),
                lambda roots, tar: transfer.make_directory(path, roots[0], tar, step.user),
            )
        gathered = step.gathered
        assert gathered is not None
        transfer.fetch(gathered)
        chains = [() if step.alone else made.layers, *map(self._layers, step.sources)]
        return self.host.tree(
            chains,
            lambda roots, tar: transfer.write(gathered, row, step.directory, roots, tar),
        )

    def _run(self, step: Step, layers: Layers) -> Layer | None:
        plan = step.run
        assert plan is not None
        command = plan.complete(self._layers)
        if plan.script:
            command = self._with_script(command, *plan.script)

        def output(stream: int, data: bytes) -> None:
            self._tell({"kind": "output", "id": step.number, "stream": stream, "data": data})

        code, layer = self.host.run(layers, command, output)
        if code:
            words = " ".join(command.arguments)
            raise CommandError(
                f'process "{words}" did not complete successfully: exit code: {code}',
                exit_status=code,
            )
        return layer

    def _with_script(self, command: Command, name: str, data: bytes) -> Command:
        layer = self.host.tree(((),), lambda roots, tar: tar.file(name.encode(), data, mode=0o755))
        layers = (layer,) if layer else ()
        return command._replace(
            mounts=[*command.mounts, RunMount("layers", runs.SCRIPTS, layers=layers)]
        )

    def _say(self, step: Step, text: str) -> None:
        self._tell({"kind": "step", "id": step.number, "name": step.name, "state": "waiting"})
        self._tell({"kind": "output", "id": step.number, "stream": 2, "data": f"{text}\n".encode()})
