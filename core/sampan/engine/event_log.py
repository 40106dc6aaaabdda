"""Reading the events: what was told, and what is being told."""

from __future__ import annotations

import os
import time

from sampan import jsontext
from sampan.engine.events import LOG, OLD
from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from sampan.engine import Engine

POLL_SECONDS = 0.05
DOCKER = {
    "die": "died",
    "destroy": "remove",
    "delete": "remove",
    "exec_start": "exec",
    "exec_die": "exec_died",
}
KEYS = ("container", "event", "status", "image", "label", "pod", "type", "volume")


def read(
    engine: Engine,
    *,
    since: float | None,
    until: float | None,
    filters: list[str],
    follow: bool,
) -> Iterator[dict[str, Any]]:
    """Events in order. since, until: seconds since the epoch; a follower without `since` begins with now."""
    if engine.settings.events_backend == "none":
        raise UsageError('cannot read events with the "none" backend')
    wanted = parse(filters)
    if since is None and follow and until is None:
        since = time.time()
    first = int(since * 1e9) if since is not None else 0
    last = int(until * 1e9) if until is not None else None
    for event in _all(engine.root_fd, follow=follow, until=until):
        if event["time"] < first or (last is not None and event["time"] > last):
            continue
        if matches(event, wanted):
            yield event


def parse(words: list[str]) -> dict[str, list[str]]:
    """{key: values} of `KEY=VALUE` words."""
    found: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or key.lower() not in KEYS:
            raise UsageError(f"invalid filter {word!r}", "", f"KEY=VALUE with {', '.join(KEYS)}")
        found.setdefault(key.lower(), []).append(value)
    return found


def matches(event: dict[str, Any], wanted: dict[str, list[str]]) -> bool:
    """Every key must match; of several values of one key, one."""
    return all(
        any(_matches(event, key, value) for value in values) for key, values in wanted.items()
    )


def _matches(event: dict[str, Any], key: str, value: str) -> bool:
    if key in ("event", "status"):
        name = str(event["status"])
        return name == DOCKER.get(value, value) or value.partition(":")[0] == name
    if key == "type":
        return bool(event["type"] == value)
    if key == "label":
        name, equals, wanted = value.partition("=")
        attributes = event["attributes"]
        return name in attributes and (not equals or attributes[name] == wanted)
    if key == "pod" or (key != "image" and event["type"] != key):
        return False
    if key == "image":
        names = [event["name"], event["id"]] if event["type"] == "image" else []
        names.append(str(event["attributes"].get("image", "")))
        return any(_names(value, name) for name in names)
    return value == event["name"] or bool(value and event["id"].startswith(value))


def _names(value: str, name: str) -> bool:
    bare = name.removeprefix("sha256:")
    return (
        value in (name, bare)
        or name.rpartition(":")[0] == value
        or name.endswith((f"/{value}", f"/{value}:latest"))
    )


def _all(root_fd: int, *, follow: bool, until: float | None) -> Iterator[dict[str, Any]]:
    """Both logs from the beginning; then, for a follower, what is added, through renewals."""
    for name in (OLD, LOG):
        fd = _open(root_fd, name)
        if fd is None:
            continue
        if name == OLD or not follow:
            yield from _events(fd)
            os.close(fd)
    if not follow:
        return
    fd = _open(root_fd, LOG)
    while until is None or time.time() <= until:
        if fd is None:
            time.sleep(POLL_SECONDS)
            fd = _open(root_fd, LOG)
            continue
        renewed = _is_renewed(root_fd, fd)  # asked first: what the old one holds is read below
        yield from _events(fd)
        if renewed:
            os.close(fd)
            fd = _open(root_fd, LOG)
        else:
            time.sleep(POLL_SECONDS)


def _is_renewed(root_fd: int, fd: int) -> bool:
    try:
        return os.stat(LOG, dir_fd=root_fd).st_ino != os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def _open(root_fd: int, name: str) -> int | None:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root_fd)
    except FileNotFoundError:
        return None


def _events(fd: int) -> Iterator[dict[str, Any]]:
    """The events from where the descriptor stands; an unfinished line is left for the next time."""
    pending = b""
    while chunk := os.read(fd, 1 << 18):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            try:
                yield jsontext.loads(line)
            except ValueError:  # a full disk has cut it
                continue
    if pending:
        os.lseek(fd, -len(pending), os.SEEK_CUR)
