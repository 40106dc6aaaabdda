"""sampan system: df and prune."""

from __future__ import annotations

import time

from sampan.cli.confirm import agreed
from sampan.cli.context import engine as make_engine
from sampan.cli.format import render_rows
from sampan.cli.images import human_size
from sampan.cli.parse import FLAG, LIST, Option, Verb, parse
from sampan.errors import SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.engine.disk import Usage

DF = Verb(
    "system df",
    "Show what images, containers, volumes and the build cache take of the disk",
    "",
    [
        Option("--format", help="json or a Go template", metavar="FORMAT"),
        Option(
            "--verbose -v", FLAG, "Show each image, container, volume and entry of the build cache"
        ),
    ],
    maximum=0,
)
PRUNE = Verb(
    "system prune",
    "Remove containers that do not run, and images, volumes and build cache that are not needed",
    "",
    [
        Option(
            "--all -a", FLAG, "Remove all images that no container uses, not only untagged ones"
        ),
        Option("--filter", LIST, "Remove only what matches (until=, label=)", "KEY=VALUE"),
        Option("--force -f", FLAG, "Do not ask"),
        Option("--volumes", FLAG, "Remove the volumes that no container has, too"),
    ],
    maximum=0,
)
COLUMNS = [
    ("TYPE", "Type"),
    ("TOTAL", "Total"),
    ("ACTIVE", "Active"),
    ("SIZE", "Size"),
    ("RECLAIMABLE", "Reclaimable"),
]
IMAGE_COLUMNS = [
    ("REPOSITORY", "Repository"),
    ("TAG", "Tag"),
    ("IMAGE ID", "ImageID"),
    ("CREATED", "Created"),
    ("SIZE", "Size"),
    ("SHARED SIZE", "SharedSize"),
    ("UNIQUE SIZE", "UniqueSize"),
    ("CONTAINERS", "Containers"),
]
CONTAINER_COLUMNS = [
    ("CONTAINER ID", "ContainerID"),
    ("IMAGE", "Image"),
    ("COMMAND", "Command"),
    ("LOCAL VOLUMES", "LocalVolumes"),
    ("SIZE", "Size"),
    ("CREATED", "Created"),
    ("STATUS", "Status"),
    ("NAMES", "Names"),
]
VOLUME_COLUMNS = [("VOLUME NAME", "Name"), ("LINKS", "Links"), ("SIZE", "Size")]
CACHE_COLUMNS = [
    ("CACHE ID", "ID"),
    ("CACHE TYPE", "Type"),
    ("SIZE", "Size"),
    ("CREATED", "Created"),
    ("LAST USED", "LastUsed"),
    ("SHARED", "Shared"),
    ("DESCRIPTION", "Description"),
]
VERBS = {"df": DF, "prune": PRUNE}


def _size(count: int) -> str:
    """As Docker and podman write sizes here: without a space."""
    return human_size(count).replace(" ", "")


