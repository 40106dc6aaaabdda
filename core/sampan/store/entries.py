"""One descriptor of the image store's `index.json`, and the annotations that it carries."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    Entry = dict[str, Any]

NAME = "org.opencontainers.image.ref.name"  # the full name, as skopeo reads it
ID = "io.sampan.image.id"
CREATED = "io.sampan.image.created"
SIZE = "io.sampan.image.size"
LIST = "io.sampan.image.index"  # the digest of the index through which the image was pulled
HISTORY = "io.sampan.image.names"  # every name the image ever had, the present ones first
SOURCE = "io.sampan.image.source"  # the registry or mirror that served it


def annotations_of(entry: Mapping[str, Any]) -> dict[str, str]:
    return entry.get("annotations") or {}


def name_of(entry: Mapping[str, Any]) -> str:
    """The name, "" of an untagged image."""
    return annotations_of(entry).get(NAME, "")


def history_of(entry: Mapping[str, Any]) -> list[str]:
    return [name for name in annotations_of(entry).get(HISTORY, "").split(",") if name]


def named(entry: Entry, name: str | None) -> Entry:
    """A copy with another name, or with none."""
    annotations = dict(annotations_of(entry))
    annotations.pop(NAME, None)
    if name is not None:
        annotations[NAME] = name
    return dict(entry, annotations=annotations)


def repository_of(name: str) -> str:
    """A name without its tag and digest."""
    name = name.partition("@")[0]
    head, colon, tail = name.rpartition(":")
    return head if colon and "/" not in tail else name
