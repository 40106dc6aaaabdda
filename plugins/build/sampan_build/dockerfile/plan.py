"""The plan of a build: the steps of each stage that make layers, under keys that stand for all that they depend on.

Nothing is run here.  A step's `key` is a digest of its stage's base, of the steps before it, of its own words with
their variables, and of the content of the files that it takes.  So a key that the cache knows is the same work,
wherever and whenever it was done; what is not in a key (times and owners of context files, values of secrets,
proxies) does not make a step run again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan_build.dockerfile import configuration, runs
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.configuration import Configuration
from sampan_build.dockerfile.instructions import located
from sampan_build.dockerfile.paths import clean
from sampan_build.dockerfile.sources import FORMAT, Source, digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan_build.dockerfile.contexts import Context
    from sampan_build.dockerfile.mounts import Mount
    from sampan_build.dockerfile.options import Options
    from sampan_build.dockerfile.runs import RunPlan
    from sampan_build.dockerfile.scopes import Scope
    from sampan_build.dockerfile.sources import Sources
    from sampan_build.dockerfile.stages import Build, Origin, Stage
    from sampan_build.dockerfile.transfer import Gathered


@dataclass(slots=True)
class Step:
    """One instruction that makes a layer.

    key: as above; own: the same without what lies below and what its sources hold.  alone: its layer does not
    depend on the layers below (COPY --link).  known: the cache may have it under its key.
    """

    row: v.Run | v.Copy | v.Add | v.Workdir
    own: str
    directory: str  # the working directory and the user before it
    user: str
    key: str = ""
    name: str = ""  # on the display
    sources: tuple[Source, ...] = ()
    alone: bool = False
    known: bool = True
    run: RunPlan | None = None
    gathered: Gathered | None = None
    number: int = 0  # in the whole build


@dataclass(slots=True)
class Work:
    """A stage as it will be made: what it begins with, its steps, and its configuration at the end.

    entries: the history's words, in order, with the number of the step that may have made a layer, -1 for none; those
    of the stages that it is made FROM come first, and so do their steps, of which there are `offset`.
    fresh: the cache is not asked at all.  dirty: something that it depends on is made without asking it.
    """

    stage: Stage
    base: Source
    configuration: Configuration
    fresh: bool = False
    dirty: bool = False
    steps: list[Step] = field(default_factory=lambda: list[Step]())
    entries: list[tuple[str, int]] = field(default_factory=lambda: list[tuple[str, int]]())
    offset: int = 0
    number: int = 0
    prefix: str = ""  # of its names on the display: the stage's, where there are several

    @property
    def name(self) -> str:
        """Of its beginning, among the steps."""
        return f"[{self.prefix}1/{len(self.steps) + 1}] {' '.join(self.stage.start.node.original.split())}"

    @property
    def key(self) -> str:
        """Of what the stage is after the steps that it has."""
        return self.steps[-1].key if self.steps else self.base.key


class Planner:
    """Makes the works of a target, each after those that it needs."""

    def __init__(self, build: Build, sources: Sources, options: Options) -> None:
        self.build, self.sources, self.options = build, sources, options
        self.works: dict[int, Work] = {}
        self._scopes: dict[int, Scope] = {}

    def plan(self, target: Stage) -> dict[int, Work]:
        """The works by the number of their stage. The base images come first: ONBUILD may need further stages."""
        looked: set[int] = set()
        while fresh := [stage for stage in self.build.needed(target) if stage.index not in looked]:
            for stage in fresh:
                looked.add(stage.index)
                self._trigger(stage)
        for stage in self.build.needed(target):
            self.works[stage.index] = self._work(stage)
        return self.works

    def _trigger(self, stage: Stage) -> None:
        if stage.base.kind != "image":
            return
        with located(stage.start.node, self.build.document.source):
            triggers: list[str] = (
                self.sources.image(stage.base.name, stage.platform).inner.get("OnBuild") or []
            )
        if triggers:
            self.build.add_triggers(stage, triggers)

    def _work(self, stage: Stage) -> Work:
        base, made = self._base(stage)
        fresh = self.options.ignores_cache(stage.name)
        work = Work(stage, base, made, fresh, fresh or self._is_dirty(base))
        if stage.start.name or len(self.build.stages) > 1:
            work.prefix = f"{stage.name} "
        parent: Scope | None = None
        if stage.base.kind == "stage":
            below, parent = self.works[stage.base.stage], self._scopes[stage.base.stage]
            work.entries, work.offset = list(below.entries), below.offset + len(below.steps)
        scope = self.build.scope(stage, parent, made.environment)
        self._scopes[stage.index] = scope
        for row in stage.instructions:
            self._enter(work, scope, scope.enter(row))
        total = len(work.steps) + 1
        for number, step in enumerate(work.steps, 2):
            step.name = (
                f"[{work.prefix}{number}/{total}] {' '.join(step.row.node.original.split())}"
            )
        return work

    def _base(self, stage: Stage) -> tuple[Source, Configuration]:
        origin, node = stage.base, stage.start.node
        if origin.kind == "stage":
            below = self.works[origin.stage]
            return Source(below.key, origin.stage), below.configuration.child()
        with located(node, self.build.document.source):
            found = self.sources.find(origin, stage.platform)
            if not isinstance(found, Source):
                return self.sources.directory(found, node), Configuration()
            if origin.kind == "scratch":
                return found, Configuration()
            name = (
                self.sources.contexts.named(origin.name)
                if origin.kind == "context"
                else origin.name
            )
            return found, Configuration(self.sources.image(str(name), stage.platform).config)

    def _is_dirty(self, source: Source) -> bool:
        return source.stage >= 0 and self.works[source.stage].dirty

    def _enter(self, work: Work, scope: Scope, row: v.Instruction) -> None:
        """Add an instruction to the work."""
        if not isinstance(row, v.Run | v.Copy | v.Add | v.Workdir):
            work.entries.append((work.configuration.apply(row), -1))
            return
        with located(row.node, self.build.document.source):
            step = self._step(work, scope, row)
        work.dirty = work.dirty or any(map(self._is_dirty, step.sources))
        step.known = not work.dirty
        work.steps.append(step)
        if isinstance(row, v.Workdir):
            text = work.configuration.apply(row)
        elif isinstance(row, v.Transfer):
            text = configuration.transfer_text(row)
        else:
            assert step.run is not None
            text = configuration.run_text(step.run.command.arguments, scope.history())
        work.entries.append((text, work.offset + len(work.steps) - 1))

    def _step(self, work: Work, scope: Scope, row: v.Run | v.Copy | v.Add | v.Workdir) -> Step:
        directory, user = work.configuration.workdir, work.configuration.user
        if isinstance(row, v.Run):
            run = runs.plan(
                row,
                work.configuration,
                scope,
                self.options,
                lambda mount: self._mounted(work, mount),
            )
            own = digest("run", *run.identity)
            step = Step(row, own, directory, user, sources=tuple(run.sources), run=run)
        elif isinstance(row, v.Transfer):
            step = self._transfer(work, row, directory, user)
        else:
            own = digest("workdir", configuration.joined(directory, row.path), user)
            step = Step(row, own, directory, user)
        sources = [source.key for source in step.sources]
        step.key = digest(FORMAT, self.options.epoch, work.key, step.own, sources)
        return step

    def _transfer(self, work: Work, row: v.Copy | v.Add, directory: str, user: str) -> Step:
        word = row.origin if isinstance(row, v.Copy) else ""
        found = self._find(work.stage.origins[word]) if word else self.sources.contexts.main
        sources, context = ((found,), None) if isinstance(found, Source) else ((), found)
        gathered = self.sources.gather(row, context)
        own = digest(
            "transfer", gathered.identity, configuration.joined(directory, row.destination)
        )
        return Step(row, own, directory, user, sources=sources, alone=row.link, gathered=gathered)

    def _find(self, origin: Origin) -> Source | Context:
        if origin.kind == "stage":
            return Source(self.works[origin.stage].key, origin.stage)
        return self.sources.find(origin)

    def _mounted(self, work: Work, mount: Mount) -> tuple[Source, str]:
        """Where the files of a mount are, and their path there."""
        path = clean(f"/{mount.source}")
        found = (
            self._find(work.stage.origins[mount.origin])
            if mount.origin
            else self.sources.contexts.main
        )
        if isinstance(found, Source):
            return found, path
        return self.sources.directory(found, work.stage.start.node, path), path
