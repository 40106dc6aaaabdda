"""The builder of Dockerfiles; see `sampan.drivers.Builder`.

contexts   where files and the Dockerfile come from
parser, stages, scopes, ...   what it says
plan       its steps, each under the key that the cache knows it by
schedule, execute   the stages in parallel, the steps that nobody has made yet
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time

from sampan import files
from sampan.model import platform as platforms
from sampan_build.dockerfile import contexts, options
from sampan_build.dockerfile.parser import parse
from sampan_build.dockerfile.plan import Planner
from sampan_build.dockerfile.schedule import Scheduler
from sampan_build.dockerfile.sources import Sources
from sampan_build.dockerfile.stages import HOST, Build

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping
    from typing import Any

    from sampan.drivers import BuildHost, BuildRequest, ConfigTable, Layers
    from sampan.model.contract import DriverContext, Probe
    from sampan_build.dockerfile.contexts import Contexts
    from sampan_build.dockerfile.execute import Made
    from sampan_build.dockerfile.options import Options
    from sampan_build.dockerfile.plan import Step, Work
    from sampan_build.dockerfile.stages import Stage

PLACE = "building"  # in the store: what is downloaded or unpacked for a build


class DockerfileBuilder:
    """Builds images as BuildKit's Dockerfile frontend says."""

    name = "dockerfile"

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd

    def build(self, request: BuildRequest, host: BuildHost) -> str:
        given = options.read(request.options)
        with _Work(self._root_fd) as work_fd:
            found = _contexts(request, work_fd, host)
            build = _read(found, given, request)
            _warn_of_unused(build, given, host)
            target = build.find(given.target)
            with host.digests() as digests:
                sources = Sources(host, found, given, digests, work_fd)
                works = Planner(build, sources, given).plan(target)
            _number(works)
            made = Scheduler(works, host, given, build.document.source).make(target.index)
            work = works.pop(target.index)
            others = [step.key for other in works.values() for step in other.steps]
            with _told(host, work, made, request):
                host.share([step.key for step in work.steps], others)
                return _commit(work, made, request, given, host)

    def check(self, request: BuildRequest, host: BuildHost) -> Collection[Mapping[str, Any]]:
        """The findings of `build --check`; source is the whole text."""
        from sampan_build.dockerfile import check as checks
        from sampan_build.dockerfile import rules

        given = options.read(request.options)
        with _Work(self._root_fd) as work_fd:
            found = _contexts(request, work_fd, host)
            build = _read(found, given, request)

            def environment(stage: Stage) -> Mapping[str, str] | None:
                name = stage.base.name
                if stage.base.kind != "image" or name.startswith(HOST) or not host.find(name):
                    return None
                words: list[str] = host.image(name).inner.get("Env") or []
                return dict(word.split("=", 1) for word in words)

            ignore = found.main.ignore if found.main else None
            source = build.document.source
            return [
                {"rule": one.rule, "text": one.text, "file": source.name, "line": one.line, "end": one.end,
                 "url": rules.url(one.rule), "source": "\n".join(source.lines)}
                for one in checks.check(build, ignore, environment)
            ]  # fmt: skip


class _Work:
    """A directory of a build, gone with it."""

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd

    def __enter__(self) -> int:
        self._place = files.open_directory(PLACE, dir_fd=self._root_fd, create=True)
        for name in os.listdir(self._place):
            if files.is_abandoned(name):
                files.remove_tree(self._place, name)
        self._name = files.temporary_name()
        self.fd = files.open_directory(self._name, dir_fd=self._place, create=True)
        return self.fd

    def __exit__(self, *exception: object) -> None:
        os.close(self.fd)
        files.remove_tree(self._place, self._name)
        os.close(self._place)


def _contexts(request: BuildRequest, work_fd: int, host: BuildHost) -> Contexts:
    given = request.options
    return contexts.open_all(
        request.source,
        dockerfile=given.get("file") or "",
        stdin=0 if given.get("stdin") else -1,
        contexts=given.get("build_context") or {},
        ignorefile=given.get("ignorefile") or "",
        work=work_fd,
        unpack=host.unpack,
    )


def _read(found: Contexts, given: Options, request: BuildRequest) -> Build:
    document = parse(found.dockerfile, found.dockerfile_name)
    names = set(request.options.get("build_context") or ())
    host = platforms.host()
    target = platforms.parse(given.platform) if given.platform else host
    return Build(document, given.arguments, host, target, given.target, names)


def _warn_of_unused(build: Build, given: Options, host: BuildHost) -> None:
    unused = build.unused_arguments()
    if unused:
        text = f"one or more build-args were not consumed: [{' '.join(unused)}]"
        host.progress(
            {"kind": "warning", "text": text, "file": build.document.source.name, "line": 0}
        )


@contextlib.contextmanager
def _told(host: BuildHost, work: Work, made: Made, request: BuildRequest) -> Generator[None]:
    """The last step on the display: the image, and how much of it was there already."""
    total = work.offset + len(work.steps)
    name = " ".join(["COMMIT", *request.tags])
    if made.cached:
        name += f" ({made.cached} of {total} steps from the cache)"
    event = {"kind": "step", "id": 0, "name": name}
    host.progress({**event, "state": "started", "time": time.time()})
    yield
    host.progress({**event, "state": "done", "time": time.time()})


def _number(works: Mapping[int, Work]) -> None:
    """Steps have numbers that are unique in a build."""
    numbers = itertools.count(1)
    for work in works.values():
        parts: list[Step | Work] = [work, *work.steps]
        for part in parts:
            part.number = next(numbers)


def _commit(work: Work, made: Made, request: BuildRequest, given: Options, host: BuildHost) -> str:
    configuration = work.configuration
    if given.labels:
        configuration.inner["Labels"] = {
            **(configuration.inner.get("Labels") or {}),
            **given.labels,
        }
    before = len(configuration.history)
    created = _history(work, made, given)
    layers: Layers = made.layers
    if given.squash:
        from sampan_build.dockerfile import squash

        new = sum(there for _, there in made.outcomes)
        base = layers[: len(layers) - new] if given.squash == "new" else ()
        layers = squash.squash(host, base, layers)
        first = before if given.squash == "new" else 0
        squash.retell(configuration.history, first, layer=len(layers) > len(base))
    return host.commit(
        layers,
        configuration.document(created),
        request.tags,
        form=given.form,
        annotations=given.annotations,
    )


def _history(work: Work, made: Made, given: Options) -> str:
    """One entry an instruction; what makes no layer has the time of what was made before it.  The image's time."""
    history = work.configuration.history
    times = [created for created, _ in made.outcomes]
    last = str(history[-1].get("created") or "") if history else ""
    last = given.now if given.epoch is not None else last or (times[0] if times else given.now)
    for text, number in work.entries:
        if number >= 0:
            last = max(last, times[number])
        empty = number < 0 or not made.outcomes[number][1]
        work.configuration.note(text, last, empty=empty)
    return last


def sampan_builder(context: DriverContext) -> DockerfileBuilder:
    return DockerfileBuilder(context.root_fd)


def sampan_probe(context: DriverContext) -> Probe:
    from sampan.model.contract import Probe

    return Probe(True, "part of sampan")


def sampan_config() -> ConfigTable:
    return {}
