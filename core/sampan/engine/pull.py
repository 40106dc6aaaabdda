"""pull: from a name to a stored image."""

from __future__ import annotations

from sampan.engine.fetching import Progress, Silent
from sampan.engine.receive import Receiving, ReceivingEngine
from sampan.errors import NotFoundError, SampanError, UnsupportedError, UsageError
from sampan.model import platform as platforms
from sampan.model import reference
from sampan.model.platform import Platform
from sampan.model.reference import Reference
from sampan.registry import config as registries
from sampan.registry.access import Access
from sampan.registry.errors import RegistryError
from sampan.registry.fetch import Fetched, Remote
from sampan.store.images import Image
from sampan.transports import place

POLICIES = ("always", "missing", "newer", "never")


def pull(
    engine: ReceivingEngine,
    name: str,
    *,
    platform: str | None = None,
    policy: str = "always",
    access: Access = Access(),
    progress: Progress | None = None,
) -> Image:
    """The image of that name, fetched according to the policy: always, missing, newer or never."""
    tell = progress or Silent()
    name = place.bare(name)
    if policy not in POLICIES:
        raise UsageError(
            f'unknown pull policy "{policy}"', f"one of {', '.join(POLICIES)} is wanted"
        )
    where = place.parse(name)
    if where is not None:
        raise UnsupportedError(f"cannot pull {name}", f"{where.transport}: is not a registry")
    wanted = platforms.parse(platform) if platform else None
    local = None if policy == "always" else _local(engine, name, wanted)
    if policy == "never" and local is None:
        raise NotFoundError(name, "image not known")
    if local is not None and policy != "newer":
        return local
    try:
        remote, fetched = find(name, access, tell)
    except RegistryError as error:
        if local is None:
            raise
        tell.note(f"using the stored {name}: {error}")
        return local
    if local is not None and fetched.digest in (local.digest, local.index_digest):
        return local
    label = str(remote.name)
    return Receiving(engine, remote, label, [label], tell, wanted).run(fetched)


def pull_all(
    engine: ReceivingEngine,
    name: str,
    *,
    platform: str | None = None,
    access: Access = Access(),
    progress: Progress | None = None,
) -> list[Image]:
    """Every tag of a repository. One that is no image, or not for this platform, is told and left out."""
    tell = progress or Silent()
    given = reference.parse(place.bare(name))
    if reference.has_tag(place.bare(name)) or given.digest:
        raise UsageError(
            f"cannot pull all tags of {name}", "it names one image", "name the repository"
        )
    wanted = platforms.parse(platform) if platform else None
    candidate, remote, tags = _tags(place.bare(name), access, tell)
    found: list[Image] = []
    for tag in tags:
        label = f"{candidate.repository}:{tag}"
        tell.note(f"Trying to pull {label}...")
        try:
            receiving = Receiving(engine, remote, label, [label], tell, wanted)
            found.append(receiving.run(remote.manifest(tag)))
        except (UnsupportedError, NotFoundError) as error:
            tell.note(f"{label} is left out: {error}")
    return found


def _tags(name: str, access: Access, tell: Progress) -> tuple[Reference, Remote, list[str]]:
    """The first of the repositories that `name` can stand for which has tags."""
    conf = registries.load()
    failures: list[SampanError] = []
    for candidate in conf.candidates(name):
        remote = Remote(candidate, conf, access=access, note=tell.note)
        try:
            tags = remote.tags()
            if tags:
                return candidate, remote, tags
            failures.append(NotFoundError(f"{candidate.repository} has no tags"))
        except (RegistryError, NotFoundError) as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    raise NotFoundError(f"no registry has {name}", "; ".join(str(one) for one in failures))


def _local(engine: ReceivingEngine, name: str, wanted: Platform | None) -> Image | None:
    try:
        image = engine.images.resolve(name)
    except NotFoundError:
        return None
    if wanted is None:
        return image
    rank = platforms.fits(wanted, image.os, image.architecture, image.variant)
    return None if rank is None else image


def find(name: str, access: Access, tell: Progress) -> tuple[Remote, Fetched]:
    """The first of the names that `name` can stand for which a registry has."""
    conf = registries.load()
    candidates = conf.candidates(name)
    failures: list[SampanError] = []
    for candidate in candidates:
        if str(candidate) != name and candidate.familiar != candidate.repository:
            tell.note(f'Resolved "{name}" as {candidate}')
        tell.note(f"Trying to pull {candidate}...")
        try:
            remote = Remote(candidate, conf, access=access, note=tell.note)
            return remote, remote.manifest(candidate.selector)
        except (RegistryError, NotFoundError) as error:
            if len(candidates) == 1:
                raise
            failures.append(error)
    raise NotFoundError(f"no registry has {name}", "; ".join(str(one) for one in failures))
