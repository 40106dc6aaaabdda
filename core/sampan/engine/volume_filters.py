"""Which volumes `--filter` means: of several values of one key one must match, of the keys all."""

from __future__ import annotations

import os

from sampan.errors import UsageError
from sampan.model import times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from sampan.engine import Engine
    from sampan.model.volume import Volume

KNOWN = (
    "name",
    "driver",
    "label",
    "label!",
    "opt",
    "scope",
    "dangling",
    "until",
    "after",
    "since",
    "anonymous",
)


def select(engine: Engine, words: list[str]) -> list[Volume]:
    """The volumes that match; their descriptors are the caller's."""
    wanted: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key not in KNOWN:
            raise UsageError(
                f"{key!r} is an invalid volume filter", "", f"KEY=VALUE with {', '.join(KNOWN)}"
            )
        wanted.setdefault(key, []).append(value)
    using: Container[str] = ()
    if "dangling" in wanted:
        from sampan.engine.volumes import users

        using = users(engine)
    found: list[Volume] = []
    for volume in engine.volumes.all():
        if all(
            any(_matches(volume, key, value, using) for value in values)
            for key, values in wanted.items()
        ):
            found.append(volume)
        else:
            os.close(volume.fd)
    return found


def _matches(volume: Volume, key: str, value: str, using: Container[str]) -> bool:
    if key == "name":
        import re

        try:
            return re.search(value, volume.name) is not None
        except re.error as error:
            raise UsageError(f"invalid filter name={value}", str(error)) from None
    if key == "driver":
        return volume.driver == value
    if key == "scope":
        return value == "local"
    if key in ("label", "label!"):
        return _has(volume.labels, value) == (key == "label")
    if key == "opt":
        return _has(volume.options, value)
    if key in ("dangling", "anonymous"):
        if value.lower() not in ("true", "1", "false", "0"):
            raise UsageError(
                f"invalid filter {key}={value}", f"{value!r} is not a valid value", "true or false"
            )
        answer = volume.name not in using if key == "dangling" else volume.anonymous
        return answer == (value.lower() in ("true", "1"))
    older = times.parse(volume.created) < times.moment(value)
    return older if key == "until" else not older


def _has(pairs: dict[str, str], word: str) -> bool:
    name, equals, wanted = word.partition("=")
    return name in pairs and (not equals or pairs[name] == wanted)
