"""Nodes as instructions: each is read whole, and what it cannot mean is refused."""

from __future__ import annotations

import re
from contextlib import contextmanager

from sampan.errors import SampanError
from sampan_build.dockerfile import mounts
from sampan_build.dockerfile import values as v
from sampan_build.dockerfile.arguments import ArgumentError, quote
from sampan_build.dockerfile.flags import Flags
from sampan_build.dockerfile.parser import heredoc
from sampan_build.dockerfile.source import SPACE, DockerfileError, Source, nearest
from sampan_build.dockerfile.times import interval

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from sampan_build.dockerfile.parser import Document, Heredoc, Node

    Reader = Callable[[Node, Flags], v.Instruction]

STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*")
ONBUILD = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE | re.ASCII)
NETWORKS = "default", "none", "host"
SECURITIES = "sandbox", "insecure"


def read_all(document: Document) -> list[v.Instruction]:
    """Every instruction of a file; DockerfileError at the first that is wrong."""
    return [read(node, document.source) for node in document.nodes]


def read(node: Node, source: Source) -> v.Instruction:
    """The instruction that a node is."""
    with located(node, source):
        return _read(node)


@contextmanager
def located(node: Node, source: Source) -> Generator[None, None, None]:
    """What is wrong inside is told with the node's place."""
    try:
        yield
    except ArgumentError as error:
        near = error.near or node.name
        raise DockerfileError(
            source, node.start, str(error), "", error.hint, near, node.end
        ) from None
    except DockerfileError:
        raise
    except SampanError as error:
        told = DockerfileError(source, node.start, error.what, error.why, error.hint, end=node.end)
        told.exit_status = error.exit_status
        raise told from None


def _read(node: Node) -> v.Instruction:
    name = node.name.upper()
    entry = READERS.get(name)
    if entry is None:
        raise ArgumentError(f"unknown instruction: {node.name}", nearest(name, READERS), node.name)
    reader, flags = entry
    return reader(node, Flags(node.flags, flags))


def _from(node: Node, flags: Flags) -> v.From:
    words = node.words
    name = ""
    if len(words) == 3 and words[1].lower() == "as":
        name = words[2].lower()
        if not STAGE_NAME.fullmatch(name):
            what = f"invalid name for build stage: {quote(words[2])}, name can't start with a number or contain symbols"
            raise ArgumentError(what, "", words[2])
    elif len(words) != 1:
        hint = (
            "a comment takes a line of its own"
            if "#" in node.original
            else "write FROM IMAGE [AS NAME]"
        )
        raise ArgumentError("FROM requires either one or three arguments", hint)
    return v.From(node, words[0], name, flags.text("platform"))


def _command(node: Node, words: list[str]) -> v.Command:
    return v.Command(tuple(words), not node.is_json, tuple(node.heredocs))


def _run(node: Node, flags: Flags) -> v.Run:
    network, security = flags.text("network", "default"), flags.text("security", "sandbox")
    if network not in NETWORKS:
        raise ArgumentError(
            f"invalid network mode {quote(network)}", nearest(network, NETWORKS), network
        )
    if security not in SECURITIES:
        raise ArgumentError(
            f"security {quote(security)} is not valid", nearest(security, SECURITIES), security
        )
    if node.is_json and not node.words:
        raise ArgumentError(
            "RUN requires at least one argument", 'write RUN ["PROGRAM", "ARGUMENT"...]'
        )
    words = tuple(flags.texts("mount"))
    origins = tuple(dict.fromkeys(name for word in words if (name := mounts.origin(word))))
    return v.Run(node, _command(node, node.words), words, origins, network, security)


def _transfer(node: Node) -> tuple[tuple[str, ...], str, tuple[Heredoc, ...]]:
    """(sources, destination, heredocs that are sources)."""
    name = node.name.upper()
    if len(node.words) < 2:
        what = f"{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        raise ArgumentError(what, f"write {name} SOURCE... DESTINATION")
    *sources, destination = node.words
    if node.is_json:
        return tuple(sources), destination, ()
    if heredoc(destination):
        raise ArgumentError(
            f"{name} cannot accept a heredoc as a destination", "name a path after it", destination
        )
    by_name = {doc.name: doc for doc in node.heredocs}
    found = [(source, heredoc(source)) for source in sources]
    contents = tuple(by_name[doc.name] for _, doc in found if doc and doc.name in by_name)
    return tuple(source for source, doc in found if not doc), destination, contents


def _copy(node: Node, flags: Flags) -> v.Copy:
    return v.Copy(
        node,
        *_transfer(node),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=bool(flags.switch("link")),
        exclude=tuple(flags.texts("exclude")),
        origin=flags.text("from"),
        parents=bool(flags.switch("parents")),
    )


def _add(node: Node, flags: Flags) -> v.Add:
    return v.Add(
        node,
        *_transfer(node),
        chown=flags.text("chown"),
        chmod=flags.text("chmod"),
        link=bool(flags.switch("link")),
        exclude=tuple(flags.texts("exclude")),
        checksum=flags.text("checksum"),
        keep_git_dir=flags.switch("keep-git-dir"),
        unpack=flags.switch("unpack"),
    )


