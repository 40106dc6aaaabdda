"""sampan port."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import latest_id
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import NotFoundError, UsageError

VERB = Verb(
    "port",
    "Show the published ports of a container (no network of sampan publishes any yet)",
    "CONTAINER [PORT[/PROTOCOL]]",
    [
        Option("--all -a", FLAG, "Of all running containers"),
        Option("--latest -l", FLAG, "The container that was created last"),
    ],
    maximum=2,
)


def main(words: list[str]) -> int:
    values, arguments = parse(VERB, words)
    engine = make_engine()
    if values["all"]:
        if arguments:
            raise UsageError("sampan port", "no arguments are needed with --all")
        return 0
    if values["latest"]:
        arguments.insert(0, latest_id(engine))
    if not arguments:
        raise UsageError("sampan port", "you must supply a running container name or id")
    engine.containers.get(arguments[0])
    if len(arguments) > 1:
        port, _, protocol = arguments[1].partition("/")
        if not (port.isascii() and port.isdigit()) or protocol not in ("", "tcp", "udp", "sctp"):
            raise UsageError(f"invalid port {arguments[1]!r}", "", "PORT[/tcp|udp|sctp]")
        raise NotFoundError(f'failed to find published port "{port}/{protocol or "tcp"}"')
    return 0
