"""Reading the events: what was told, and what is being told."""

from __future__ import annotations

import os
import time

from sampan import jsontext
from sampan.engine.events import log_of
from sampan.errors import UsageError
from sampan.model.rfc3339 import nanoseconds

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
    for event in _all(log_of(engine), follow=follow, until=until):
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


def _all(path: str, *, follow: bool, until: float | None) -> Iterator[dict[str, Any]]:
    """The log from the beginning; then, for a follower, what is added, through renewals."""
    last = b""  # the line that was read last, by which one finds the way in a log made anew
    fd = _open(path)
    while True:
        renewed = (
            follow and fd is not None and _is_renewed(path, fd)
        )  # asked first: the rest is read below
        for line in _lines(fd) if fd is not None else ():
            last = line
            event = _event(line)
            if event:
                yield event
        if not follow or (until is not None and time.time() > until):
            if fd is not None:
                os.close(fd)
            return
        if fd is not None and not renewed:
            time.sleep(POLL_SECONDS)
            continue
        if fd is not None:
            os.close(fd)
        else:
            time.sleep(POLL_SECONDS)
        fd = _open(path)
        if fd is not None and last:
            _go_behind(fd, last)


def _is_renewed(path: str, fd: int) -> bool:
    try:
        return os.stat(path).st_ino != os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _go_behind(fd: int, last: bytes) -> None:
    """Stand behind that line, or at the beginning if it is no longer there."""
    at = 0
    for line in _lines(fd):
        at += len(line) + 1
        if line == last:
            os.lseek(fd, at, os.SEEK_SET)
            return
    os.lseek(fd, 0, os.SEEK_SET)


def _lines(fd: int) -> Iterator[bytes]:
    """The lines from where the descriptor stands; an unfinished one is left for the next time."""
    pending = b""
    while chunk := os.read(fd, 1 << 18):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from lines
    if pending:
        os.lseek(fd, -len(pending), os.SEEK_CUR)


def _event(line: bytes) -> dict[str, Any] | None:
    """What a line tells; None if a full disk has cut it."""
    try:
        found: dict[str, Any] = jsontext.loads(line)
        return {
            "time": nanoseconds(found["Time"]),
            "type": found["Type"],
            "status": found["Status"],
            "id": found.get("ID") or "",
            "name": found.get("Name") or "",
            "attributes": found.get("Attributes") or {},
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
