"""sampan pull."""

from __future__ import annotations

import os

from sampan.cli.access_options import OPTIONS, access_of
from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.engine import Engine
    from sampan.engine.fetching import Progress
    from sampan.store.images import Image

VERB = Verb(
    "pull",
    "Pull images from a registry, a layout or an archive",
    "IMAGE [IMAGE...]",
    [
        Option("--all-tags -a", FLAG, "Pull all tags of a repository"),
        Option("--arch", help="Architecture instead of this machine's", metavar="ARCH"),
        Option("--disable-content-trust", FLAG, "Accepted and without meaning, as in podman"),
        Option("--os", help="Operating system instead of linux", metavar="OS"),
        Option("--platform", help="OS/ARCH[/VARIANT]", metavar="PLATFORM"),
        Option("--policy", help="always, missing, newer or never", default="always"),
        Option("--quiet -q", FLAG, "Print the image's id alone"),
        Option("--variant", help="Variant of the architecture", metavar="VARIANT"),
        *OPTIONS,
    ],
    minimum=1,
)


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    from sampan.cli.format import escape
    from sampan.cli.progress import show
    from sampan.engine import events

    engine = make_engine()
    failed = 0
    for name in names:
        try:
            with show(values["quiet"]) as progress:
                images = _pull(engine, name, values, progress)
        except SampanError as error:
            if len(names) == 1:
                raise
            os.write(2, f"Error: {escape(str(error))}\n".encode(errors="backslashreplace"))
            failed = error.exit_status
            continue
        events.of_arrival(engine, "pull", name)
        for image in images:
            print(image.id.removeprefix("sha256:"), flush=True)
    return failed


def _pull(engine: Engine, name: str, values: dict[str, Any], progress: Progress) -> list[Image]:
    from sampan.engine.pull import pull, pull_all
    from sampan.transports import place

    platform, access = platform_of(values), access_of(values)
    found = place.parse(name)
    if found is not None:
        from sampan.engine.load import pull_place

        if values["all_tags"]:
            raise UsageError("sampan pull --all-tags", f"{found.transport}: has no tags")
        return pull_place(engine, found, platform=platform, progress=progress)
    if values["all_tags"]:
        return pull_all(engine, name, platform=platform, access=access, progress=progress)
    return [
        pull(
            engine,
            name,
            platform=platform,
            policy=values["policy"],
            access=access,
            progress=progress,
        )
    ]


def platform_of(values: dict[str, Any]) -> str | None:
    """--platform, or the parts of one."""
    parts = [values["os"], values["arch"], values["variant"]]
    if not any(parts):
        return values["platform"] or None
    if values["platform"]:
        raise UsageError("sampan", "--platform cannot be used with --os, --arch or --variant")
    from sampan.model.platform import host

    here = host()
    architecture = parts[1] or here.architecture
    variant = parts[2] or ("" if parts[1] else here.variant)
    return "/".join(part for part in (parts[0] or "linux", architecture, variant) if part)
