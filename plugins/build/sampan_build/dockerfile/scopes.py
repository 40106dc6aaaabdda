"""Which variables an instruction sees: arguments of the whole file, of a stage, and ENV."""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.instructions import located
from sampan_build.dockerfile.words import Expander

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sampan.model.platform import Platform
    from sampan_build.dockerfile.parser import Document

# Given with --build-arg they are in the environment of RUN without ARG, and neither in the history nor in the cache.
PROXIES = "http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"


def predefined(build: Platform, target: Platform, stage: str = "") -> dict[str, str]:
    """The arguments that exist without ARG: FROM sees them, a stage once it declares them."""
    found: dict[str, str] = {}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        found[f"{prefix}PLATFORM"] = str(platform)
        found[f"{prefix}OS"] = platform.os
        found[f"{prefix}OSVERSION"] = ""
        found[f"{prefix}ARCH"] = platform.architecture
        found[f"{prefix}VARIANT"] = platform.variant
    return {**found, "TARGETSTAGE": stage or "default"}


def proxies(given: Mapping[str, str]) -> dict[str, str]:
    """The environment that RUN has because of --build-arg alone, in both spellings."""
    found = {
        name.lower(): value for name, value in sorted(given.items()) if name.lower() in PROXIES
    }
    return {**found, **{name.upper(): value for name, value in found.items()}}


def global_variables(
    document: Document,
    declared: Iterable[v.Arg],
    given: Mapping[str, str],
    known: Mapping[str, str],
) -> dict[str, str]:
    """The variables of FROM: what is predefined (known), then the ARGs before it, as given or by default."""
    variables = dict(known)
    for arg in declared:
        for name, default in arg.arguments:
            value = given.get(name)
            if value is None and default is not None:
                with located(arg.node, document.source):
                    value = Expander(document.escape, variables).word(default)
            if value is not None:
                variables[name] = value
    return variables


@dataclass(slots=True)
class Scope:
    """The variables of a stage, which its instructions change one after the other.

    variables are what words are expanded with and what RUN has: the base's environment, ENV, and ARGs with a
    value.  arguments are the ARGs that are declared, in order, None without a value.
    """

    document: Document
    given: Mapping[str, str]
    globals: Mapping[str, str]
    variables: dict[str, str] = field(default_factory=lambda: dict[str, str]())
    arguments: dict[str, str | None] = field(default_factory=lambda: dict[str, str | None]())
    unmatched: set[str] = field(
        default_factory=lambda: set[str]()
    )  # of the instruction that was entered last

    def child(self) -> Scope:
        """The scope that a stage made `FROM` this one begins with."""
        return Scope(
            self.document, self.given, self.globals, dict(self.variables), dict(self.arguments)
        )

    def enter(self, instruction: v.Instruction) -> v.Instruction:
        """The instruction with its variables, which later ones see as it leaves them; DockerfileError."""
        expander = Expander(self.document.escape, self.variables)
        with located(instruction.node, self.document.source):
            if isinstance(instruction, v.Arg):
                instruction = self._declare(instruction, expander)
            else:
                instruction = instruction.expanded(expander)
        # What is declared without a value is no mistake.
        self.unmatched = expander.unmatched - set(self.arguments)
        if isinstance(instruction, v.Env):
            self.variables.update((pair.name, pair.value) for pair in instruction.pairs)
        return instruction

    def _declare(self, arg: v.Arg, expander: Expander) -> v.Arg:
        """ARG with the values that hold: of --build-arg, its default, or what is known before the first FROM."""
        found: list[tuple[str, str | None]] = []
        for name, default in arg.arguments:
            value = self.given.get(name)
            if value is None:
                value = self.globals.get(name) if default is None else expander.word(default)
            if value is not None:
                self.variables[name] = value
            self.arguments[name] = value
            found.append((name, value))
        return v.Arg(arg.node, tuple(found))

    def history(self) -> list[str]:
        """What the history of RUN begins with: `|2 A=1 B=2` as words; empty without arguments."""
        words = [
            f"{name}={self.variables.get(name, value or '')}"
            for name, value in self.arguments.items()
        ]
        return [f"|{len(words)}", *words] if words else []
