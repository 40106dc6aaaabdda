"""sampan images."""

from __future__ import annotations

import time

from sampan.cli.context import engine as make_engine
from sampan.cli.format import render_rows
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.images import Image

SORTS = ("created", "id", "repository", "size", "tag")
VERB = Verb(
    "images",
    "List images",
    "[IMAGE]",
    [
        Option("--all -a", FLAG, "Show all images (there are no hidden ones)"),
        Option("--digests", FLAG, "Show digests"),
        Option("--filter -f", LIST, "Show only what matches", "KEY=VALUE"),
        Option("--format", help="table, json or a Go template", metavar="FORMAT"),
        Option("--history", FLAG, "Show the names that an image had"),
        Option("--no-trunc", FLAG, "Do not shorten ids"),
        Option("--noheading -n", FLAG, "Show no headings"),
        Option("--quiet -q", FLAG, "Show ids alone"),
        Option("--sort", help=", ".join(SORTS), default="created"),
    ],
    maximum=1,
)
HEADERS = {"ID": "IMAGE ID", "ReadOnly": "R/O"}


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    filters = [text for value in values["filter"] for text in value.split(",")]
    if filters and names:
        raise UsageError("sampan images", "cannot specify an image and a filter(s)")
    if values["sort"] not in SORTS:
        raise UsageError(
            "sampan images",
            f'"{values["sort"]}" is not a valid field for sorting. Choose from: {", ".join(SORTS)}',
        )
    found = chosen(make_engine(), filters, names)
    patterns = names + [text[10:] for text in filters if text.startswith("reference=")]
    rows = [row for image in found for row in rows_of(image, patterns, values)]
    _sort(rows, values["sort"])
    if values["quiet"] and values["format"] != "json":
        for image_id in dict.fromkeys(row["ID"] for row in rows):
            print(image_id)
        return 0
    text = render_rows(
        values["format"],
        rows,
        columns(values),
        heading=not values["noheading"],
        headers=HEADERS,
        json_rows=[_json(row) for row in rows] if values["format"] == "json" else None,
    )
    if text:
        print(text)
    return 0


def chosen(engine: Engine, filters: list[str], names: list[str]) -> list[Image]:
    """The images that are to be shown. An argument is a pattern of names."""
    from sampan.engine.image_filters import select

    return select(engine, engine.images.list(), filters + [f"reference={name}" for name in names])


def columns(values: dict[str, Any]) -> list[tuple[str, str]]:
    shown = [("REPOSITORY", "Repository"), ("TAG", "Tag")]
    if values["digests"]:
        shown.append(("DIGEST", "Digest"))
    shown += [("IMAGE ID", "ID"), ("CREATED", "Created"), ("SIZE", "Size")]
    if values["history"]:
        shown.append(("HISTORY", "History"))
    return shown


def rows_of(image: Image, patterns: list[str], values: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each tag, or each that was asked for; one for an image that has none."""
    names = image.names
    if patterns:
        from sampan.engine.image_filters import matches

        names = [name for name in names if any(matches(name, one) for one in patterns)]
    rows = [_row(image, *_split(image, name), values["no_trunc"]) for name in names or [""]]
    if any(word in (values["format"] or "") for word in ("Labels", "json")):
        for row in rows:
            row["Labels"] = image.labels  # costs a look into the image's configuration
    return rows


def _split(image: Image, name: str) -> tuple[str, str]:
    if name:
        repository, _, tag = name.rpartition(":")
        return repository, tag
    pulled = image.references[0] if image.references else ""  # by a digest
    return pulled.partition("@")[0] or "<none>", "<none>"


def _row(image: Image, repository: str, tag: str, full: bool) -> dict[str, Any]:
    from sampan.engine.image_filters import moment
    from sampan.model import times

    digits = image.id.removeprefix("sha256:")
    seconds = moment(image.created)
    ago = times.ago(time.time() - seconds)
    stamp = time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime(seconds))
    return {
        "Repository": repository,
        "Tag": tag,
        "ID": image.id if full else digits[:12],
        "Digest": image.digest,
        "Created": ago,
        "CreatedSince": ago,
        "CreatedAt": stamp,
        "CreatedTime": stamp,
        "Size": human_size(image.size),
        "VirtualSize": human_size(image.size),
        "Labels": {},
        "Names": image.names,
        "History": ", ".join(image.names_history),
        "RepoTags": image.names,
        "RepoDigests": image.repo_digests,
        "Dangling": not image.references,
        "Containers": "N/A",
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "ReadOnly": False,
        "_image": image,
        "_seconds": seconds,
    }


def _json(row: dict[str, Any]) -> dict[str, Any]:
    """podman's object for a row."""
    image: Image = row["_image"]
    whole, _, rest = image.created.rstrip("Z").partition(".")
    return {
        "Id": image.id.removeprefix("sha256:"),
        "ParentId": "",
        "RepoTags": None,
        "RepoDigests": image.repo_digests,
        "Size": image.size,
        "SharedSize": 0,
        "VirtualSize": image.size,
        "Labels": image.labels or None,
        "Containers": 0,
        "Names": image.names,
        "Digest": image.digest,
        "History": image.names_history,
        "Created": int(row["_seconds"]),
        "CreatedAt": f"{whole}.{rest}Z" if rest else f"{whole}Z",
    }


def _sort(rows: list[dict[str, Any]], key: str) -> None:
    if key == "created":
        rows.sort(key=lambda row: row["_seconds"], reverse=True)
    elif key == "size":
        rows.sort(key=lambda row: row["_image"].size)
    elif key == "id":
        rows.sort(key=lambda row: row["_image"].id)
    else:
        rows.sort(key=lambda row: row[key.title()])


def human_size(count: float) -> str:
    """Three digits and a decimal unit, as Docker and podman show sizes."""
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if count < 1000 or unit == "PB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"
