"""sampan info."""

from __future__ import annotations

from typing import Any, cast

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, Option, Verb, parse

VERB = Verb(
    "info",
    "Show what sampan found and chose on this machine, and why",
    "",
    [
        Option("--debug -D", FLAG, "Show more (everything is shown already)"),
        Option("--format -f", help="json or a Go template", metavar="FORMAT"),
    ],
    maximum=0,
)
# Go clients name the fields as in podman's structures; the JSON has podman's lower-case keys.
_NAMES = {"ociRuntime": "OCIRuntime", "idMappings": "IDMappings", "cgroupVersion": "CgroupsVersion",
          "runRoot": "RunRoot", "graphRoot": "GraphRoot"}  # fmt: skip


def main(words: list[str]) -> int:
    values, _ = parse(VERB, words)
    from sampan.engine.info import info

    document = info(make_engine())
    template = values["format"]
    if template == "json":
        import json

        print(json.dumps(document, indent=2))
    elif template:
        from sampan.cli.format import render

        print(render(template, capitalised(document)))
    else:
        print("\n".join(_lines(document, 0)))
    return 0


def capitalised(value: Any) -> Any:
    """Keys as Go templates name them."""
    if isinstance(value, dict):
        document = cast("dict[str, Any]", value)
        result: dict[str, Any] = {}
        for key, inner in document.items():
            name = _NAMES.get(key, key[:1].upper() + key[1:])
            result[name] = capitalised(inner)
            if name == "CgroupsVersion":
                result["CgroupVersion"] = inner
        return result
    if isinstance(value, list | tuple):
        items: list[Any] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        return [capitalised(inner) for inner in items]
    return value


def _lines(value: Any, depth: int) -> list[str]:
    """YAML, as podman prints it."""
    pad = "  " * depth
    lines: list[str] = []
    if isinstance(value, dict):
        document = cast("dict[str, Any]", value)
        for key, inner in document.items():
            if isinstance(inner, dict | list | tuple) and inner:
                lines.append(f"{pad}{key}:")
                lines += _lines(inner, depth + 1)
            else:
                lines.append(f"{pad}{key}: {_scalar(inner)}")
    else:
        for inner in value:
            if isinstance(inner, dict):
                nested = _lines(inner, depth + 1)
                lines.append(f"{pad}- {nested[0].strip()}")
                lines += nested[1:]
            else:
                lines.append(f"{pad}- {_scalar(inner)}")
    return lines


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value in ({}, [], ()):
        return "{}" if value == {} else "[]"
    return '""' if value == "" else str(value)
