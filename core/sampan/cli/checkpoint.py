"""sampan container checkpoint and restore: why a user without privileges cannot have them."""

from __future__ import annotations

from sampan.cli.parse import Verb, parse
from sampan.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

VERB = Verb(
    "container checkpoint|restore",
    "Write a container's processes to disk, or start them from there (refused: it needs privileges)",
    "CONTAINER",
    [],
    maximum=1,
)


def main(words: list[str]) -> NoReturn:
    if words[:1] in (["--help"], ["-h"]):
        parse(VERB, ["--help"])
    raise UnsupportedError(
        "cannot checkpoint or restore a container",
        "CRIU needs CAP_CHECKPOINT_RESTORE in the host's user namespace, which a user without "
        "privileges does not have, and cannot dump a user namespace from within",
        "commit keeps the files; for the processes, use an engine that runs as root",
    )
