"""A verb over several containers: what worked is printed, what did not is told, and the status says so."""

from __future__ import annotations

import os

from sampan.cli.parse import Verb
from sampan.errors import NotFoundError, SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.engine import Engine


def each(
    engine: Engine,
    verb: Verb,
    words: list[str],
    action: Callable[[str], object],
    *,
    everything: bool = False,
    cidfiles: list[str] | None = None,
    ignore: bool = False,
    states: tuple[str, ...] = (),
) -> int:
    """Returns 0, or the status of the last error (a missing container: 1, as with podman)."""
    if everything and words:
        raise UsageError(f"sampan {verb.name}", "no arguments are needed with --all")
    words = [*words, *_ids(cidfiles or [], ignore)]
    if everything:
        words = [c.id for c in engine.containers.all() if not states or c.state in states]
        words += [] if states else [i for i in engine.containers.ids() if i not in words]
    elif not words and not cidfiles:
        raise UsageError(
            f"sampan {verb.name}",
            "you must provide at least one name or id",
            f"see 'sampan {verb.name} --help'",
        )
    status = 0
    for word in words:
        try:
            told = action(word)
        except NotFoundError as error:
            if not ignore:
                os.write(2, f"Error: {error}\n".encode())
                status = 1
        except SampanError as error:
            os.write(2, f"Error: {error}\n".encode())
            status = error.exit_status
        else:
            if told is not None:
                print(word if not everything else told, flush=True)
    return status


def _ids(paths: list[str], ignore: bool) -> list[str]:
    ids: list[str] = []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                ids.append(file.readline().strip())
        except OSError as error:
            if not (ignore and isinstance(error, FileNotFoundError)):
                raise SampanError(
                    f"cannot read the container's id from {path}", error.strerror or ""
                ) from None
    return ids
