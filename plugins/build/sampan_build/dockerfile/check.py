"""`build --check`: what a Dockerfile says that is allowed, and likely not meant.

The checks are those of Docker, by the same names and in the same words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sampan.errors import SampanError, UsageError
from sampan.model import platform as platforms
from sampan.model import reference
from sampan_build.dockerfile import rules, scopes
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.paths import clean
from sampan_build.dockerfile.source import DockerfileError, Source, closest
from sampan_build.dockerfile.stages import HOST
from sampan_build.dockerfile.words import Lexer, WordError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sampan_build.dockerfile.ignore import Ignore
    from sampan_build.dockerfile.parser import Node
    from sampan_build.dockerfile.scopes import Scope
    from sampan_build.dockerfile.stages import Build, Stage

    Environment = Callable[[Stage], Mapping[str, str] | None]

RESERVED = "context", "scratch"
SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)",
    re.IGNORECASE,
)
NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
EVERYTHING = "*", "**", "**/*"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One remark: where (lines count from 1), the rule's name, and what is said."""

    line: int
    end: int
    rule: str
    text: str

    def report(self, source: Source) -> str:
        """The remark as it is shown, with the lines that it is about."""
        rows = [f"{number:>4} | {source.line(number)}" for number in range(self.line, self.end + 1)]
        return "\n".join(
            [
                f"WARN: {self.rule} - {rules.url(self.rule)}",
                self.text,
                f"{source.name}:{self.line}",
                *rows,
            ]
        )


def check(
    build: Build, ignore: Ignore | None = None, environment: Environment | None = None
) -> list[Finding]:
    """What there is to say about a file, in the order of its lines; DockerfileError where it cannot be built.

    environment gives a base image's variables, None where they are not known: then nothing is said about
    undefined ones.
    """
    return _Checker(build, ignore, environment or (lambda stage: None)).run()


def options(build: Build) -> rules.Options:
    """What the file's own `# check=` asks for; DockerfileError."""
    value, line = build.document.directives.get("check", ("", 0))
    try:
        return rules.read(value.partition(" ")[0])
    except rules.OptionError as error:
        what, hint = f"failed to parse check options: {error}", "write skip=RULE,RULE;error=true"
        raise DockerfileError(build.document.source, line, what, "", hint) from None


def violation(findings: Iterable[Finding]) -> SampanError:
    """The error that findings are with `error=true`."""
    names = ", ".join(sorted({finding.rule for finding in findings}))
    return SampanError(
        f"lint violation found for rules: {names}", "", "mend them, or write # check=skip=RULE"
    )


