"""`RUN --mount=`: what is mounted while a command runs."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass

from sampan_build.dockerfile.arguments import ArgumentError, quote
from sampan_build.dockerfile.paths import clean
from sampan_build.dockerfile.source import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TYPES = "bind", "cache", "tmpfs", "secret", "ssh"
SHARING = "shared", "private", "locked"
KEYS = ("type", "from", "source", "src", "target", "dst", "destination", "readonly", "ro", "readwrite", "rw", "id",
        "sharing", "required", "size", "mode", "uid", "gid", "env")  # fmt: skip
ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
SWITCHES = "readonly", "readwrite", "required"
RELABEL = {"z": "shared", "Z": "private"}  # podman's, as with -v
OWNED = "secret", "ssh", "cache"  # the types that have mode, uid and gid
TRUE = "1", "t", "T", "TRUE", "true", "True"
FALSE = "0", "f", "F", "FALSE", "false", "False"
NO_VALUE = "\0"  # of a field without =
SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+) ?([kmgtp]?)(?:i?b)?", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount with the defaults of its type.

    origin is the stage or image that source is looked for in, "" for the context (and for a cache: nothing).
    An empty target is the working directory; size is bytes, 0 without a limit; mode, uid and gid
    are None where they are not given.
    """

    type: str = "bind"
    origin: str = ""
    source: str = ""
    target: str = ""
    readonly: bool = True
    id: str = ""
    sharing: str = "shared"
    required: bool = False
    size: int = 0
    env: str | None = None
    relabel: str = ""  # shared or private: SELinux labels
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


def origin(text: str) -> str:
    """The stage or image that a mount takes files from, before any variable is known; else ""."""
    for key, value, _ in _fields(text):
        if key == "from":
            at = value.find("$")
            if 0 <= at < len(value) - 1:
                raise ArgumentError(
                    "'from' doesn't support variable expansion, define alias stage instead",
                    "write FROM $NAME AS ALIAS before, and from=ALIAS",
                    value,
                )
            return value
    return ""


def read(text: str, expand: Callable[[str], str]) -> Mount:
    """The mount that the value of --mount asks for; its values are expanded."""
    found: dict[str, Any] = {"type": "bind"}
    for key, value, field in _fields(text):
        if value == NO_VALUE and field in RELABEL:
            found["relabel"] = RELABEL[field]
            continue
        name = ALIASES.get(key, key)
        if value == NO_VALUE:
            if name not in SWITCHES:
                raise ArgumentError(
                    f"invalid field '{field}' must be a key=value pair", _known(key), field
                )
            value = "true"
        elif key not in KEYS:
            raise ArgumentError(f"unexpected key '{key}' in '{field}'", _known(key), field)
        _set(found, key, name, expand(value))
    _check(found)
    return _complete(found)


def _fields(text: str) -> list[tuple[str, str, str]]:
    """(key, value, the field as it is written) of a comma-separated list with quotes."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise ArgumentError(f"failed to parse csv mounts: {error}", "", text) from None
    fields = [(field, *field.partition("=")) for field in (rows[0] if rows else [])]
    return [(key.lower(), value if sign else NO_VALUE, field) for field, key, sign, value in fields]


def _known(key: str) -> str:
    return nearest(key, KEYS)


def _set(found: dict[str, Any], key: str, name: str, value: str) -> None:
    kind = found["type"]
    if name in ("type", "sharing"):
        choices = TYPES if name == "type" else SHARING
        if value.lower() not in choices:
            what = "mount type" if name == "type" else "sharing value"
            raise ArgumentError(
                f"unsupported {what} {quote(value)}", nearest(value, choices), value
            )
        found[name] = value.lower()
    elif name in SWITCHES:
        if name == "required" and kind not in ("secret", "ssh"):
            raise ArgumentError(
                f"unexpected key '{key}' for mount type '{kind}'", "write type= before it", key
            )
        if value not in TRUE + FALSE:
            raise ArgumentError(
                f"invalid value for {key}: {value}", "true or false is wanted", value
            )
        found["readonly" if name == "readwrite" else name] = (value in TRUE) != (
            name == "readwrite"
        )
    elif name == "size":
        if kind != "tmpfs":
            raise ArgumentError(
                f"unexpected key '{key}' for mount type '{kind}'", "write type=tmpfs before it", key
            )
        found[name] = _size(value)
    elif name in ("mode", "uid", "gid"):
        digits = "01234567" if name == "mode" else "0123456789"
        if (
            not value
            or value.strip(digits)
            or len(value) > 11
            or int(value, len(digits)) >= 1 << 32
        ):
            wanted = "an octal number" if name == "mode" else "a number"
            raise ArgumentError(f"invalid value {value} for {name}", f"{wanted} is wanted", value)
        found[name] = int(value, len(digits))
    else:
        found["origin" if name == "from" else name] = value


def _size(value: str) -> int:
    match = SIZE.fullmatch(value)
    if not match or len(value) > 32:
        raise ArgumentError(
            f"invalid value for size: {value}", "a number with b, k, m or g is wanted", value
        )
    return int(float(match[1]) * 1024 ** " kmgtp".index(match[2].lower() or " "))


def _check(found: dict[str, Any]) -> None:
    kind = found["type"]
    for name in ("mode", "uid", "gid"):
        if name in found and kind not in OWNED:
            raise ArgumentError(f"{name} not allowed for {quote(kind)} type mounts", "", name)
    if kind == "secret":
        if found.get("origin"):
            raise ArgumentError("secret mount should not have a from", "", "from")
        if "sharing" in found:
            raise ArgumentError("secret mount should not define sharing", "", "sharing")
        if not any(found.get(name) for name in ("source", "target", "id")):
            raise ArgumentError(
                "invalid secret mount. one of source, target required", "give it an id"
            )
        if found.get("source") and found.get("id"):
            raise ArgumentError("both source and id can't be set", "", "source")
    if "relabel" in found and kind not in ("bind", "cache"):
        raise ArgumentError(f"z and Z not allowed for {quote(kind)} type mounts")
    if "sharing" in found and kind != "cache":
        raise ArgumentError(f"invalid cache sharing set for {kind} mount", "", "sharing")
    if kind == "ssh" and found.get("source"):
        raise ArgumentError("ssh does not support source", "name the agent with id=", "source")
    if found.get("target") and clean(found["target"]) == "/":
        raise ArgumentError(
            'invalid mount target "/"', "name a directory below it", found["target"]
        )


def _complete(found: dict[str, Any]) -> Mount:
    """With the defaults that depend on the type."""
    kind, target = found["type"], found.get("target", "")
    found.setdefault("readonly", kind not in ("cache", "tmpfs"))
    if kind == "cache" and not found.get("id"):
        found["id"] = clean(target)
    if kind == "secret":
        found["id"] = found.pop("source", "") or found.get("id") or target.rpartition("/")[2]
        if not target and found.get("env") is None:
            found["target"] = f"/run/secrets/{found['id'].rpartition('/')[2]}"
    if kind == "ssh" and not found.get("id"):
        found["id"] = "default"
    return Mount(**found)
