"""sampan secret: what containers may know and images must not hold."""

from __future__ import annotations

import os
import time

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.errors import NotFoundError, SampanError, UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.secrets import Secret

CREATE = Verb(
    "secret create",
    "Keep the content of a file or of standard input",
    "NAME FILE|-",
    [
        Option("--driver -d", help="file", default="file", metavar="NAME"),
        Option("--driver-opts", LIST, "(the driver file has none)", "KEY=VALUE"),
        Option("--env", FLAG, "FILE is the name of an environment variable"),
        Option("--label -l", LIST, "Set a label", "KEY=VALUE"),
        Option("--replace", FLAG, "Replace a secret of that name"),
    ],
    minimum=2,
    maximum=2,
)
LS = Verb(
    "secret ls",
    "List secrets",
    "",
    [
        Option("--filter -f", LIST, "Only what matches: name (regular expression), id", "KEY=VALUE"),
        Option("--format", help="table, json or a Go template", metavar="FORMAT"),
        Option("--noheading --no-heading -n", FLAG, "Show no headings"),
        Option("--quiet -q", FLAG, "Show ids alone"),
    ],
    maximum=0,
)  # fmt: skip
INSPECT = Verb(
    "secret inspect",
    "Show secrets in detail",
    "NAME [NAME...]",
    [
        Option("--format -f", help="json or a Go template", metavar="FORMAT"),
        Option("--pretty", FLAG, "Show them for people to read"),
        Option("--showsecret", FLAG, "Show the content, too"),
    ],
    minimum=1,
)
RM = Verb(
    "secret rm",
    "Remove secrets; containers keep their copies",
    "[NAME...]",
    [
        Option("--all -a", FLAG, "Remove all secrets"),
        Option("--ignore -i", FLAG, "A missing secret is no error"),
    ],
)
EXISTS = Verb(
    "secret exists", "Leave with 0 if the secret exists, 1 if not", "NAME", [], minimum=1, maximum=1
)
COLUMNS = [
    ("ID", "ID"),
    ("NAME", "Name"),
    ("DRIVER", "Driver"),
    ("CREATED", "CreatedAt"),
    ("UPDATED", "UpdatedAt"),
]


