"""sampan registry: serve images to other programs and machines."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, INTEGER, Option, Verb, parse
from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LISTEN = "127.0.0.1:5000"
SERVE = Verb(
    "registry serve",
    "Serve a registry in the foreground, until SIGTERM or SIGINT",
    "",
    [
        Option("--listen", help="HOST:PORT (port 0 picks one) or unix:PATH", metavar="ADDRESS", default=LISTEN),
        Option("--tls-cert", help="Certificate with its chain (PEM)", metavar="FILE"),
        Option("--tls-key", help="The certificate's key (PEM)", metavar="FILE"),
        Option("--htpasswd", help="Names with bcrypt hashes; nothing is for others then", metavar="FILE"),
        Option("--insecure-listen", FLAG, "Let other machines connect without TLS and --htpasswd"),
        Option("--read-only", FLAG, "Refuse pushes and deletions"),
        Option("--workers", INTEGER, "Processes", default=4),
        Option("--max-connections", INTEGER, "Connections to each worker", default=256),
        Option("--max-blob", help="Refuse larger blobs, for example 10g", metavar="SIZE"),
        Option("--driver", help="Registry plugin", default="distribution", metavar="NAME"),
    ],
    maximum=0,
)  # fmt: skip
LS = Verb(
    "registry ls",
    "List repositories with their tags and sizes",
    "",
    [
        Option("--format", help="table, json or a Go template", metavar="FORMAT"),
        Option("--noheading -n", FLAG, "Show no headings"),
    ],
    maximum=0,
)
RM = Verb(
    "registry rm",
    "Remove repositories, tags or manifests, and what nothing else needs",
    "NAME[:TAG|@DIGEST]...",
    [],
    minimum=1,
)
COLUMNS = [
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("DIGEST", "Digest"),
    ("SIZE", "Size"),
]


def main(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(_overview())
        if not words:
            raise UsageError("missing command 'sampan registry COMMAND'")
        return 0
    if words[0] not in VERBS:
        raise UsageError(
            f"unrecognized command 'sampan registry {words[0]}'", "", "see 'sampan registry --help'"
        )
    verb, action = VERBS[words[0]]
    values, names = parse(verb, words[1:])
    return action(values, names)


def _serve(values: dict[str, Any], _: list[str]) -> int:
    from sampan.drivers import ServeRequest
    from sampan.engine.registry_host import serve
    from sampan.model.sizes import size

    certificate, key = values["tls_cert"], values["tls_key"]
    if bool(certificate) != bool(key):
        raise UsageError("sampan registry serve", "--tls-cert and --tls-key go together")
    for name, most in (("workers", 64), ("max_connections", 4096)):
        if not 1 <= values[name] <= most:
            raise UsageError(
                "sampan registry serve", f"--{name.replace('_', '-')} is a number from 1 to {most}"
            )
    request = ServeRequest(
        listen=values["listen"],
        tls=(certificate, key) if certificate else None,
        htpasswd=values["htpasswd"] or "",
        read_only=values["read_only"],
        workers=values["workers"],
        connections=values["max_connections"],
        blob_limit=size(values["max_blob"], "--max-blob") if values["max_blob"] else 0,
        insecure=values["insecure_listen"],
    )
    serve(
        make_engine(), values["driver"], request, lambda at: print(f"listening on {at}", flush=True)
    )
    return 0


def _ls(values: dict[str, Any], _: list[str]) -> int:
    from sampan.cli.format import render_rows
    from sampan.engine.registry_host import listed
    from sampan.model.sizes import decimal_text

    rows = listed(make_engine())
    if values["format"] != "json":
        rows = [{**row, "Size": decimal_text(row["Size"])} for row in rows]
    text = render_rows(values["format"], rows, COLUMNS, heading=not values["noheading"])
    if text:
        print(text)
    return 0


def _rm(_: dict[str, Any], names: list[str]) -> int:
    from sampan.engine.registry_host import remove

    engine = make_engine()
    for name in names:
        remove(engine, name)
        print(name, flush=True)
    return 0


VERBS: dict[str, tuple[Verb, Callable[[dict[str, Any], list[str]], int]]] = {
    "ls": (LS, _ls),
    "rm": (RM, _rm),
    "serve": (SERVE, _serve),
}


def _overview() -> str:
    rows = [f"  {name:10}{verb.summary}" for name, (verb, _) in sorted(VERBS.items())]
    head = [
        "Serve images to other programs and machines",
        "",
        "Usage:",
        "  sampan registry [command]",
        "",
        "Available Commands:",
    ]
    return "\n".join([*head, *rows])
