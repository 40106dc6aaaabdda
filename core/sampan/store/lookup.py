"""From what a user typed to one entry of the image store's index.

A name with a registry is taken as it is.  A short one is looked for as localhost/NAME (what was
built here), as docker.io/NAME, and then at the end of any stored name, which must be one image's.
What looks like an id is one if no name fits.  Two candidates are an error that names them: sampan
does not guess.
"""

from __future__ import annotations

from sampan.errors import NotFoundError, UsageError
from sampan.model import reference
from sampan.store.entries import ID, LIST, annotations_of, name_of, repository_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.model.reference import Reference
    from sampan.store.entries import Entry
    from sampan.store.images import ImageStore


_HEX = frozenset("0123456789abcdef")
_PREFIX = 3  # digits that an abbreviated id has at least


def find(store: ImageStore, entries: Sequence[Entry], name: str) -> Entry:
    """The entry that is meant. NotFoundError, UsageError."""
    digits = name.removeprefix("sha256:")
    is_id = len(digits) >= _PREFIX and len(digits) <= 64 and _HEX.issuperset(digits)
    if is_id and (len(digits) == 64 or digits != name):
        return _by_id(store, entries, name, digits)
    try:
        return _by_name(entries, name)
    except NotFoundError:
        if not is_id:
            raise
    return _by_id(store, entries, name, digits)


def _first(found: Sequence[Entry], name: str) -> Entry:
    if not found:
        raise NotFoundError(name, "image not known")  # podman's words: scripts match them
    return found[0]


def _by_name(entries: Sequence[Entry], name: str) -> Entry:
    wanted = reference.parse(name)
    short = not reference.has_domain(name)
    if wanted.digest:
        return _by_digest(entries, wanted, short, name)
    named = {name_of(entry): entry for entry in entries}
    full = str(wanted)
    if not short:
        return _first([named[full]] if full in named else [], name)
    tail = full.removeprefix("docker.io/").removeprefix("library/")
    for candidate in (f"localhost/{tail}", full):
        if candidate in named:
            return named[candidate]
    return _only([entry for text, entry in named.items() if text.endswith(f"/{tail}")], name)


def _by_digest(entries: Sequence[Entry], wanted: Reference, short: bool, name: str) -> Entry:
    """NAME@DIGEST: the digest of the manifest, or of the index that it was pulled through."""
    tail = wanted.path.removeprefix("library/")
    found: list[Entry] = []
    for entry in entries:
        if wanted.digest not in (entry["digest"], annotations_of(entry).get(LIST)):
            continue
        repository = repository_of(name_of(entry))
        if repository == wanted.repository or (short and f"/{repository}".endswith(f"/{tail}")):
            found.append(entry)
    return _first(found, name)


def _by_id(store: ImageStore, entries: Sequence[Entry], name: str, digits: str) -> Entry:
    found = [
        entry
        for entry in entries
        if str(annotations_of(entry).get(ID)).startswith(f"sha256:{digits}")
    ]
    if not found:  # entries of other tools have no note of their id
        foreign = [entry for entry in entries if ID not in annotations_of(entry)]
        found = [
            entry
            for entry in (store.described(entry) for entry in foreign)
            if entry["annotations"][ID].startswith(f"sha256:{digits}")
        ]
    return _only(found, name)


def _only(found: Sequence[Entry], name: str) -> Entry:
    """The entry, if all that were found are the same image."""
    ids = {annotations_of(entry).get(ID) or entry["digest"]: entry for entry in found}
    if len(ids) > 1:
        shown = sorted(name_of(entry) or image_id for image_id, entry in ids.items())
        raise UsageError(
            f"{name} is ambiguous",
            f"it could be {', '.join(shown[:10])}",
            "use the full name or id",
        )
    return _first(found, name)
