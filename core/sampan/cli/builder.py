"""sampan builder: the cache of builds, and `builder build`, which is `build`."""

from __future__ import annotations

import time

from sampan.cli.confirm import agreed
from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine.builder import Entry

FILTER = Option(
    "--filter",
    LIST,
    "Only what matches: id, type, description, until (when it was last used), shared, private, inuse",
    "KEY=VALUE",
)
DU = Verb(
    "builder du",
    "Show what the build cache takes of the disk",
    "",
    [
        FILTER,
        Option("--format", help="table, json or a Go template", metavar="FORMAT"),
        Option("--verbose", FLAG, "Show all that is known of each entry"),
    ],
    maximum=0,
)
PRUNE = Verb(
    "builder prune",
    "Remove the build cache that no image uses",
    "",
    [
        Option("--all -a", FLAG, "Remove all of the build cache"),
        FILTER,
        Option("--force -f", FLAG, "Do not ask"),
        Option(
            "--keep-storage --reserved-space --max-used-space",
            help="Remove the least recently used until no more is left",
            metavar="BYTES",
        ),
        Option("--verbose", FLAG, "Show all that is known of what goes"),
    ],
    maximum=0,
)
COLUMNS = [
    ("ID", "_id"),
    ("RECLAIMABLE", "Reclaimable"),
    ("SIZE", "_size"),
    ("LAST ACCESSED", "LastUsedAt"),
]
HEADERS = {
    "ID": "ID",
    "Parents": "PARENTS",
    "CreatedAt": "CREATED AT",
    "Mutable": "MUTABLE",
    "Reclaimable": "RECLAIMABLE",
    "Shared": "SHARED",
    "Size": "SIZE",
    "Description": "DESCRIPTION",
    "LastUsedAt": "LAST ACCESSED",
    "Type": "TYPE",
}
SHOWN = 12  # digits of an id in a table
WARNING = "WARNING! This will remove all {}build cache. Are you sure you want to continue?"


def main(words: list[str]) -> int:
    if words[:1] == ["build"]:
        from sampan.cli.build import main as build

        return build(words[1:])
    if not words or words[0] in ("--help", "-h"):
        print(_overview())
        if not words:
            raise UsageError("missing command 'sampan builder COMMAND'")
        return 0
    if words[0] not in VERBS:
        raise UsageError(
            f"unrecognized command 'sampan builder {words[0]}'", "", "see 'sampan builder --help'"
        )
    verb, action = VERBS[words[0]]
    values, _ = parse(verb, words[1:])
    return action(values)


def _du(values: dict[str, Any]) -> int:
    from sampan.cli.format import align, render_rows
    from sampan.engine.builder import entries, totals
    from sampan.model.sizes import decimal_text

    if values["format"] and values["verbose"]:
        raise UsageError("sampan builder du", "--format and --verbose cannot be used together")
    found = entries(make_engine(), values["filter"])
    rows = [row_of(one) for one in found]
    if values["verbose"]:
        print("".join(_told(row) + "\n" for row in rows), end="")
    else:
        shown = rows if values["format"] else _visible(rows)
        text = render_rows(
            values["format"], shown, COLUMNS, headers=HEADERS, json_rows=_plain(rows)
        )
        if text:
            print(text)
    if not values["format"] and not values["filter"]:
        told = totals(found)
        keys = list(told) if told["Shared"] else ["Reclaimable", "Total"]
        print(align([[f"{key}:", decimal_text(told[key])] for key in keys]), end="")
    return 0


def row_of(one: Entry) -> dict[str, Any]:
    """What `du --format` knows, and under `_` what its table shows."""
    from sampan.model import times
    from sampan.model.rfc3339 import stamp
    from sampan.model.sizes import decimal_text

    size = decimal_text(one.size)
    return {
        "ID": one.key,
        "Parents": [one.parent] if one.parent else [],
        "CreatedAt": stamp(int(one.created * 1e9)),
        "Mutable": one.mutable,
        "Reclaimable": one.reclaimable,
        "Shared": one.shared,
        "Size": size,
        "Description": one.description,
        "LastUsedAt": times.ago(time.time() - one.used),
        "Type": one.kind,
        "_id": one.key[:SHOWN] + ("*" if one.mutable else ""),
        "_size": size + ("*" if one.shared else ""),
    }


def _visible(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the further records by which a step is known: they take nothing of their own."""
    return [row for row in rows if row["Type"] != "internal"]


def _plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: row[key] for key in row if not key.startswith("_")} for row in rows]


def _told(row: dict[str, Any]) -> str:
    """All of an entry, a line a fact."""
    from sampan.cli.format import escape

    facts = [
        ("ID", row["ID"]),
        ("Parent", ", ".join(row["Parents"])),
        ("Created at", row["CreatedAt"]),
        ("Mutable", str(row["Mutable"]).lower()),
        ("Reclaimable", str(row["Reclaimable"]).lower()),
        ("Shared", str(row["Shared"]).lower()),
        ("Size", row["Size"]),
        ("Description", escape(row["Description"])),
        ("Last used", row["LastUsedAt"]),
        ("Type", row["Type"]),
    ]
    return "".join(f"{name + ':':13} {text}\n" for name, text in facts if text)


def _prune(values: dict[str, Any]) -> int:
    from sampan.cli.format import align, render_rows
    from sampan.engine.builder import prune
    from sampan.model.sizes import decimal_text, size

    keep = size(values["keep_storage"], "--keep-storage") if values["keep_storage"] else 0
    if not values["force"] and not agreed(WARNING.format("" if values["all"] else "dangling ")):
        return 0
    gone, freed = prune(
        make_engine(), everything=values["all"], filters=values["filter"], keep=keep
    )
    rows = [row_of(one) for one in gone]
    if values["verbose"]:
        print("".join(_told(row) + "\n" for row in rows), end="")
    elif rows:
        print(render_rows(None, _visible(rows), COLUMNS))
    print(align([["Total:", decimal_text(freed)]]), end="")
    return 0


VERBS: dict[str, tuple[Verb, Callable[[dict[str, Any]], int]]] = {
    "du": (DU, _du),
    "prune": (PRUNE, _prune),
}


def _overview() -> str:
    rows = [
        ("build", "Build an image"),
        *((name, verb.summary) for name, (verb, _) in VERBS.items()),
    ]
    head = ["Manage builds", "", "Usage:", "  sampan builder [command]", "", "Available Commands:"]
    return "\n".join([*head, *(f"  {name:10}{text}" for name, text in rows)])
