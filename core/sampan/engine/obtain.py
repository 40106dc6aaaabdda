"""The image that a reference means: in the store, pulled, or built from programs of this machine."""

from __future__ import annotations

from sampan.errors import NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from sampan.engine import Engine
    from sampan.engine.fetching import Progress
    from sampan.registry.access import Access
    from sampan.store.images import Image

HOST_PREFIX = "host:"
POLICIES = ("always", "missing", "newer", "never")


def obtain(
    engine: Engine,
    name: str,
    *,
    policy: str = "missing",
    platform: str | None = None,
    tls_verify: bool | None = None,
    authfile: str = "",
    access: Access | None = None,
    progress: Callable[[], AbstractContextManager[Progress]] | None = None,
) -> Image:
    """access: instead of tls_verify and authfile.

    policy: always, missing, newer or never. `host:PROGRAM,...` is built here, on first use."""
    if policy not in POLICIES:
        raise UsageError(f"invalid pull policy {policy!r}", "", f"one of {', '.join(POLICIES)}")
    if name.startswith(HOST_PREFIX):
        from sampan.engine.building import build_host_image

        return build_host_image(engine, name.removeprefix(HOST_PREFIX))
    if policy in ("missing", "never") and not platform:
        try:
            return engine.images.resolve(name)
        except NotFoundError:
            if policy == "never":
                raise
    from contextlib import nullcontext

    from sampan.engine import events
    from sampan.engine.load import pull_place
    from sampan.engine.pull import pull
    from sampan.registry.access import Access
    from sampan.transports import place

    access = access or Access(tls_verify, authfile=authfile)
    where = place.parse(name)
    with (progress or nullcontext)() as told:
        if where is not None:
            return pull_place(engine, where, platform=platform, progress=told)[0]
        image = pull(engine, name, platform=platform, policy=policy, access=access, progress=told)
    events.of_arrival(engine, "pull", name)
    return image