def _pairs(node: Node) -> tuple[v.Pair, ...]:
    words = _some(node)
    pairs = tuple(
        v.Pair(words[at], words[at + 1], not words[at + 2]) for at in range(0, len(words), 3)
    )
    if not all(pair.name for pair in pairs):
        raise ArgumentError(f"{node.name.upper()} names can not be blank", "write NAME=VALUE")
    return pairs


def _arg(node: Node, flags: Flags) -> v.Arg:
    found: list[tuple[str, str | None]] = []
    for word in _some(node):
        name, sign, value = word.partition("=")
        if not name:
            raise ArgumentError("ARG names can not be blank", "write NAME[=DEFAULT]", word)
        found.append((name, value if sign else None))
    return v.Arg(node, tuple(found))


def _volume(node: Node, flags: Flags) -> v.Volume:
    paths = tuple(word.strip(SPACE) for word in _some(node))
    if not all(paths):
        raise ArgumentError("VOLUME specified can not be an empty string", "name a path")
    return v.Volume(node, paths)


def _shell(node: Node, flags: Flags) -> v.Shell:
    words = _some(node)
    if not node.is_json:
        raise ArgumentError(
            "SHELL requires the arguments to be in JSON form", 'such as ["/bin/sh", "-c"]', words[0]
        )
    return v.Shell(node, tuple(words))


def _healthcheck(node: Node, flags: Flags) -> v.Healthcheck:
    kind, *words = _some(node)
    if kind.upper() == "NONE":
        if words:
            raise ArgumentError("HEALTHCHECK NONE takes no arguments", "", words[0])
        return v.Healthcheck(node, ("NONE",))
    if kind.upper() != "CMD":
        raise ArgumentError(
            f"Unknown type {quote(kind.upper())} in HEALTHCHECK (try CMD)", "CMD or NONE", kind
        )
    if not words:
        raise ArgumentError(
            "Missing command after HEALTHCHECK CMD", "write HEALTHCHECK CMD COMMAND", kind
        )
    retries = flags.text("retries")
    if retries and not re.fullmatch(r"[-+]?[0-9]{1,9}", retries):
        raise ArgumentError(f"--retries is no number: {retries}", "", retries)
    if retries.startswith("-") and int(retries):
        raise ArgumentError(f"--retries cannot be negative ({retries})", "", retries)
    return v.Healthcheck(
        node,
        ("CMD" if node.is_json else "CMD-SHELL", *words),
        interval=interval("interval", flags.text("interval")),
        timeout=interval("timeout", flags.text("timeout")),
        start_period=interval("start-period", flags.text("start-period")),
        start_interval=interval("start-interval", flags.text("start-interval")),
        retries=int(retries or 0),
    )


def _onbuild(node: Node, flags: Flags) -> v.Onbuild:
    child = node.child
    if child is None:
        raise ArgumentError("ONBUILD requires at least one argument", "write ONBUILD INSTRUCTION")
    name = child.name.upper()
    if name == "ONBUILD":
        raise ArgumentError(
            "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", "write it once", child.original
        )
    if name in ("MAINTAINER", "FROM"):
        raise ArgumentError(f"{name} isn't allowed as an ONBUILD trigger", "", child.name)
    child.heredocs = node.heredocs
    expression = ONBUILD.sub("", node.original, count=1)
    expression += "".join(f"\n{doc.content}{doc.name}" for doc in node.heredocs)
    return v.Onbuild(node, expression, _read(child))


def _some(node: Node) -> list[str]:
    if not node.words:
        raise ArgumentError(f"{node.name.upper()} requires at least one argument")
    return node.words


def _one(node: Node) -> str:
    if len(node.words) != 1:
        raise ArgumentError(f"{node.name.upper()} requires exactly one argument")
    return node.words[0]


HEALTH = {
    name: "text" for name in ("interval", "timeout", "start-period", "start-interval", "retries")
}
OWNER = {"chown": "text", "chmod": "text", "link": "switch", "exclude": "texts"}
READERS: dict[str, tuple[Reader, dict[str, str]]] = {
    "ADD": (_add, {**OWNER, "checksum": "text", "keep-git-dir": "switch", "unpack": "switch"}),
    "ARG": (_arg, {}),
    "CMD": (lambda node, flags: v.Cmd(node, _command(node, node.words)), {}),
    "COPY": (_copy, {**OWNER, "from": "text", "parents": "switch"}),
    "ENTRYPOINT": (lambda node, flags: v.Entrypoint(node, _command(node, node.words)), {}),
    "ENV": (lambda node, flags: v.Env(node, _pairs(node)), {}),
    "EXPOSE": (lambda node, flags: v.Expose(node, tuple(sorted(_some(node)))), {}),
    "FROM": (_from, {"platform": "text"}),
    "HEALTHCHECK": (_healthcheck, HEALTH),
    "LABEL": (lambda node, flags: v.Label(node, _pairs(node)), {}),
    "MAINTAINER": (lambda node, flags: v.Maintainer(node, _one(node)), {}),
    "ONBUILD": (_onbuild, {}),
    "RUN": (_run, {"mount": "texts", "network": "text", "security": "text"}),
    "SHELL": (_shell, {}),
    "STOPSIGNAL": (lambda node, flags: v.StopSignal(node, _one(node)), {}),
    "USER": (lambda node, flags: v.User(node, _one(node)), {}),
    "VOLUME": (_volume, {}),
    "WORKDIR": (lambda node, flags: v.Workdir(node, _one(node)), {}),
}
