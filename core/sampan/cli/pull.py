"""sampan pull."""

from __future__ import annotations

import os

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import SampanError, UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERB = Verb(
    "pull",
    "Pull images from a registry",
    "IMAGE [IMAGE...]",
    [
        Option("--all-tags -a", FLAG, "Pull all tags of a repository (not supported)"),
        Option("--arch", help="Architecture instead of this machine's", metavar="ARCH"),
        Option("--os", help="Operating system instead of linux", metavar="OS"),
        Option("--platform", help="OS/ARCH[/VARIANT]", metavar="PLATFORM"),
        Option("--policy", help="always, missing, newer or never", default="always"),
        Option("--quiet -q", FLAG, "Print the image's id alone"),
        Option("--tls-verify", FLAG, "Require https and check certificates", default=""),
        Option("--variant", help="Variant of the architecture", metavar="VARIANT"),
    ],
    minimum=1,
)


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    if values["all_tags"]:
        raise UnsupportedError("sampan pull --all-tags", "tags are pulled one by one", "name them")
    from sampan.cli.format import escape
    from sampan.cli.progress import show
    from sampan.engine import events
    from sampan.engine.pull import pull

    engine = make_engine()
    failed = 0
    for name in names:
        try:
            with show(values["quiet"]) as progress:
                image = pull(
                    engine,
                    name,
                    platform=platform_of(values),
                    policy=values["policy"],
                    tls_verify=tri_state(values["tls_verify"]),
                    progress=progress,
                )
        except SampanError as error:
            if len(names) == 1:
                raise
            os.write(2, f"Error: {escape(str(error))}\n".encode(errors="backslashreplace"))
            failed = error.exit_status
            continue
        events.of_image(engine, image, "pull", name)
        print(image.id.removeprefix("sha256:"), flush=True)
    return failed


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


def tri_state(value: Any) -> bool | None:
    """A flag that was not given leaves the matter to the configuration."""
    return None if value == "" else bool(value)
