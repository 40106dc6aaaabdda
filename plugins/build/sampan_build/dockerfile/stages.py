"""Stages: what each begins with, what it takes from others, and what a target needs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from sampan.errors import UsageError
from sampan.model import platform as platforms
from sampan.model import reference
from sampan_build.dockerfile import instructions, scopes
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.arguments import ArgumentError
from sampan_build.dockerfile.instructions import located
from sampan_build.dockerfile.parser import parse
from sampan_build.dockerfile.source import DockerfileError, encode, nearest
from sampan_build.dockerfile.words import Expansion, Lexer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from sampan.model.platform import Platform
    from sampan_build.dockerfile.parser import Document

SCRATCH = "scratch"
HOST = "host:"  # images of this machine's programs
INDEX = re.compile(r"[-+]?[0-9]+", re.ASCII)
FROM_HINT = "define a new stage with FROM using ARG from global scope as a workaround"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where files or a base come from: a stage of the file, an image, a named context, or nothing (scratch).

    kind: stage, image, context or scratch; name as it is written, stage the number of a stage.
    """

    kind: str
    name: str
    stage: int = -1


@dataclass(slots=True)
class Stage:
    """One FROM and what follows it.

    base is where it begins, platform the expanded --platform or "" ; origins are what its instructions take
    from elsewhere, by the word that names it.  A stage whose name is a named context is that context instead.
    """

    index: int
    start: v.From
    base: Origin
    platform: str
    base_words: Expansion
    platform_words: Expansion
    instructions: list[v.Instruction] = field(default_factory=lambda: list[v.Instruction]())
    origins: dict[str, Origin] = field(default_factory=lambda: dict[str, Origin]())

    @property
    def name(self) -> str:
        """Its own name, or stage-N."""
        return self.start.name or f"stage-{self.index}"

    def needs(self) -> Iterator[Origin]:
        """Everything that must be there before the stage is."""
        yield self.base
        yield from self.origins.values()


