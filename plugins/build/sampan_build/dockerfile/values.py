"""Instructions as values: what each says, and in which of its words variables are expanded."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from sampan.errors import SampanError
from sampan.model.options import signal_number
from sampan_build.dockerfile import mounts, ports
from sampan_build.dockerfile.arguments import ArgumentError, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from sampan_build.dockerfile.mounts import Mount
    from sampan_build.dockerfile.parser import Heredoc, Node
    from sampan_build.dockerfile.ports import Ports
    from sampan_build.dockerfile.words import Expander

SYMBOLIC_MODE = re.compile(
    r"[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+(?:,[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+)*"
)


@dataclass(frozen=True)
class Instruction:
    """What every instruction has: the node that it was read from."""

    node: Node = field(repr=False, compare=False)

    def expanded(self, expander: Expander) -> Self:
        """The instruction with its variables; ArgumentError or WordError."""
        return self


@dataclass(frozen=True)
class Pair:
    """name=value; legacy is the form `ENV name value`."""

    name: str
    value: str
    legacy: bool = False


@dataclass(frozen=True)
class Command:
    """A command line: words to be executed, or one text for the shell; heredocs of RUN."""

    words: tuple[str, ...]
    is_shell: bool
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True)
class From(Instruction):
    """The begin of a stage; name is in lower case, "" without AS.  The file's own words: stages expands them."""

    base: str
    name: str = ""
    platform: str = ""


@dataclass(frozen=True)
class Run(Instruction):
    """mount_words are the values of --mount, mounts what they say once variables are known."""

    command: Command
    mount_words: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()  # stages and images that the mounts take files from
    network: str = "default"
    security: str = "sandbox"
    mounts: tuple[Mount, ...] = ()

    def expanded(self, expander: Expander) -> Self:
        return replace(
            self, mounts=tuple(mounts.read(word, expander.word) for word in self.mount_words)
        )


@dataclass(frozen=True)
class Transfer(Instruction):
    """What COPY and ADD have in common.  contents are files whose text is a heredoc."""

    sources: tuple[str, ...]
    destination: str
    contents: tuple[Heredoc, ...] = ()
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()

    def expanded(self, expander: Expander) -> Self:
        chmod = expander.word(self.chmod)
        check_mode(chmod)
        return replace(
            self,
            sources=tuple(map(expander.word, self.sources)),
            destination=expander.word(self.destination),
            contents=tuple(
                replace(doc, content=expander.body(doc.text()), chomp=False, expand=False)
                if doc.expand
                else doc
                for doc in self.contents
            ),
            chown=expander.word(self.chown),
            chmod=chmod,
        )


@dataclass(frozen=True)
class Copy(Transfer):
    """origin is the stage, its number, or the image of --from; "" is the context."""

    origin: str = ""
    parents: bool = False


@dataclass(frozen=True)
class Add(Transfer):
    """keep_git_dir and unpack are None where they are not said."""

    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None

    def expanded(self, expander: Expander) -> Self:
        found = replace(super().expanded(expander), checksum=expander.word(self.checksum))
        if found.checksum and len(found.sources) != 1:
            raise ArgumentError(
                "checksum can't be specified for multiple sources", "write an ADD for each"
            )
        return found


@dataclass(frozen=True)
class Env(Instruction):
    pairs: tuple[Pair, ...]

    def expanded(self, expander: Expander) -> Self:
        return replace(self, pairs=_expanded_pairs(self.pairs, expander))


@dataclass(frozen=True)
class Label(Instruction):
    pairs: tuple[Pair, ...]

    def expanded(self, expander: Expander) -> Self:
        return replace(self, pairs=_expanded_pairs(self.pairs, expander))


@dataclass(frozen=True)
class Arg(Instruction):
    """(name, default) each, None without a default; stages decides which defaults are expanded."""

    arguments: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class Workdir(Instruction):
    path: str

    def expanded(self, expander: Expander) -> Self:
        return replace(self, path=expander.word(self.path))


@dataclass(frozen=True)
class User(Instruction):
    user: str

    def expanded(self, expander: Expander) -> Self:
        return replace(self, user=expander.word(self.user))


@dataclass(frozen=True)
class Volume(Instruction):
    paths: tuple[str, ...]

    def expanded(self, expander: Expander) -> Self:
        paths = tuple(map(expander.word, self.paths))
        if not all(paths):
            raise ArgumentError("VOLUME specified can not be an empty string", "name a path")
        return replace(self, paths=paths)


@dataclass(frozen=True)
class Expose(Instruction):
    """words as they are written; ports what they say once variables are known."""

    words: tuple[str, ...]
    ports: tuple[Ports, ...] = ()

    def expanded(self, expander: Expander) -> Self:
        found = [ports.read(word) for text in self.words for word in expander.words(text)]
        return replace(self, ports=tuple(found))


@dataclass(frozen=True)
class Cmd(Instruction):
    command: Command


@dataclass(frozen=True)
class Entrypoint(Instruction):
    command: Command


@dataclass(frozen=True)
class Shell(Instruction):
    words: tuple[str, ...]


@dataclass(frozen=True)
class StopSignal(Instruction):
    signal: str

    def expanded(self, expander: Expander) -> Self:
        signal = expander.word(self.signal)
        try:
            signal_number(signal)
        except SampanError as error:
            raise ArgumentError(str(error), "", self.signal) from None
        return replace(self, signal=signal)


@dataclass(frozen=True)
class Healthcheck(Instruction):
    """test as the image's configuration has it; times in nanoseconds, 0 for the default."""

    test: tuple[str, ...]
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


@dataclass(frozen=True)
class Onbuild(Instruction):
    """expression is what the image keeps, trigger the instruction that it says."""

    expression: str
    trigger: Instruction


@dataclass(frozen=True)
class Maintainer(Instruction):
    name: str


def check_mode(text: str) -> None:
    """Refuse what is no mode of --chmod: octal up to 7777, or symbolic as chmod takes it."""
    if not text or (text.strip("01234567") == "" and len(text) < 12 and int(text, 8) <= 0o7777):
        return
    if not SYMBOLIC_MODE.fullmatch(text) or len(text) > 256:
        what = (
            f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
        )
        raise ArgumentError(what, "or symbolic, such as u=rwX,go=rX", text)


def _expanded_pairs(pairs: tuple[Pair, ...], expander: Expander) -> tuple[Pair, ...]:
    found = tuple(
        Pair(expander.word(pair.name), expander.word(pair.value), pair.legacy) for pair in pairs
    )
    for pair in found:
        if not pair.name:
            raise ArgumentError(f"a name is empty ({quote('=' + pair.value)})", "write NAME=VALUE")
    return found
