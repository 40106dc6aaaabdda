"""sampan diff."""

from __future__ import annotations

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import Option, Verb, parse
from sampan.errors import UsageError

VERB = Verb(
    "diff",
    "Show what a container or image changes of what it was made from, or of another image",
    "CONTAINER|IMAGE [IMAGE]",
    [Option("--format", help="json", metavar="FORMAT")],
    minimum=1,
    maximum=2,
)
KINDS = {"A": "added", "C": "changed", "D": "deleted"}


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    if values["format"] not in (None, "", "json"):
        raise UsageError("sampan diff", "only supported value for '--format' is 'json'")
    from sampan.engine.difference import diff

    found = diff(make_engine(), *names)
    if values["format"] == "json":
        import json

        paths: dict[str, list[str]] = {}
        for change in found:
            paths.setdefault(KINDS[change.kind], []).append(f"/{_text(change.path)}")
        print(json.dumps(paths))
        return 0
    from sampan.cli.format import escape

    for change in found:
        print(f"{change.kind} /{escape(_text(change.path))}")
    return 0


def _text(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