def main(words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h"):
        rows = [f"  {name:10}{verb.summary}" for name, verb in VERBS.items()]
        head = [
            "Manage sampan",
            "",
            "Usage:",
            "  sampan system [command]",
            "",
            "Available Commands:",
        ]
        print("\n".join([*head, *rows]))
        if not words:
            raise UsageError("missing command 'sampan system COMMAND'")
        return 0
    if words[0] not in VERBS:
        raise UsageError(
            f"unrecognized command 'sampan system {words[0]}'", "", "see 'sampan system --help'"
        )
    return _df(words[1:]) if words[0] == "df" else _prune(words[1:])


def _df(words: list[str]) -> int:
    values, _ = parse(DF, words)
    from sampan.engine import disk

    engine = make_engine()
    images, total = disk.images(engine)
    containers = disk.containers(engine)
    volumes = disk.volumes(engine)
    builds = disk.builds(engine)
    if values["verbose"]:
        if values["format"]:
            raise UsageError("sampan system df", "cannot combine --format and --verbose flags")
        print("Images space usage:\n")
        print(render_rows(None, [row for one in images for row in _image_rows(one)], IMAGE_COLUMNS))
        print("\nContainers space usage:\n")
        print(render_rows(None, [_container_row(one) for one in containers], CONTAINER_COLUMNS))
        print("\nLocal Volumes space usage:\n")
        rows = [{"Name": v.item, "Links": v.active, "Size": _size(v.size)} for v in volumes]
        print(render_rows(None, rows, VOLUME_COLUMNS))
        print("\nBuild cache usage:\n")
        print(render_rows(None, [_cache_row(one) for one in builds], CACHE_COLUMNS))
        return 0
    rows = [
        _row("Images", images, total, disk.reclaimable(images)),
        _row(
            "Containers", containers, sum(c.size for c in containers), disk.reclaimable(containers)
        ),
        _row("Local Volumes", volumes, sum(v.size for v in volumes), disk.reclaimable(volumes)),
        _row("Build Cache", builds, sum(b.size for b in builds), disk.reclaimable(builds)),
    ]
    print(render_rows(values["format"], rows, COLUMNS))
    return 0


def _row(kind: str, found: list[Usage], size: int, free: int) -> dict[str, Any]:
    share = round(100 * free / size) if size else 0
    return {
        "Type": kind,
        "Total": len(found),
        "Active": sum(1 for one in found if one.active),
        "RawSize": size,
        "RawReclaimable": free,
        "Size": _size(size),
        "Reclaimable": f"{_size(free)} ({share}%)",
    }


def _image_rows(one: Usage) -> list[dict[str, Any]]:
    from sampan.engine.image_filters import moment
    from sampan.model import reference, times

    image: Any = one.item
    rows: list[dict[str, Any]] = []
    for name in image.names or [""]:
        parsed = reference.parse(name) if name else None
        rows.append(
            {
                "Repository": parsed.repository if parsed else "<none>",
                "Tag": (parsed.tag if parsed else "") or "<none>",
                "ImageID": image.id.removeprefix("sha256:")[:12],
                "Created": times.ago(time.time() - moment(image.config.get("created") or "")),
                "Size": _size(one.size),
                "SharedSize": _size(one.shared),
                "UniqueSize": _size(one.size - one.shared),
                "Containers": one.active,
            }
        )
    return rows


def _container_row(one: Usage) -> dict[str, Any]:
    from sampan.model import times

    container: Any = one.item
    return {
        "ContainerID": container.id[:12],
        "Image": container.record["image"]["id"].removeprefix("sha256:")[:12],
        "Command": " ".join(container.record["args"]),
        "LocalVolumes": sum(
            1 for mount in container.record["options"]["mounts"] if mount["type"] == "volume"
        ),
        "Size": _size(one.size),
        "Created": times.ago(time.time() - times.parse(container.record["created"])),
        "Status": container.state,
        "Names": container.name,
    }


def _cache_row(one: Usage) -> dict[str, Any]:
    from sampan.model import times

    entry: Any = one.item
    return {
        "ID": entry.key[:12] + ("*" if entry.in_use else ""),
        "Type": entry.kind,
        "Size": _size(entry.size),
        "Created": times.ago(time.time() - entry.created),
        "LastUsed": times.ago(time.time() - entry.used),
        "Shared": entry.shared,
        "Description": entry.description,
    }


def _prune(words: list[str]) -> int:
    values, _ = parse(PRUNE, words)
    if not values["force"] and not _agreed(values["all"], values["volumes"]):
        return 0
    from sampan.cli.container_prune import remove_stopped
    from sampan.engine.images import prune

    filters = [text for value in values["filter"] for text in value.split(",")]
    engine = make_engine()
    before = _bytes(engine)
    gone = list(remove_stopped(engine, values["filter"]))
    if gone:
        print("Deleted Containers")
        print("\n".join(gone))
    if networks := _prune_networks(engine, filters):
        print("Deleted Networks")
        print("\n".join(networks))
    if values["volumes"] and engine.has_volumes():
        from sampan.engine import volumes

        pruned = volumes.prune(engine, [volume.name for volume in volumes.unused(engine)])
        if pruned:
            print("Deleted Volumes")
            print("\n".join(pruned))
    images = prune(engine, everything=values["all"], filters=filters)
    if images:
        print("Deleted Images")
        print("\n".join(images))
    cache = _prune_cache(engine, values["all"], filters)
    if cache:
        print("Deleted build cache objects")
        print("\n".join(cache))
    print(f"Total reclaimed space: {_size(max(0, before - _bytes(engine)))}")
    return 0


def _prune_networks(engine: Engine, filters: list[str]) -> list[str]:
    from sampan.engine import networks
    from sampan.engine.network_shown import select

    gone: list[str] = []
    for network in select(networks.unused(engine), filters):
        try:
            gone.append(networks.remove(engine, network["name"]))
        except SampanError:  # somebody has joined it, or removed it
            continue
    return gone


def _prune_cache(engine: Engine, everything: bool, filters: list[str]) -> list[str]:
    """The keys that went; of the filters of images an entry of the cache has but its time."""
    if not all(text.startswith("until=") for text in filters):
        return []
    from sampan.engine.builder import prune

    gone, _ = prune(engine, everything=everything, filters=filters)
    return [one.key for one in gone]


def _bytes(engine: Engine) -> int:
    from sampan.engine import disk

    _, total = disk.images(engine)
    others = *disk.containers(engine), *disk.volumes(engine), *disk.builds(engine)
    return total + sum(one.size for one in others)


def _agreed(everything: bool, volumes: bool) -> bool:
    images = "all images without at least one container" if everything else "all dangling images"
    print("WARNING! This command removes:")
    print("\t- all stopped containers")
    print("\t- all networks not used by at least one container")
    print(f"\t- {images}")
    if volumes:
        print("\t- all volumes not used by at least one container")
    print("\t- all build cache\n" if everything else "\t- unused build cache\n")
    return agreed()
