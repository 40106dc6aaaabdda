"""sampan port."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.each import latest_id
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import NotFoundError, UsageError
from sampan.model import ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.model.ports import Port
    from sampan.store.containers import Container

VERB = Verb(
    "port",
    "Show the published ports of a container",
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
        for container in engine.containers.all():
            if container.live:
                _show(container, f"{container.id[:12]}\t")
        return 0
    if values["latest"]:
        arguments.insert(0, latest_id(engine))
    if not arguments:
        raise UsageError("sampan port", "you must supply a running container name or id")
    container = engine.containers.get(arguments[0])
    if len(arguments) > 1:
        _show_one(container, arguments[1])
    else:
        _show(container)
    return 0


def _published(container: Container) -> list[Port]:
    """What it publishes, if it runs."""
    return container.record["options"].get("ports", []) if container.live else []


def _show(container: Container, prefix: str = "") -> None:
    for port in _published(container):
        print(f"{prefix}{ports.inside(port)} -> {ports.outside(port)}")


def _show_one(container: Container, word: str) -> None:
    number, _, protocol = word.partition("/")
    if not (number.isascii() and number.isdigit()) or protocol not in ("", "tcp", "udp", "sctp"):
        raise UsageError(f"invalid port {word!r}", "", "PORT[/tcp|udp|sctp]")
    wanted = f"{number}/{protocol or 'tcp'}"
    found = [port for port in _published(container) if ports.inside(port) == wanted]
    if not found:
        raise NotFoundError(f'failed to find published port "{wanted}"')
    for port in found:
        print(ports.outside(port))