class Build:
    """A Dockerfile with the command line's arguments: its stages, and what a target needs of them."""

    def __init__(
        self,
        document: Document,
        given: Mapping[str, str],
        build: Platform,
        target: Platform,
        stage: str = "",
        contexts: Collection[str] = (),
    ) -> None:
        """given: --build-arg; stage: --target; contexts: the names of --build-context.  DockerfileError."""
        self.document, self.given, self.contexts = document, given, contexts
        self.declared: list[v.Arg] = []
        starts = self._split(instructions.read_all(document))
        wanted = stage or starts[-1][0].name
        self.predefined = {
            name: given.get(name, value)
            for name, value in scopes.predefined(build, target, wanted).items()
        }
        self.globals = scopes.global_variables(document, self.declared, given, self.predefined)
        self.stages: list[Stage] = []
        self._names: dict[str, int] = {}
        for start, rows in starts:
            self._begin(start, rows)
        for one in self.stages:
            self._connect(one, one.instructions)
        self._refuse_cycles()

    def _split(self, rows: Sequence[v.Instruction]) -> list[tuple[v.From, list[v.Instruction]]]:
        found: list[tuple[v.From, list[v.Instruction]]] = []
        for row in rows:
            if isinstance(row, v.From):
                found.append((row, []))
            elif found:
                found[-1][1].append(row)
            elif isinstance(row, v.Arg):
                self.declared.append(row)
            else:
                with located(row.node, self.document.source):
                    raise ArgumentError(
                        "no build stage in current context",
                        "only ARG may come before the first FROM",
                    )
        if not found:
            with located(rows[0].node, self.document.source):
                raise ArgumentError("dockerfile contains no stages to build", "add FROM")
        return found

    def _begin(self, start: v.From, rows: list[v.Instruction]) -> None:
        lexer = Lexer(self.document.escape)
        with located(start.node, self.document.source):
            base, platform = (
                lexer.expand(start.base, self.globals),
                lexer.expand(start.platform, self.globals),
            )
            if not base.text:
                raise ArgumentError(
                    f"base name ({start.base}) should not be blank", _unset(base), start.base
                )
            if start.platform:
                _check_platform(start.platform, platform)
            stage = Stage(
                len(self.stages), start, self._base(start, base.text), platform.text, base, platform
            )
        if stage.base.kind == "stage":
            parent = self.stages[stage.base.stage]
            triggers = [row.trigger for row in parent.instructions if isinstance(row, v.Onbuild)]
            rows = [*triggers, *rows]
        stage.instructions = (
            rows if stage.base.kind != "context" or stage.base.name != start.name else []
        )
        self.stages.append(stage)
        if start.name:
            self._names[start.name] = stage.index

    def _base(self, start: v.From, name: str) -> Origin:
        if start.name and start.name in self.contexts:
            return Origin("context", start.name)
        if name.lower() in self._names:
            return Origin("stage", name, self._names[name.lower()])
        return self._outside(name, f"failed to parse stage name {_quoted(name)}")

    def _outside(self, name: str, what: str) -> Origin:
        """A named context, or an image."""
        if name == SCRATCH:
            return Origin("scratch", name)
        if name in self.contexts:
            return Origin("context", name)
        if not name.startswith(HOST):
            try:
                reference.parse(name)
            except UsageError as error:
                raise ArgumentError(
                    f"{what}: {error.why or error.what}", error.hint, name
                ) from None
        return Origin("image", name)

    def _connect(self, stage: Stage, rows: Sequence[v.Instruction]) -> None:
        """Find out what the instructions take from elsewhere."""
        for row in rows:
            words = (
                [row.origin]
                if isinstance(row, v.Copy)
                else row.origins
                if isinstance(row, v.Run)
                else []
            )
            for word in filter(None, words):
                with located(row.node, self.document.source):
                    stage.origins[word] = self._origin(word, isinstance(row, v.Copy))

    def _origin(self, word: str, numbered: bool) -> Origin:
        if numbered and Lexer(self.document.escape).expand(word, {}).text != word:
            raise ArgumentError("variable expansion is not supported for --from", FROM_HINT, word)
        if numbered and INDEX.fullmatch(word):
            index = int(word[:10])
            if not 0 <= index < len(self.stages):
                raise ArgumentError(
                    f"invalid stage index {word}",
                    f"there are stages 0 to {len(self.stages) - 1}",
                    word,
                )
            return Origin("stage", word, index)
        if word.lower() in self._names:
            return Origin("stage", word, self._names[word.lower()])
        return self._outside(word, f"invalid from flag value {word}")

    def _refuse_cycles(self) -> None:
        """Only what refers to a later stage, or to itself, can be part of a circle."""
        for stage in self.stages:
            for word, origin in stage.origins.items():
                if (
                    origin.kind == "stage"
                    and origin.stage >= stage.index
                    and stage.index in self._reach(origin.stage)
                ):
                    what = f"circular dependency detected on stage: {stage.name}"
                    with located(self._user(stage, word).node, self.document.source):
                        raise ArgumentError(what, "a stage can take from stages before it", word)

    def _user(self, stage: Stage, word: str) -> v.Instruction:
        """The first instruction of a stage that takes something from word."""
        for row in stage.instructions:
            if (isinstance(row, v.Copy) and row.origin == word) or (
                isinstance(row, v.Run) and word in row.origins
            ):
                return row
        return stage.start

    def _reach(self, index: int) -> set[int]:
        """The stages that a stage needs, with itself."""
        found: set[int] = set()
        rest = [index]
        while rest:
            at = rest.pop()
            if at not in found:
                found.add(at)
                rest += [
                    origin.stage for origin in self.stages[at].needs() if origin.kind == "stage"
                ]
        return found

    def unused_arguments(self) -> list[str]:
        """The names of --build-arg that nothing declares."""
        rows = [*self.declared, *(row for stage in self.stages for row in stage.instructions)]
        known = {name for row in rows if isinstance(row, v.Arg) for name, _ in row.arguments}
        known |= set(self.predefined)
        return sorted(
            name for name in self.given if name not in known and name.lower() not in scopes.PROXIES
        )

    def find(self, target: str = "") -> Stage:
        """The stage of --target, by name or number; the last one without."""
        if not target:
            return self.stages[-1]
        index = self._names.get(target.lower(), -1)
        if (
            index < 0
            and target.isascii()
            and target.isdigit()
            and int(target[:10]) < len(self.stages)
        ):
            index = int(target)
        if index < 0:
            names = [stage.start.name for stage in self.stages if stage.start.name]
            hint = nearest(target, names) if names else "no stage has a name"
            raise UsageError(f"target stage {_quoted(target)} could not be found", "", hint)
        return self.stages[index]

    def needed(self, target: Stage) -> list[Stage]:
        """The stages that a target needs, each after those that it needs itself; DockerfileError."""
        found = [self.stages[index] for index in sorted(self._reach(target.index))]
        for stage in found:
            for word, origin in stage.origins.items():
                if origin.kind == "stage" and origin.stage >= stage.index:
                    with located(self._user(stage, word).node, self.document.source):
                        what = f"cannot copy from stage {_quoted(word)}, it needs to be defined before current stage"
                        raise ArgumentError(
                            f"{what} {_quoted(stage.name)}", "move that stage up", word
                        )
        return found

    def scope(
        self, stage: Stage, parent: scopes.Scope | None, environment: Mapping[str, str]
    ) -> scopes.Scope:
        """The variables that a stage begins with: its parent's, or those of its base image."""
        if parent:
            return parent.child()
        return scopes.Scope(self.document, self.given, self.globals, dict(environment))

    def add_triggers(self, stage: Stage, expressions: Sequence[str]) -> None:
        """Put the ONBUILD instructions of a stage's base image before its own; they may need further stages."""
        rows = [self._trigger(stage, expression) for expression in expressions]
        self._connect(stage, rows)
        stage.instructions = [*rows, *stage.instructions]
        self._refuse_cycles()

    def _trigger(self, stage: Stage, expression: str) -> v.Instruction:
        node, source = stage.start.node, self.document.source
        try:
            inner = parse(encode(expression), f"ONBUILD of {stage.base.name}")
            found = instructions.read_all(inner)
        except DockerfileError as error:
            raise DockerfileError(
                source, node.start, str(error), near=stage.start.base, end=node.end
            ) from None
        if len(found) != 1 or isinstance(found[0], v.From | v.Onbuild | v.Maintainer):
            what = (
                f"onbuild trigger should be a single expression: {expression.splitlines()[0][:80]}"
            )
            raise DockerfileError(source, node.start, what, near=stage.start.base, end=node.end)
        found[0].node.start, found[0].node.end = node.start, node.end
        return found[0]


def _check_platform(word: str, found: Expansion) -> None:
    if not found.text:
        raise ArgumentError(f"empty platform value from expression {word}", _unset(found), word)
    try:
        platforms.parse(found.text)
    except UsageError as error:
        raise ArgumentError(f"failed to parse platform {word}", error.why, word) from None


def _unset(found: Expansion) -> str:
    if not found.unmatched:
        return ""
    return f"give {' and '.join(sorted(found.unmatched))} a value with ARG before the first FROM, or --build-arg"


def _quoted(word: str) -> str:
    return f'"{word}"'
