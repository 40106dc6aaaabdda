"""What a registry lists, page by page: tags, and its catalog (distribution-spec, content discovery)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from sampan.errors import CorruptError, LimitError, NotFoundError
from sampan.model.image import all_strings, is_list, is_object
from sampan.model.reference import Reference
from sampan.registry.client import Registry, read_body
from sampan.registry.errors import RegistryError

_PAGE_LIMIT = 4 << 20  # bytes
_ENTRIES_LIMIT = 100_000
_NEXT = re.compile(r'<([^<>]{1,4096})>\s*;[^,]*\brel="?next"?', re.IGNORECASE)


def tags(registry: Registry, name: Reference) -> list[str]:
    """All tags of the registry's repository, in its order. NotFoundError."""
    try:
        return pages(registry, "tags/list?n=1000", "tags")
    except RegistryError as error:
        if error.status == 404:
            raise NotFoundError(
                f"{name.repository} does not exist", f"{registry.host} says {error.why or 404}"
            ) from error
        raise


def pages(registry: Registry, path: str, key: str, enough: int = _ENTRIES_LIMIT) -> list[str]:
    """The names under `key` of all pages, or the first `enough`."""
    found: list[str] = []
    seen: set[str] = set()
    at: str | None = path
    while at is not None and len(found) < enough:
        if at in seen:
            raise CorruptError(
                f"the list of {registry.host} is refused", "its pages go in a circle"
            )
        seen.add(at)
        answer = registry.request("GET", at, {"Accept": "application/json"}, _OK)
        found += _names(read_body(answer.response, _PAGE_LIMIT), key, registry.host)
        if len(found) > _ENTRIES_LIMIT:
            raise LimitError(
                f"the list of {registry.host} is refused", f"more than {_ENTRIES_LIMIT} names"
            )
        link = _NEXT.search(answer.response.headers.get("Link") or "")
        at = registry.transport.target(answer.url, link[1]) if link else None
    return found[:enough]


_OK: Collection[int] = (200,)


def _names(body: bytes, key: str, host: str) -> list[str]:
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    names: Any = (document.get(key) or []) if is_object(document) else None
    if not is_list(names) or not all_strings(names):
        raise CorruptError(f"the list of {host} is refused", f"it has no {key}")
    return names
