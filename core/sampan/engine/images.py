"""The verbs on stored images: list, inspect, history, tag, untag, remove, prune.

Shapes follow podman's and Docker's JSON.  Removal asks the containers first, and takes along the
layers that no image, no container and no pull in progress needs; should a pull that began just
then miss one of them, the layer is unpacked again from its blob when the image is first run.
"""

from __future__ import annotations

from sampan.engine import events
from sampan.errors import InUseError, NotFoundError, SampanError, UsageError
from sampan.model import layer as layer_model
from sampan.model import reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from sampan.engine import Engine
    from sampan.store.images import Image


class UnknownImageError(NotFoundError):
    """The text is what podman says, word for word: scripts match it."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name}: image not known")


class Removal:
    """What a removal did: untagged names, ids of deleted images, errors that did not stop it."""

    __slots__ = ("deleted", "errors", "untagged")

    def __init__(self) -> None:
        self.untagged: list[str] = []
        self.deleted: list[str] = []
        self.errors: list[SampanError] = []


def find(engine: Engine, name: str) -> Image:
    """The image, or podman's words for there being none."""
    try:
        return engine.images.resolve(name)
    except NotFoundError:
        raise UnknownImageError(name) from None


def hex_id(image: Image) -> str:
    return image.id.removeprefix("sha256:")


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """The document of `image inspect`. NotFoundError."""
    return describe(engine, find(engine, name))


def describe(engine: Engine, image: Image) -> dict[str, Any]:
    document = image.config
    config: dict[str, Any] = document.get("config") or {}
    history: list[dict[str, Any]] = document.get("history") or []
    described: dict[str, Any] = {
        "Id": hex_id(image),
        "Digest": image.digest,
        "RepoTags": image.names,
        "RepoDigests": image.repo_digests,
        "Parent": "",
        "Comment": str(history[-1].get("comment") or "") if history else "",
        "Created": image.created,
        "Config": {key: value for key, value in config.items() if value not in (None, "", [], {})},
        "Version": str(document.get("docker_version") or ""),
        "Author": str(document.get("author") or ""),
        "Architecture": image.architecture,
        "Os": image.os,
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Name": engine.storage.name, "Data": {}},
        "RootFS": {"Type": "layers", "Layers": image.diff_ids},
        "Labels": config.get("Labels"),
        "Annotations": dict(image.manifest.annotations),
        "ManifestType": image.manifest.media_type,
        "User": config.get("User") or "",
        "History": history,
        "NamesHistory": image.names_history,
        "Source": image.source,
    }
    if image.variant:
        described["Variant"] = image.variant
    if config.get("Healthcheck"):
        described["Healthcheck"] = config["Healthcheck"]
    return described


def history(engine: Engine, name: str) -> list[dict[str, Any]]:
    """The steps that made the image, the last first: id, created, created_by, size, comment,
    tags.
    """
    image = find(engine, name)
    sizes = iter(layer_sizes(engine, image))
    steps: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = image.config.get("history") or []
    for step in told:
        steps.append(
            {
                "id": "<missing>",
                "created": str(step.get("created") or ""),
                "CreatedBy": str(step.get("created_by") or ""),
                "size": 0 if step.get("empty_layer") else next(sizes, 0),
                "comment": str(step.get("comment") or ""),
            }
        )
    steps.reverse()
    if steps:
        steps[0] |= {"id": hex_id(image), "tags": image.names}
    return steps


def layer_sizes(engine: Engine, image: Image) -> list[int]:
    """Bytes of each layer: unpacked if it is, else of its blob."""
    sizes: list[int] = []
    keys = engine.layers.keys(image.diff_ids)
    for key, descriptor in zip(keys, image.layers, strict=False):
        try:
            sizes.append(int(engine.layers.record(key)["size"]))
        except NotFoundError:
            sizes.append(descriptor.size)
    return sizes


def full_name(name: str) -> str:
    """The name that a tag gets: a short one is of this machine."""
    parsed = reference.parse(name)
    if parsed.digest:
        raise UsageError(f"cannot tag as {name}", "a tag is a name without a digest")
    if reference.has_domain(name):
        return str(parsed)
    return str(reference.parse(f"localhost/{name}"))


def _reference(image: Image, name: str) -> str:
    """The full name that is meant, or the NAME@DIGEST under which the image was pulled."""
    return (called(image, name) or name) if reference.parse(name).digest else full_name(name)


def tag(engine: Engine, name: str, targets: Sequence[str]) -> None:
    image = engine.images.resolve(name)
    for full, target in [(full_name(target), target) for target in targets]:
        engine.images.tag(image, full)
        events.of_image(engine, image, "tag", target)


