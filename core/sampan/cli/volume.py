"""sampan volume: data that outlives containers."""

from __future__ import annotations

import os
import sys

from sampan.cli.confirm import agreed
from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse
from sampan.errors import NotFoundError, SampanError, UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine import Engine
    from sampan.model.volume import Volume

FILTER = Option(
    "--filter",
    LIST,
    "Only what matches: name, driver, label, opt, dangling, until, anonymous",
    "KEY=VALUE",
)
CREATE = Verb(
    "volume create",
    "Create a volume",
    "[NAME]",
    [
        Option("--driver -d", help="Volume driver", default="local", metavar="NAME"),
        Option("--ignore", FLAG, "A volume that is there already is no error"),
        Option("--label -l", LIST, "Set a label", "KEY=VALUE"),
        Option("--opt -o", LIST, "Option of the driver (local: type, device, o)", "KEY=VALUE"),
    ],
    maximum=1,
)
LS = Verb(
    "volume ls",
    "List volumes",
    "",
    [
        Option("--filter -f", LIST, FILTER.help, "KEY=VALUE"),
        Option("--format", help="table, json or a Go template", metavar="FORMAT"),
        Option("--noheading -n", FLAG, "Show no headings"),
        Option("--quiet -q", FLAG, "Show names alone"),
    ],
    maximum=0,
)
INSPECT = Verb(
    "volume inspect",
    "Show volumes in detail",
    "[NAME...]",
    [
        Option("--all -a", FLAG, "Show all volumes"),
        Option("--format -f", help="json or a Go template", metavar="FORMAT"),
    ],
)
EXISTS = Verb(
    "volume exists", "Leave with 0 if the volume exists, 1 if not", "NAME", [], minimum=1, maximum=1
)
RM = Verb(
    "volume rm",
    "Remove volumes",
    "[NAME...]",
    [
        Option("--all -a", FLAG, "Remove all volumes"),
        Option(
            "--force -f",
            FLAG,
            "Remove the containers that use it too; a missing volume is no error",
        ),
        Option("--time -t", INTEGER, "Seconds before such containers are killed", default=10),
    ],
)
PRUNE = Verb(
    "volume prune",
    "Remove the volumes that no container has",
    "",
    [
        Option("--all -a", FLAG, "(for compatibility; named volumes go, too)"),
        FILTER,
        Option("--force -f", FLAG, "Do not ask"),
    ],
    maximum=0,
)
EXPORT = Verb(
    "volume export",
    "Write a volume's content as tar",
    "NAME",
    [Option("--output -o", help="Write to a file instead of standard output", metavar="FILE")],
    minimum=1,
    maximum=1,
)
IMPORT = Verb(
    "volume import", "Unpack a tar archive into a volume", "NAME FILE|-", [], minimum=2, maximum=2
)
MOUNT = Verb(
    "volume mount", "(refused: a volume is mounted in containers alone)", "NAME", [], minimum=1
)
COLUMNS = [("DRIVER", "Driver"), ("VOLUME NAME", "Name")]
WARNING = (
    "WARNING! This will remove all volumes not used by at least one container. "
    "The following volumes will be removed:"
)