class _Checker:
    def __init__(self, build: Build, ignore: Ignore | None, environment: Environment) -> None:
        self.build, self.environment = build, environment
        self.ignore = None if ignore is None or ignore.takes_back else ignore
        self.options = options(build)
        self.found: list[Finding] = []
        self.scopes: list[
            tuple[Scope, bool]
        ] = []  # of each stage at its end, and whether its variables are known
        self.workdirs: set[int] = set()  # stages that have set theirs
        self.shells: set[int] = set()  # and their shell

    def run(self) -> list[Finding]:
        for line, _ in self.build.document.empty_continuations:
            if self.options.allows("NoEmptyContinuation"):
                self.found.append(
                    Finding(line, line, "NoEmptyContinuation", rules.RULES["NoEmptyContinuation"])
                )
        self._casing()
        self._names()
        self._default_bases()
        for arg in self.build.declared:
            self._described(arg.node, "ARG", [name for name, _ in arg.arguments])
        for stage in self.build.stages:
            self._from(stage)
            self._stage(stage)
        return sorted(set(self.found))

    def _say(self, rule: str, node: Node, *about: str) -> None:
        if self.options.merged(node.comments).allows(rule):
            self.found.append(Finding(node.start, node.end, rule, rules.RULES[rule].format(*about)))

    def _casing(self) -> None:
        before = {id(arg.node) for arg in self.build.declared}
        nodes = [node for node in self.build.document.nodes if id(node) not in before]
        lower = sum(node.name == node.name.lower() for node in nodes)
        upper = sum(node.name == node.name.upper() for node in nodes)
        wanted, change = ("lowercase", str.lower) if lower > upper else ("uppercase", str.upper)
        for node in nodes:
            if node.name != change(node.name):
                self._say("ConsistentInstructionCasing", node, node.name, wanted)

    def _names(self) -> None:
        seen: set[str] = set()
        for stage in self.build.stages:
            node, name = stage.start.node, stage.start.name
            if name in RESERVED:
                self._say("ReservedStageName", node, name)
            if name and name in seen:
                self._say("DuplicateStageName", node, name)
            seen.add(name)

    def _default_bases(self) -> None:
        """Whether every FROM has an image when no argument is given."""
        build = self.build
        lexer = Lexer(build.document.escape)
        try:
            known = scopes.global_variables(build.document, build.declared, {}, build.predefined)
            names = [lexer.expand(stage.start.base, known).text for stage in build.stages]
        except (DockerfileError, WordError):
            return  # an argument that must be given
        for stage, name in zip(build.stages, names, strict=True):
            if not _is_image(name):
                self._say("InvalidDefaultArgInFrom", stage.start.node, stage.start.base)

    def _described(self, node: Node, what: str, keys: Sequence[str]) -> None:
        if node.comments and keys and node.comments[-1].split(" ")[0] not in keys:
            self._say(
                "InvalidDefinitionDescription",
                node,
                what,
                keys[0] if len(keys) == 1 else "<arg_key>",
            )

    def _from(self, stage: Stage) -> None:
        start, node = stage.start, stage.start.node
        if start.name:
            self._described(node, "FROM", [start.name])
        if len(node.words) == 3:
            if node.words[2] != start.name:
                self._say("StageNameCasing", node, node.words[2])
            case = str.lower if node.name == node.name.lower() else str.upper
            if node.name == case(node.name) and node.words[1] != case(node.words[1]):
                self._say("FromAsCasing", node, node.name, node.words[1])
        declared = {name for arg in self.build.declared for name, _ in arg.arguments} | set(
            self.build.globals
        )
        platform = stage.platform_words
        for name in sorted((stage.base_words.unmatched | platform.unmatched) - declared):
            self._say("UndefinedArgInFrom", node, name, _meant(name, declared))
        if not start.platform or platform.unmatched:
            return
        if (
            platform.matched == {"TARGETPLATFORM"}
            and platform.text == self.build.globals["TARGETPLATFORM"]
        ):
            self._say("RedundantTargetPlatform", node, start.platform)
        elif not platform.matched:
            found = platforms.parse(platform.text)
            if found.os not in start.name and found.architecture not in start.name:
                self._say("FromPlatformFlagConstDisallowed", node, platform.text)

    def _stage(self, stage: Stage) -> None:
        parent = stage.base.stage if stage.base.kind == "stage" else -1
        given: Mapping[str, str] | None = {}
        if parent < 0 and stage.base.kind != "scratch":
            given = self.environment(stage)
        known = given is not None and (parent < 0 or self.scopes[parent][1])
        above = self.scopes[parent][0] if parent >= 0 else None
        scope = self.build.scope(stage, above, {"PATH": "", **(given or {})})
        if parent in self.workdirs:
            self.workdirs.add(stage.index)
        if parent in self.shells:
            self.shells.add(stage.index)
        last: dict[type[v.Instruction], v.Instruction] = {}
        for row in stage.instructions:
            entered = scope.enter(row)
            self._instruction(stage, entered)
            if known:
                for name in sorted(scope.unmatched):
                    self._say("UndefinedVar", row.node, name, _meant(name, scope.variables, "$"))
            if isinstance(row, v.Cmd | v.Entrypoint | v.Healthcheck):
                if type(row) in last:
                    self._say("MultipleInstructionsDisallowed", last[type(row)].node, row.node.name)
                last[type(row)] = row
        self.scopes.append((scope, known))

    def _instruction(self, stage: Stage, row: v.Instruction) -> None:
        node = row.node
        if isinstance(row, v.Maintainer):
            self._say("MaintainerDeprecated", node)
        elif isinstance(row, v.Shell):
            self.shells.add(stage.index)
        elif isinstance(row, v.Cmd | v.Entrypoint):
            if row.command.is_shell and stage.index not in self.shells:
                self._say("JSONArgsRecommended", node, node.name)
        elif isinstance(row, v.Workdir):
            if stage.index not in self.workdirs and not row.path.startswith("/"):
                self._say("WorkdirRelativePath", node, row.path)
            self.workdirs.add(stage.index)
        elif isinstance(row, v.Arg):
            self._described(node, "ARG", [name for name, _ in row.arguments])
            self._secrets(node, "ARG", [name for name, _ in row.arguments])
        elif isinstance(row, v.Env | v.Label):
            if any(pair.legacy for pair in row.pairs):
                self._say("LegacyKeyValueFormat", node, node.name)
            if isinstance(row, v.Env):
                self._secrets(node, "ENV", [pair.name for pair in row.pairs])
        elif isinstance(row, v.Expose):
            self._ports(row)
        elif isinstance(row, v.Transfer):
            self._transfer(row)

    def _secrets(self, node: Node, what: str, names: Iterable[str]) -> None:
        for name in names:
            if SECRET.search(name) and not NO_SECRET.search(name):
                self._say("SecretsUsedInArgOrEnv", node, what, name)

    def _ports(self, row: v.Expose) -> None:
        for port in row.ports:
            if port.protocol != port.protocol.lower():
                self._say("ExposeProtoCasing", row.node, port.word)
            if port.mapped:
                self._say("ExposeInvalidFormat", row.node, port.word)

    def _transfer(self, row: v.Transfer) -> None:
        """Whether a source is left out of the context, which only patterns without ! can tell for sure."""
        if self.ignore is None or (isinstance(row, v.Copy) and row.origin):
            return
        for word in row.sources:
            source = clean(word)
            if isinstance(row, v.Add) and ("://" in word or word.startswith("git@")):
                continue
            if source in (".", "/"):
                ignored = any(pattern.text in EVERYTHING for pattern in self.ignore.patterns)
            else:
                ignored = self.ignore.ignores(source)
            if ignored:
                self._say(
                    "CopyIgnoredFile", row.node, "Add" if isinstance(row, v.Add) else "Copy", source
                )


def _is_image(name: str) -> bool:
    if name.startswith(HOST):
        return True
    try:
        reference.parse(name)
    except UsageError:
        return False
    return True


def _meant(name: str, known: Iterable[str], sign: str = "") -> str:
    found = closest(name, known)
    return f" (did you mean {sign}{found}?)" if found else ""