def untag(engine: Engine, name: str, targets: Sequence[str]) -> None:
    """Take the names away, all of them if none is given."""
    image = engine.images.resolve(name)
    for target in [_reference(image, target) for target in targets] or image.references:
        if target not in image.references:
            raise NotFoundError(target, "tag not known")
        engine.images.untag(target)
        events.of_image(engine, image, "untag", target)


def remove(
    engine: Engine,
    names: Sequence[str],
    *,
    everything: bool = False,
    force: bool = False,
    ignore: bool = False,
) -> Removal:
    """Untag or delete images. One that fails does not stop the others."""
    done = Removal()
    for name in [image.id for image in engine.images.list()] if everything else names:
        try:
            _remove_one(engine, name, done, force=force, by_all=everything)
        except UnknownImageError as error:
            error.exit_status = 1  # as podman's rmi has it
            if not (ignore or force or everything):  # everything: it went with another one
                done.errors.append(error)
        except SampanError as error:
            done.errors.append(error)
    return done


def _remove_one(engine: Engine, name: str, done: Removal, *, force: bool, by_all: bool) -> None:
    try:
        image = find(engine, name)
    except UnknownImageError:
        from sampan.store.lists import Lists

        if by_all or not Lists(engine.root_fd).exists(full_name(name)):
            raise
        Lists(engine.root_fd).remove(full_name(name))
        done.untagged.append(full_name(name))
        return
    name_given = None if by_all else called(image, name)
    if name_given is not None and len(image.references) > 1:
        engine.images.untag(name_given)
        events.of_image(engine, image, "untag", name_given)
        done.untagged.append(name_given)
        return
    if name_given is None and len(image.references) > 1 and not (force or by_all):
        raise InUseError(
            f'unable to delete image "{hex_id(image)}" by ID with more than one tag '
            f"({', '.join(image.references)}): please force removal",
            exit_status=2,
        )
    _free(engine, image, force)
    delete(engine, image)
    done.untagged.extend(image.references)
    done.deleted.append(hex_id(image))


def called(image: Image, name: str) -> str | None:
    """By which of its names an image was found, None if by its id."""
    digits = name.removeprefix("sha256:")
    if digits == hex_id(image):
        return None
    try:
        wanted = reference.parse(name)
    except SampanError:
        return None
    if wanted.digest:
        same = [one for one in image.references if one.endswith(wanted.digest)]
        return next((one for one in same if one == str(wanted)), same[0] if same else None)
    tail = wanted.familiar
    for candidate in (str(wanted), f"localhost/{tail}"):
        if candidate in image.references:
            return candidate
    return next((one for one in image.references if one.endswith(f"/{tail}")), None)


def _free(engine: Engine, image: Image, force: bool) -> None:
    """No container may need the image; with `force` those go that do."""
    users = engine.containers.users_of_image(image.id)
    if not users:
        return
    if not force:
        raise InUseError(
            f"image used by {users[0]}: image is in use by a container: consider listing external "
            "containers and force-removing image",
            exit_status=2,
        )
    from sampan.engine.remove import remove as remove_container

    for user in users:
        remove_container(engine, user, force=True)


def delete(engine: Engine, image: Image) -> None:
    """Unlist the image; its blobs and layers go unless something else needs them."""
    keys = set(layer_keys(image))
    engine.images.remove(image)
    engine.layers.remove(sorted(keys - needed_layers(engine)))
    for name in image.references:
        events.of_image(engine, image, "untag", name)
    events.of_image(engine, image, "remove", hex_id(image))


def needed_layers(engine: Engine) -> set[str]:
    """The keys of the layers of all images, containers, results of builds and operations in progress."""
    from sampan.store.buildcache import BuildCache

    keys = {key.removeprefix("layer:") for key in engine.images.leased()}
    keys |= BuildCache(engine.root_fd).kept_layers()
    for image in engine.images.list():
        keys.update(layer_keys(image))
    for container in engine.containers.all(builds=True):
        keys.update(container.record["storage"]["chain"])
        for mount in container.record["options"]["mounts"]:
            keys.update(mount.get("chain") or ())  # an image that it mounts
    return keys


def layer_keys(image: Image) -> list[str]:
    try:
        return [layer_model.layer_key(chain) for chain in layer_model.chain_ids(image.diff_ids)]
    except SampanError:
        return []  # a damaged image needs nothing any more


def prune(engine: Engine, *, everything: bool = False, filters: Sequence[str] = ()) -> list[str]:
    """Delete untagged images, or with `everything` all that no container uses; returns ids."""
    from sampan.engine.image_filters import select

    gone: list[str] = []
    for image in select(engine, engine.images.list(), filters):
        if image.references and not everything:
            continue
        if not engine.containers.users_of_image(image.id):
            delete(engine, image)
            gone.append(hex_id(image))
    engine.images.collect()  # what pulls that failed have left
    engine.layers.gc(needed_layers(engine))
    return gone
