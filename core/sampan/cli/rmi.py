"""sampan rmi."""

from __future__ import annotations

import os

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VERB = Verb(
    "rmi",
    "Remove images",
    "IMAGE [IMAGE...]",
    [
        Option("--all -a", FLAG, "Remove all images"),
        Option("--force -f", FLAG, "Remove with several names, and with containers that use it"),
        Option("--ignore -i", FLAG, "A missing image is no error"),
        Option("--no-prune", FLAG, "Keep untagged parents (there are none)"),
    ],
)


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    if not names and not values["all"]:
        raise UsageError("image name or ID must be specified", "", "see 'sampan rmi --help'")
    if names and values["all"]:
        raise UsageError("when using the --all switch, you may not pass any images names or IDs")
    from sampan.engine.images import remove

    done = remove(
        make_engine(),
        names,
        everything=values["all"],
        force=values["force"],
        ignore=values["ignore"],
    )
    for name in done.untagged:
        print(f"Untagged: {name}")
    for image_id in done.deleted:
        print(f"Deleted: {image_id}")
    return tell(done.errors)


def tell(errors: Sequence[SampanError]) -> int:
    """podman's way to print several errors; the status is the gravest: 125, 2 in use, 1 not
    found.
    """
    if not errors:
        return 0
    if len(errors) == 1:
        text = f"Error: {errors[0]}\n"
    else:
        lines = "".join(f"\t* {error}\n" for error in errors)
        text = f"Error: {len(errors)} errors occurred:\n{lines}"
    import sys

    sys.stdout.flush()
    from sampan.cli.format import escape_lines

    os.write(2, escape_lines(text).encode(errors="backslashreplace"))
    return max(error.exit_status for error in errors)
