"""commit: a container's changes become a layer on top of its image's, and both an image.

The layers below keep their blobs and digests, so a push sends them as they are.  The configuration
is the image's with what the container was given: environment, command, labels, user, directory.
"""

from __future__ import annotations

import time

from sampan.engine import archive, difference, events, pack
from sampan.errors import UsageError
from sampan.model import convert, instructions
from sampan.model.rfc3339 import stamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypedDict

    from sampan.drivers import Change
    from sampan.engine import Engine
    from sampan.model.container import RunOptions
    from sampan.store.containers import Container
    from sampan.store.images import Image
    from sampan.store.layers import LayerSource
    from sampan.store.leases import Lease

    class CommitOptions(TypedDict):
        author: str
        message: str
        change: list[str]
        format: str  # "oci" or "docker"
        pause: bool
        squash: bool
        include_volumes: bool


FORMATS = ("oci", "docker")


def commit(
    engine: Engine,
    word: str,
    name: str,
    chosen: CommitOptions,
    progress: Callable[[int], object] = lambda done: None,
    tell: Callable[[str], object] = lambda text: None,
) -> Image:
    """Make and list the image; without a name it has none."""
    from sampan.engine.images import full_name

    if chosen["format"] not in FORMATS:
        raise UsageError(f'unrecognized image format "{chosen["format"]}"', "", "oci or docker")
    names = [full_name(name)] if name else []
    container = engine.containers.get(word)
    image = engine.images.resolve(container.record["image"]["id"])
    inner = configuration(image.config.get("config") or {}, container, chosen["include_volumes"])
    instructions.apply(inner, chosen["change"])
    with engine.images.lease() as lease:
        lease.add(image.digest, image.id, *(layer.digest for layer in image.layers))
        top = pack_changes(engine, lease, container, chosen, progress)
        chain = [top] if chosen["squash"] else [*pack.sources(image), top]
        size = pack.unpack(engine, chain, tell)
        document = new_document(image, container, inner, chain, chosen)
        made = store(
            engine, lease, document, _layers(image, top, chosen), names, size, chosen["format"]
        )
    events.of_container(engine, container.record, "commit")
    return made


def pack_changes(
    engine: Engine,
    lease: Lease,
    container: Container,
    chosen: CommitOptions,
    progress: Callable[[int], object],
) -> LayerSource:
    """The layer of what the container changed, as a blob that the lease keeps."""
    from sampan.engine.pause import paused

    with paused(engine, container, chosen["pause"]):
        changes = list(_own(difference.changes(engine, container)))
        with archive.layer(engine, container, changes, squash=chosen["squash"]) as reading:
            return pack.pack(engine, lease, reading.read, progress)


def _own(changes: Sequence[Change]) -> Sequence[Change]:
    """Without the places that the engine makes for its mounts, as long as nobody made more of them."""
    told = {change.path for change in changes}
    parents = {path.rpartition(b"/")[0] for path in told}
    return [
        change
        for change in changes
        if change.kind != "A" or change.path not in difference.PLACES or change.path in parents
    ]


def configuration(
    base: Mapping[str, Any], container: Container, include_volumes: bool
) -> dict[str, Any]:
    """The image's inner configuration with what the container was given."""
    options: RunOptions = container.record["options"]
    inner = dict(base)
    entrypoint, command = base.get("Entrypoint"), options["command"] or base.get("Cmd")
    if options["entrypoint"] is not None:
        entrypoint, command = options["entrypoint"], options["command"]
    volumes = dict(base.get("Volumes") or {})
    if include_volumes:
        volumes |= {mount["destination"]: {} for mount in options["mounts"]}
    signal = options["stop_signal"]
    given: dict[str, Any] = {
        "Entrypoint": entrypoint,
        "Cmd": command,
        "Env": _environment(base.get("Env") or (), options),
        "Labels": options["labels"],
        "User": options["user"],
        "WorkingDir": options["workdir"] or base.get("WorkingDir"),
        "Volumes": volumes,
        "StopSignal": base.get("StopSignal") if signal == "TERM" else signal,
    }
    for key, value in given.items():
        if value:
            inner[key] = value
        else:
            inner.pop(key, None)
    return inner


def _environment(base: Sequence[str], options: RunOptions) -> list[str]:
    values = {} if "*" in options["unset_env"] else {
        name: value for name, _, value in (word.partition("=") for word in base)
    }  # fmt: skip
    values.update(options["env"])
    return [f"{name}={value}" for name, value in values.items() if name not in options["unset_env"]]


def now() -> str:
    """The time of an image that is made now."""
    epoch = pack.source_date_epoch()
    moment = time.time_ns()
    return stamp(moment if epoch is None else min(moment, epoch * 10**9))


def new_document(
    image: Image,
    container: Container,
    inner: dict[str, Any],
    chain: Sequence[LayerSource],
    chosen: CommitOptions,
) -> dict[str, Any]:
    """The image's configuration with that inner one, for a chain of layers."""
    document = {
        key: value
        for key, value in image.config.items()
        if key not in ("container", "container_config", "docker_version", "id", "parent")
    }
    created = now()
    step = {"created": created, "created_by": " ".join(container.record["args"])}
    if chosen["message"]:
        step["comment"] = chosen["message"]
    author = chosen["author"] or document.get("author") or ""
    if author:
        document["author"] = author
    if chosen["author"]:
        step["author"] = author
    history = [] if chosen["squash"] else list(document.get("history") or ())
    return {
        **document,
        "created": created,
        "config": inner,
        "history": [*history, step],
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in chain]},
    }


def _layers(image: Image, top: LayerSource, chosen: CommitOptions) -> list[dict[str, Any]]:
    """The descriptors: those of the image as they are, but for the names of their types."""
    mine = {"mediaType": top.media_type, "digest": top.digest, "size": top.size}
    below = [] if chosen["squash"] else [dict(layer.document) for layer in image.layers]
    return [
        {**layer, "mediaType": convert.layer_type(str(layer["mediaType"]), chosen["format"])}
        for layer in [*below, mine]
    ]


def store(
    engine: Engine,
    lease: Lease,
    document: Mapping[str, Any],
    layers: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    size: int,
    form: str = "oci",
) -> Image:
    """Put configuration and manifest into the store, and list the image."""
    return pack.image(engine, lease, pack.encode(document), layers, names, size, form)
