"""search: what registries have by a word, by Docker Hub's index or a registry's catalog."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

from sampan.errors import CorruptError, SampanError
from sampan.model import reference
from sampan.model.image import is_list, is_object
from sampan.model.reference import Reference
from sampan.registry import config as registries
from sampan.registry import listing
from sampan.registry.access import Access
from sampan.registry.client import Note, Registry, read_body
from sampan.registry.config import Endpoint
from sampan.registry.errors import RegistryError, printable
from sampan.registry.fetch import Remote

_BODY_LIMIT = 8 << 20
_INDEX = "index.docker.io"  # Docker Hub's search is there, and has another interface


class Found(NamedTuple):
    """registry: its name; name: the full repository name."""

    registry: str
    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


def search(word: str, limit: int, access: Access, note: Note) -> list[Found]:
    """The repositories whose name has the word in it, of the registry that it names or of all that are searched."""
    conf = registries.load()
    host, slash, term = word.partition("/")
    named = bool(slash) and reference.has_domain(word)
    hosts = [host] if named else list(conf.search) or [reference.DEFAULT_DOMAIN]
    wanted = term if named else word
    found: list[Found] = []
    failures: list[SampanError] = []
    for one in hosts:
        try:
            found += _of(
                conf.endpoints(Reference(one, "x", "latest", None))[-1], one, wanted, limit, access
            )
        except RegistryError as error:
            failures.append(error)
            note(f"{one} is left out: {error}")
    if failures and len(failures) == len(hosts):
        raise failures[0]
    return found


def tags(name: str, limit: int, access: Access, note: Note) -> tuple[str, list[str]]:
    """A repository's full name and its tags."""
    conf = registries.load()
    candidate = conf.candidates(name)[0]
    return candidate.repository, Remote(candidate, conf, access=access, note=note).tags()[:limit]


def _of(endpoint: Endpoint, shown: str, word: str, limit: int, access: Access) -> list[Found]:
    host = _INDEX if endpoint.name == reference.DEFAULT_DOMAIN else endpoint.name
    registry = Registry(Endpoint(host, "", endpoint.insecure, False), access=access)
    try:
        return _by_index(registry, shown, word, limit)
    except RegistryError as error:
        if error.status not in (400, 401, 403, 404, 405, 501):
            raise
    names = listing.pages(registry, f"{registry.base()}/v2/_catalog?n=1000", "repositories")
    return [Found(shown, f"{shown}/{name}") for name in names if word in name][:limit]


def _by_index(registry: Registry, shown: str, word: str, limit: int) -> list[Found]:
    """The search of registries of the first kind, which Docker Hub and others still answer."""
    url = f"{registry.base()}/v1/search?{urlencode({'q': word, 'n': limit})}"
    response = registry.transport.get(url, {"Accept": "application/json"}).response
    body = read_body(response, _BODY_LIMIT, cut=True)
    if response.status != 200:
        raise RegistryError(
            f"{registry.host} answers {response.status}",
            printable(body.decode(errors="replace")),
            status=response.status,
        )
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    results: Any = document.get("results") if is_object(document) else None
    if not is_list(results):
        raise CorruptError(f"the search of {registry.host} is refused", "its answer has no results")
    return [_result(shown, one) for one in _objects(results)][:limit]


def _objects(results: Sequence[Any]) -> list[dict[str, Any]]:
    return [one for one in results if is_object(one) and isinstance(one.get("name"), str)]


def _result(shown: str, one: dict[str, Any]) -> Found:
    stars = one.get("star_count")
    name: str = one["name"]
    official = bool(one.get("is_official"))
    return Found(
        shown,
        printable(f"{shown}/{'library/' if official and '/' not in name else ''}{name}"),
        printable(str(one.get("description") or "")),
        stars if isinstance(stars, int) else 0,
        official,
        bool(one.get("is_automated")),
    )
