"""sampan container checkpoint and restore: why a user without privileges cannot have them."""

from __future__ import annotations

from sampan.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(words: list[str]) -> NoReturn:
    raise UnsupportedError(
        "cannot checkpoint or restore a container",
        "CRIU needs CAP_CHECKPOINT_RESTORE in the host's user namespace, which a user without "
        "privileges does not have, and cannot dump a user namespace from within",
        "commit keeps the files; for the processes, use an engine that runs as root",
    )
