"""sampan ps."""

from __future__ import annotations

import time

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse
from sampan.errors import UsageError
from sampan.model import times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.containers import Container

VERB = Verb(
    "ps",
    "List containers",
    "",
    [
        Option("--all -a", FLAG, "Show all containers, not only the running ones"),
        Option("--external", FLAG, "Show containers of other tools in the store (there are none)"),
        Option("--filter -f", LIST, "Show only what matches", "KEY=VALUE"),
        Option("--format", help="table, json or a Go template", metavar="FORMAT"),
        Option("--last -n", INTEGER, "Show the last N created", default=-1),
        Option("--latest -l", FLAG, "Show the last created"),
        Option("--no-trunc", FLAG, "Do not shorten ids and commands"),
        Option("--noheading", FLAG, "Show no headings"),
        Option("--quiet -q", FLAG, "Show ids alone"),
        Option("--size -s", FLAG, "Show the size of what a container changed"),
        Option(
            "--sort",
            help="command, created, id, image, names, runningfor, status (default: the newest first)",
        ),
    ],
    maximum=0,
)
SHORTEST_ID = 4  # of a network: digits that are no name by chance
COLUMNS = [
    ("CONTAINER ID", "ID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("CREATED", "CreatedHuman"),
    ("STATUS", "Status"),
    ("PORTS", "Ports"),
    ("NAMES", "Names"),
]


def main(words: list[str]) -> int:
    values, _ = parse(VERB, words)
    engine = make_engine()
    found = list(engine.containers.all())
    filters = parse_filters(values["filter"])
    everything = values["all"] or values["last"] >= 0 or values["latest"] or "status" in filters
    if not everything:
        found = [container for container in found if container.run]
    found = [container for container in found if matches(container, filters, found)]
    found.reverse()
    count = 1 if values["latest"] else values["last"]
    if count >= 0:
        found = found[:count]
    found = _sorted(found, values["sort"])
    if values["quiet"] and not values["format"]:
        for container in found:
            print(container.id if values["no_trunc"] else container.id[:12])
        return 0
    rows = [row(container, full=values["no_trunc"]) for container in found]
    if values["size"]:
        _sizes(engine, found, rows)
    if values["format"] != "json":  # a template shows them as Docker's does
        for entry in rows:
            entry["Networks"] = ",".join(entry["Networks"])
    from sampan.cli.format import render_rows

    columns = COLUMNS + ([("SIZE", "Size")] if values["size"] else [])
    text = render_rows(values["format"], rows, columns, heading=not values["noheading"])
    if text:
        print(text)
    return 0


def _sorted(found: list[Container], key: str | None) -> list[Container]:
    if not key:
        return found
    keys: dict[str, Callable[[Container], str] | None] = {
        "created": lambda c: c.record["created"],
        "runningfor": None,
        "id": lambda c: c.id,
        "image": lambda c: c.record["image"]["name"],
        "names": lambda c: c.name,
        "command": lambda c: command_of(c),
        "status": lambda c: c.state,
    }
    if key not in keys:
        raise UsageError(f"invalid sort key {key!r}", "", f"one of {', '.join(keys)}")
    chosen = keys[key]
    return sorted(found, key=chosen) if chosen else found


def command_of(container: Container) -> str:
    return " ".join(container.record["args"])


def row(container: Container, *, full: bool) -> dict[str, Any]:
    """What templates and tables may name."""
    record = container.record
    command = command_of(container)
    if not full and len(command) > 20:
        command = command[:20] + "..."
    created = times.parse(record["created"])
    return {
        "ID": container.id if full else container.id[:12],
        "Id": container.id,
        "Image": record["image"]["name"],
        "ImageID": record["image"]["id"].partition(":")[2],
        "Command": command,
        "Created": int(created),
        "CreatedAt": record["created"],
        "CreatedHuman": times.ago(time.time() - created),
        "RunningFor": times.ago(time.time() - created),
        "Status": status_of(container),
        "State": container.state,
        "Exited": container.state == "exited",
        "ExitCode": container.exit["code"] if container.exit else 0,
        "ExitedAt": int(times.parse(container.exit["finished"])) if container.exit else 0,
        "StartedAt": int(times.parse(container.run["started"])) if container.run else 0,
        "Pid": container.run["pid"] if container.run else 0,
        "Ports": _ports(container),
        "Names": container.name,
        "Labels": record["options"]["labels"],
        "Mounts": [mount["destination"] for mount in record["options"]["mounts"]],
        "Networks": network_names(container),
        "Pod": "",
        "PodName": "",
        "Size": "",
    }


def network_names(container: Container) -> list[str]:
    """Of what it is on: networks, or one of the modes."""
    options = container.record["options"]
    if "networks" in options:
        return [end["name"] for end in options["networks"]]
    return [options["network"]]


def _ports(container: Container) -> str:
    published = container.record["options"].get("ports")
    if not (published and container.live):
        return ""
    from sampan.model import ports

    return ports.shown(published)


def status_of(container: Container) -> str:
    """Docker's words: Up 5 minutes, Exited (0) 2 seconds ago, Created."""
    now = time.time()
    if container.live and container.run:
        health = f" ({container.health})" if container.health else ""
        health = " (Paused)" if container.state == "paused" else health
        return f"Up {times.span(now - times.parse(container.run['started']))}{health}"
    if container.exit:
        code = container.exit["code"]
        since = times.ago(now - times.parse(container.exit["finished"]))
        if container.state == "restarting":
            return f"Restarting ({code}) {since}"
        return f"Exited ({'unknown' if code is None else code}) {since}"
    return "Created"


def parse_filters(words: list[str]) -> dict[str, list[str]]:
    known = (
        "id",
        "name",
        "status",
        "label",
        "ancestor",
        "exited",
        "before",
        "since",
        "network",
        "volume",
        "health",
        "pod",
        "restart-policy",
        "should-start-on-boot",
        "until",
    )
    result: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            raise UsageError(f"invalid filter {word!r}", "", f"KEY=VALUE with {', '.join(known)}")
        result.setdefault(key, []).append(value)
    return result


def select(engine: Engine, words: list[str], filters: list[str]) -> list[str]:
    """Those of the containers that the filters let through."""
    wanted = parse_filters(filters)
    everyone = list(engine.containers.all())
    return [word for word in words if matches(engine.containers.get(word), wanted, everyone)]


def matches(container: Container, filters: dict[str, list[str]], everyone: list[Container]) -> bool:
    """Every key must match; of several values of one key, one."""
    return all(
        any(_matches(container, key, value, everyone) for value in wanted)
        for key, wanted in filters.items()
    )


def _matches(container: Container, key: str, value: str, everyone: list[Container]) -> bool:
    record = container.record
    if key == "id":
        return container.id.startswith(value)
    if key == "name":
        import re

        try:
            return re.search(value, container.name) is not None
        except re.error as error:
            raise UsageError(f"invalid filter name={value}", str(error)) from None
    if key == "status":
        return container.state == {"stopped": "exited", "configured": "created"}.get(value, value)
    if key == "pod":
        return False  # nothing has one
    if key == "health":
        return (container.health or "none") == value
    if key == "restart-policy":
        from sampan.model.restart import POLICIES

        policy = {"none": "no"}.get(value, value)
        if policy not in POLICIES:
            raise UsageError(f"{value} invalid restart policy")
        return container.record["options"]["restart"] == policy
    if key == "should-start-on-boot":
        from sampan.model.restart import after_boot

        starts = after_boot(record["options"]["restart"], stopped=container.stopped)
        return (starts and container.state != "created") == (value == "true")
    if key == "until":
        return times.parse(record["created"]) < times.moment(value)
    if key == "label":
        name, equals, wanted = value.partition("=")
        labels = record["options"]["labels"]
        return name in labels and (not equals or labels[name] == wanted)
    if key == "ancestor":
        image = record["image"]
        names = (
            image["name"],
            image["name"].rpartition(":")[0],
            image["id"],
            image["id"].partition(":")[2],
        )
        return (
            value in names
            or names[3].startswith(value)
            or any(n.endswith("/" + value) for n in names[:2])
        )
    if key == "exited":
        return container.exit is not None and str(container.exit["code"]) == value
    if key in ("before", "since"):
        other = next(
            (c for c in everyone if value in (c.name, c.id) or c.id.startswith(value)), None
        )
        if other is None:
            raise UsageError(f"invalid filter {key}={value}", "no such container")
        mine, its = record["created"], other.record["created"]
        return mine < its if key == "before" else mine > its
    if key == "network":
        ids = [end["id"] for end in record["options"].get("networks", [])]
        return value in network_names(container) or (
            len(value) >= SHORTEST_ID and any(one.startswith(value) for one in ids)
        )
    return any(
        value in (mount["destination"], mount.get("name"), mount.get("source"))
        for mount in record["options"]["mounts"]
    )


def _sizes(engine: Any, found: list[Container], rows: list[dict[str, Any]]) -> None:
    from sampan.engine.usage import snapshot_sizes

    for entry, size in zip(rows, snapshot_sizes(engine, found), strict=True):
        entry["Size"] = size