def main(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(_overview())
        if not words:
            raise UsageError("missing command 'sampan secret COMMAND'")
        return 0
    if words[0] not in VERBS:
        raise UsageError(
            f"unrecognized command 'sampan secret {words[0]}'", "", "see 'sampan secret --help'"
        )
    verb, action = VERBS[words[0]]
    values, names = parse(verb, words[1:])
    return action(values, names)


def _create(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine import secrets
    from sampan.model import options

    if values["driver"] != "file" or values["driver_opts"]:
        raise UnsupportedError(
            f"secret driver {values['driver']}", "sampan has the driver file alone, without options"
        )
    labels = options.pairs(values["label"], "label")
    data = _variable(names[1]) if values["env"] else _content(names[1])
    print(secrets.create(make_engine(), names[0], data, labels, replace=values["replace"]))
    return 0


def _variable(name: str) -> bytes:
    try:
        return os.environb[os.fsencode(name)]
    except KeyError:
        raise UsageError(f"--env {name}", "there is no such environment variable") from None


def _content(path: str) -> bytes:
    """At most a byte more than a secret may have."""
    from sampan.model.secret import MAX_SIZE

    try:
        fd = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            return file.read(MAX_SIZE + 1)
    except OSError as error:
        raise SampanError(
            f"cannot read the secret from {path}", error.strerror or str(error)
        ) from None


def _ls(values: dict[str, Any], _: list[str]) -> int:
    from sampan.cli.format import render_rows

    rows = [_row(secret) for secret in _select(make_engine(), values["filter"])]
    if values["quiet"] and not values["format"]:
        for row in rows:
            print(row["ID"])
        return 0
    text = render_rows(values["format"], rows, COLUMNS, heading=not values["noheading"])
    if text:
        print(text)
    return 0


def _row(secret: Secret) -> dict[str, Any]:
    from sampan.model import times

    now = time.time()
    return {
        "ID": secret.id,
        "Name": secret.name,
        "Driver": "file",
        "Labels": secret.labels,
        "CreatedAt": times.ago(now - times.parse(secret.created)),
        "UpdatedAt": times.ago(now - times.parse(secret.updated)),
    }


def _select(engine: Engine, filters: list[str]) -> list[Secret]:
    import re

    wanted: dict[str, list[str]] = {}
    for word in filters:
        key, equals, value = word.partition("=")
        if not equals or key not in ("name", "id"):
            raise UsageError(f"invalid secret filter {word!r}", "", "name=PATTERN or id=ID")
        wanted.setdefault(key, []).append(value)
    try:
        names = [re.compile(pattern) for pattern in wanted.get("name", [])]
    except re.error as error:
        raise UsageError("--filter name", f"no regular expression: {error}") from None
    return [
        secret
        for secret in engine.secrets.all()
        if (not names or any(pattern.search(secret.name) for pattern in names))
        and ("id" not in wanted or any(secret.id.startswith(value) for value in wanted["id"]))
    ]


def _inspect(values: dict[str, Any], names: list[str]) -> int:
    from sampan.cli.format import json_text, render
    from sampan.engine.secrets import describe

    engine = make_engine()
    documents: list[dict[str, Any]] = []
    status = 0
    for name in names:
        try:
            documents.append(describe(engine.secrets.find(name), shown=values["showsecret"]))
        except SampanError as error:
            os.write(2, f"Error: {error}\n".encode(errors="backslashreplace"))
            status = error.exit_status
    template = values["format"]
    if values["pretty"]:
        template = PRETTY + ("\nSecret:          {{.SecretData}}" if values["showsecret"] else "")
    if template and template != "json":
        for document in documents:
            print(render(template, document))
    elif documents or not status:
        print(json_text(documents))
    return status


PRETTY = """\
ID:              {{.ID}}
Name:            {{.Spec.Name}}
{{if .Spec.Labels}}Labels:
{{range $key, $value := .Spec.Labels}} - {{$key}}{{if $value}}={{$value}}{{end}}
{{end}}{{end}}Driver:          {{.Spec.Driver.Name}}
Created at:      {{.CreatedAt}}
Updated at:      {{.UpdatedAt}}"""


def _rm(values: dict[str, Any], names: list[str]) -> int:
    from sampan.engine.secrets import remove

    if values["all"] == bool(names):
        raise UsageError("sampan secret rm", "give either names or --all")
    engine = make_engine()
    status = 0
    for name in names or engine.secrets.names():
        try:
            print(remove(engine, name), flush=True)
        except NotFoundError as error:
            if not values["ignore"]:
                os.write(2, f"Error: {error}\n".encode(errors="backslashreplace"))
                status = 1
        except SampanError as error:
            os.write(2, f"Error: {error}\n".encode(errors="backslashreplace"))
            status = error.exit_status
    return status


def _exists(_: dict[str, Any], names: list[str]) -> int:
    try:
        make_engine().secrets.find(names[0])
    except NotFoundError:
        return 1
    return 0


VERBS: dict[str, tuple[Verb, Callable[[dict[str, Any], list[str]], int]]] = {
    "create": (CREATE, _create),
    "exists": (EXISTS, _exists),
    "inspect": (INSPECT, _inspect),
    "list": (LS, _ls),
    "ls": (LS, _ls),
    "remove": (RM, _rm),
    "rm": (RM, _rm),
}


def _overview() -> str:
    rows = [f"  {name:10}{verb.summary}" for name, (verb, _) in sorted(VERBS.items())]
    head = ["Manage secrets", "", "Usage:", "  sampan secret [command]", "", "Available Commands:"]
    return "\n".join([*head, *rows])
