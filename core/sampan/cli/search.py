"""sampan search."""

from __future__ import annotations

from sampan.cli.access_options import AUTHFILE, TLS_VERIFY, access_of
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse
from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine.search import Found

VERB = Verb(
    "search",
    "Search registries for images",
    "TERM",
    [
        AUTHFILE,
        Option("--filter -f", LIST, "stars=N, is-official=true, is-automated=true", "KEY=VALUE"),
        Option("--format", help="table, json or a Go template", metavar="FORMAT"),
        Option("--limit", INTEGER, "The most results", default=25),
        Option("--list-tags", FLAG, "Show the tags of a repository"),
        Option("--no-trunc", FLAG, "Do not shorten descriptions"),
        TLS_VERIFY,
    ],
    minimum=1,
    maximum=1,
)
COLUMNS = [("NAME", "Name"), ("DESCRIPTION", "Description")]
_DESCRIPTION = 44


def main(words: list[str]) -> int:
    values, (term,) = parse(VERB, words)
    if values["limit"] < 1:
        raise UsageError("sampan search", "--limit is at least 1")
    from sampan.cli.format import escape, render_rows
    from sampan.engine import search, warn

    access = access_of(values)

    def note(text: str) -> None:
        warn(escape(text))

    if values["list_tags"]:
        name, tags = search.tags(term, values["limit"], access, note)
        rows: list[dict[str, Any]] = [{"Name": name, "Tag": tag} for tag in tags]
        columns = [("NAME", "Name"), ("TAG", "Tag")]
        document: list[dict[str, Any]] = [{"Name": name, "Tags": tags}]
    else:
        found = search.search(term, values["limit"], access, note)
        rows = [_row(one, values["no_trunc"]) for one in found if _fits(one, values["filter"])]
        columns, document = COLUMNS, rows
    text = render_rows(
        values["format"], rows, columns, json_rows=document if values["format"] == "json" else None
    )
    if text:
        print(text)
    return 0


def _row(one: Found, full: bool) -> dict[str, Any]:
    text = one.description
    if not full and len(text) > _DESCRIPTION:
        text = f"{text[: _DESCRIPTION - 3]}..."
    return {
        "Index": one.registry,
        "Name": one.name,
        "Description": text,
        "Stars": one.stars,
        "Official": "[OK]" if one.official else "",
        "Automated": "[OK]" if one.automated else "",
    }


def _fits(one: Found, filters: list[str]) -> bool:
    for text in filters:
        key, _, value = text.partition("=")
        if key == "stars" and value.isdigit():
            fits = one.stars >= int(value)
        elif key in ("is-official", "is-automated") and value in ("true", "false", ""):
            has = one.official if key == "is-official" else one.automated
            fits = has == (value != "false")
        else:
            raise UsageError(
                "sampan search", f'invalid filter "{text}"', "stars=N, is-official, is-automated"
            )
        if not fits:
            return False
    return True