def main(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(_overview())
        if not words:
            raise UsageError("missing command 'sampan volume COMMAND'")
        return 0
    if words[0] not in VERBS:
        raise UsageError(
            f"unrecognized command 'sampan volume {words[0]}'", "", "see 'sampan volume --help'"
        )
    verb, action = VERBS[words[0]]
    values, names = parse(verb, words[1:])
    return action(values, names)


def _create(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine import volumes
    from sampan.model import options
    from sampan.store.volumes import VolumeExistsError

    name = names[0] if names else ""
    engine = make_engine()
    volumes.tidy(engine)
    try:
        made = volumes.create(
            engine,
            name,
            driver=values["driver"],
            options=options.pairs(values["opt"], "volume option"),
            labels=options.pairs(values["label"], "label"),
        )
    except VolumeExistsError:
        if not values["ignore"]:
            raise
        print(name)
        return 0
    print(made.name)
    return 0


def _ls(values: dict[str, Any], _: list[str]) -> int:
    from sampan.cli.format import render_rows

    engine = make_engine()
    rows = _rows(engine, values["filter"])
    if values["quiet"] and not values["format"]:
        for row in rows:
            print(row["Name"])
        return 0
    text = render_rows(
        values["format"], rows, COLUMNS, heading=bool(rows) and not values["noheading"]
    )
    if text:
        print(text)
    return 0


def _rows(engine: Engine, filters: list[str]) -> list[dict[str, Any]]:
    from sampan.engine.volume_filters import select
    from sampan.engine.volumes import described

    return described(engine, select(engine, filters))


def _inspect(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine.volumes import described

    engine = make_engine()
    if values["all"] == bool(names):
        raise UsageError(
            "sampan volume inspect", "give names or --all", "see 'sampan volume inspect --help'"
        )
    found: list[Volume] = list(engine.volumes.all()) if values["all"] else []
    status = 0
    for name in names:
        try:
            found.append(engine.volumes.find(name))
        except NotFoundError as error:
            _tell(error)
            status = 125
    documents = described(engine, found)
    if values["format"] and values["format"] != "json":
        from sampan.cli.format import render

        for document in documents:
            print(render(values["format"], document))
        return status
    from sampan.cli.format import json_text

    print(json_text(documents))
    return status


def _exists(_: dict[str, Any], names: list[str]) -> int:
    return 0 if make_engine().volumes.exists(names[0]) else 1


def _rm(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine import volumes

    if values["all"] == bool(names):
        raise UsageError("sampan volume rm", "choose either explicit volumes or all")
    engine = make_engine()
    volumes.tidy(engine)
    status = 0
    for name in names or engine.volumes.names():
        try:
            print(
                volumes.remove(engine, name, force=values["force"], timeout=values["time"]),
                flush=True,
            )
        except NotFoundError as error:
            if not values["force"]:
                _tell(error)
                status = 1
        except SampanError as error:
            _tell(error)
            status = error.exit_status
    return status


def _prune(values: dict[str, Any], _: list[str]) -> int:
    from sampan.engine import volumes
    from sampan.engine.volume_filters import select

    engine = make_engine()
    unused = {volume.name for volume in volumes.unused(engine)}
    chosen: list[str] = []
    for volume in select(engine, values["filter"]):
        os.close(volume.fd)
        if volume.name in unused:
            chosen.append(volume.name)
    if not values["force"]:
        print(WARNING)
        if not chosen:
            print("No dangling volumes found")
            return 0
        print("\n".join(chosen))
        if not agreed():
            return 0
    for name in volumes.prune(engine, chosen):
        print(name)
    return 0


def _export(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine.volume_archive import export

    path: str | None = values["output"]
    if not path and os.isatty(1):
        raise UsageError(
            "sampan volume export", "a terminal is no place for an archive", "--output FILE"
        )
    engine = make_engine()
    volume = engine.volumes.find(names[0])
    try:
        out = (
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
            if path
            else 1
        )
    except OSError as error:
        raise SampanError(f"cannot write {path}", error.strerror or str(error)) from None
    export(engine, volume, out)
    return 0


def _import(_: dict[str, Any], names: list[str]) -> int:
    from sampan.engine.volume_archive import unpack

    name, path = names
    engine = make_engine()
    volume = engine.volumes.find(name)
    try:
        source = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SampanError(f"cannot read {path}", error.strerror or str(error)) from None
    unpack(engine, volume, source)
    return 0


def _mount(_: dict[str, Any], names: list[str]) -> int:
    os.close(make_engine().volumes.find(names[0]).fd)
    raise UnsupportedError(
        f"cannot mount volume {names[0]} on the host",
        "without privilege a mount is only in the namespaces of a container",
        f"sampan volume inspect -f {{{{.Mountpoint}}}} {names[0]} tells where its data is",
    )


def _tell(error: SampanError) -> None:
    sys.stdout.flush()
    os.write(2, f"Error: {error}\n".encode(errors="backslashreplace"))


VERBS: dict[str, tuple[Verb, Callable[[dict[str, Any], list[str]], int]]] = {
    "create": (CREATE, _create),
    "exists": (EXISTS, _exists),
    "export": (EXPORT, _export),
    "import": (IMPORT, _import),
    "inspect": (INSPECT, _inspect),
    "list": (LS, _ls),
    "ls": (LS, _ls),
    "mount": (MOUNT, _mount),
    "prune": (PRUNE, _prune),
    "remove": (RM, _rm),
    "rm": (RM, _rm),
    "unmount": (MOUNT, _mount),
}


def _overview() -> str:
    rows = [f"  {name:10}{verb.summary}" for name, (verb, _) in sorted(VERBS.items())]
    head = ["Manage volumes", "", "Usage:", "  sampan volume [command]", "", "Available Commands:"]
    return "\n".join([*head, *rows])
