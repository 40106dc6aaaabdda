"""sampan events: what happened, and what is happening."""

from __future__ import annotations

import json
import time

from sampan.cli.context import engine as make_engine
from sampan.cli.format import escape_lines
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.model import times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERB = Verb(
    "events",
    "Show what happens to containers, images and volumes",
    "",
    [
        Option("--filter -f", LIST, "Only what matches", "KEY=VALUE"),
        Option("--format", help="json or a Go template", metavar="FORMAT"),
        Option("--no-trunc", FLAG, "Do not shorten ids", default=True),
        Option("--since", help="Begin with what was told after", metavar="TIME"),
        Option("--stream", FLAG, "Go on with what is being told", default=True),
        Option("--until", help="End with what was told before", metavar="TIME"),
    ],
    maximum=0,
)


def main(words: list[str]) -> int:
    from sampan.engine.event_log import read

    values, _ = parse(VERB, words)
    until = times.moment(values["until"]) if values["until"] else None
    engine = make_engine()
    template = None
    if values["format"] and values["format"] not in ("json", "{{json .}}", "{{ json . }}"):
        from sampan.cli.template import Template

        template = Template(values["format"])
    for event in read(
        engine,
        since=times.moment(values["since"]) if values["since"] else None,
        until=until,
        filters=values["filter"],
        follow=values["stream"] and (until is None or until > time.time()),
    ):
        if template is not None:
            print(template.render(row(event), escape_lines).removesuffix("\n"), flush=True)
        elif values["format"]:
            print(json.dumps(row(event)), flush=True)
        else:
            print(escape_lines(_line(event, full=values["no_trunc"])), flush=True)
    return 0


def row(event: dict[str, Any]) -> dict[str, Any]:
    """What templates may name, and what JSON shows: podman's keys and Docker's."""
    attributes = event["attributes"]
    shown: dict[str, Any] = {
        "ID": event["id"],
        "Image": attributes.get("image", ""),
        "Name": event["name"],
        "Status": event["status"],
        "Time": _time(event),
        "Type": event["type"],
        "Attributes": attributes,
        "Action": event["status"],
        "Actor": {
            "ID": event["id"] or event["name"],
            "Attributes": {**attributes, "name": event["name"]},
        },
        "TimeNano": event["time"],
    }
    if "containerExitCode" in attributes:
        shown["ContainerExitCode"] = attributes["containerExitCode"]
    if "health_status" in attributes:
        shown["HealthStatus"] = attributes["health_status"]
    return shown


def _time(event: dict[str, Any]) -> str:
    """podman's: 2026-01-31 12:00:00.123456789 +0000 UTC, in local time."""
    seconds, rest = divmod(event["time"], 1_000_000_000)
    moment = time.localtime(seconds)
    return time.strftime(f"%Y-%m-%d %H:%M:%S.{rest:09d} %z %Z", moment)


def _line(event: dict[str, Any], *, full: bool) -> str:
    identity = event["id"] if full or len(event["id"]) != 64 else event["id"][:12]
    head = f"{_time(event)} {event['type']} {event['status']}"
    if event["type"] != "container":
        name = "" if event["type"] == "volume" and event["name"] == event["id"] else event["name"]
        return " ".join(part for part in (head, identity, name) if part)
    attributes = {"image": "", "name": event["name"], **event["attributes"]}
    told = ", ".join(f"{key}={value}" for key, value in attributes.items())
    return f"{head} {identity} ({told})"
