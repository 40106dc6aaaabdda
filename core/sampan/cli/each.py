"""A verb over several containers: what worked is printed, what did not is told, and the status says so.

Which ones: those that are named, those of --cidfile, --all, or --latest; of these, what --filter lets through.
"""

from __future__ import annotations

import os

from sampan.cli.parse import Verb
from sampan.errors import NotFoundError, SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sampan.engine import Engine


def each(
    engine: Engine,
    verb: Verb,
    words: list[str],
    action: Callable[[str], object],
    *,
    values: dict[str, Any],
    ignore: bool = False,
    states: tuple[str, ...] = (),
    missing: int = 125,
) -> int:
    """Returns 0, or the status of the last error. `missing` is that of a container that is not there."""
    everything = values.get("all", False)
    filters: list[str] = values.get("filter") or []
    words = named(engine, verb, words, values)
    words = [*words, *_ids(values.get("cidfile") or [], ignore)]
    if everything or (filters and not words):
        words = [c.id for c in engine.containers.all() if not states or c.state in states]
        words += [] if states or filters else [i for i in engine.containers.ids() if i not in words]
    elif not words and not values.get("cidfile"):
        raise UsageError(
            f"sampan {verb.name}",
            "you must provide at least one name or id",
            f"see 'sampan {verb.name} --help'",
        )
    if filters:
        from sampan.cli.ps import select

        words = select(engine, words, filters)
    status = 0
    for word in words:
        try:
            told = action(word)
        except NotFoundError as error:
            if not ignore:
                os.write(2, f"Error: {error}\n".encode())
                status = missing
        except SampanError as error:
            os.write(2, f"Error: {error}\n".encode())
            status = error.exit_status
        else:
            if told is not None:
                print(word if not everything else told, flush=True)
    return status


def named(engine: Engine, verb: Verb, words: list[str], values: dict[str, Any]) -> list[str]:
    """The names, or the id of the container that --latest means."""
    everything, latest = values.get("all", False), values.get("latest", False)
    if everything and latest:
        raise UsageError(f"sampan {verb.name}", "--all and --latest cannot be used together")
    if everything and words:
        raise UsageError(f"sampan {verb.name}", "no arguments are needed with --all")
    if not latest:
        return words
    if words:
        raise UsageError(f"sampan {verb.name}", "--latest and containers cannot be used together")
    return [latest_id(engine)]


def latest_id(engine: Engine) -> str:
    """The container that was created last."""
    ids = [container.id for container in engine.containers.all()]
    if not ids:
        raise NotFoundError("no containers", "no such container")
    return ids[-1]


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
