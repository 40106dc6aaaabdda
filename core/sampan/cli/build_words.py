"""The words of `build` options made into values: Docker's comma-separated KEY=VALUE and what stands for them."""

from __future__ import annotations

import os

from sampan.errors import UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CACHES = {  # the keys of --cache-from and --cache-to by type
    "registry": ("ref", "mode", "compression", "image-manifest", "oci-mediatypes", "ignore-error"),
    "local": ("src", "dest", "mode", "tag", "digest", "compression", "oci-mediatypes", "ignore-error"),
    "inline": (),
}  # fmt: skip
MODES = ("min", "max")


def fields(text: str, option: str) -> list[str]:
    """The fields of a line of comma-separated values; one in double quotes may hold commas."""
    import csv

    try:
        return next(csv.reader([text], strict=True), list[str]())
    except csv.Error as error:
        raise UsageError(f"invalid {option} {text!r}", str(error)) from None


def table(text: str, option: str) -> dict[str, str]:
    """{"type": "local", "dest": "x"} of type=local,dest=x."""
    found: dict[str, str] = {}
    for field in fields(text, option):
        key, equals, value = field.partition("=")
        if not equals:
            raise UsageError(f"invalid {option} {text!r}", f"{field!r} is not KEY=VALUE")
        found[key.strip().lower()] = value
    return found


def arguments(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """--build-arg: a name alone has the value of the environment, and is left out where that has none."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name:
            raise UsageError(f"invalid --build-arg {word!r}", "its name is empty", "NAME=VALUE")
        if equals:
            found[name] = value
        elif name in environment:
            found[name] = environment[name]
    return found


def pairs(words: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE by name."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise UsageError(f"invalid {option} {word!r}", "", "NAME=VALUE")
        found[name] = value
    return found


def manifest_annotations(words: Sequence[str]) -> dict[str, str]:
    """--annotation [manifest:]KEY=VALUE."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        kind, colon, rest = key.partition(":")
        if not equals or not key:
            raise UsageError(f"invalid --annotation {word!r}", "", "KEY=VALUE")
        if colon and kind.partition("[")[0] in ("index", "index-descriptor", "manifest-descriptor"):
            raise UnsupportedError(
                f"--annotation {word} is not supported", "one manifest is made, no index"
            )
        found[rest if colon and kind == "manifest" else key] = value
    return found


def secret(text: str) -> dict[str, str]:
    """{"id", "src" or "env"}; an id alone is a variable of that name, or a file."""
    given = table(text, "--secret")
    unknown = set(given) - {"id", "src", "source", "env", "type"}
    kind = given.get("type", "")
    if unknown or not given.get("id") or kind not in ("", "file", "env"):
        why = f"unknown key {min(unknown)!r}" if unknown else "id= is missing"
        raise UsageError(
            f"invalid --secret {text!r}",
            why if unknown or not given.get("id") else f"unknown type {kind!r}",
            "id=NAME,src=FILE or id=NAME,env=VARIABLE",
        )
    source, variable = given.get("src") or given.get("source") or "", given.get("env") or ""
    if kind == "env" and not variable:
        source, variable = "", source
    if not source and not variable:
        name = given["id"]
        source, variable = ("", name) if name in os.environ else (name, "")
    return {"id": given["id"], **({"env": variable} if variable else {"src": source})}


def ssh(words: Sequence[str]) -> dict[str, str]:
    """--ssh default|ID[=SOCKET|KEY]: paths by id; an id alone is the agent of SSH_AUTH_SOCK."""
    found: dict[str, str] = {}
    for word in words:
        name, _, path = word.partition("=")
        if "," in path:
            raise UnsupportedError(
                f"--ssh {word} is not supported", "it names several keys", "an agent holds many"
            )
        if not path:
            path = os.environ.get("SSH_AUTH_SOCK", "")
            if not path:
                raise UsageError(
                    f"cannot use --ssh {word}", "SSH_AUTH_SOCK names no agent", f"--ssh {name}=PATH"
                )
        found[name or "default"] = path
    return found


def output(text: str) -> dict[str, str]:
    """-o: {"type": ..., "dest": ...}; a path alone is a directory, - a tar on standard output."""
    if text == "-":
        return {"type": "tar", "dest": "-"}
    if "=" not in text and len(fields(text, "--output")) == 1:
        return {"type": "local", "dest": text}
    found = table(text, "--output")
    if not found.get("type"):
        raise UsageError(f"invalid --output {text!r}", "type= is missing", "type=local,dest=DIR")
    return found


def cache(text: str, option: str) -> list[dict[str, str]]:
    """--cache-from and --cache-to; names alone are of a registry."""
    if "=" not in text:
        return [{"type": "registry", "ref": name} for name in fields(text, option)]
    found = table(text, option)
    kind = found.get("type", "")
    if kind not in CACHES or (kind == "inline" and option == "--cache-from"):
        raise UnsupportedError(
            f"{option} {text} is not supported", f"there is no type {kind!r}", "registry or local"
        )
    unknown = set(found) - {"type", *CACHES[kind]}
    if unknown:
        raise UsageError(f"invalid {option} {text!r}", f"unknown key {min(unknown)!r}")
    needed = {"registry": "ref", "local": "src" if option == "--cache-from" else "dest"}.get(kind)
    if needed and not found.get(needed):
        raise UsageError(f"invalid {option} {text!r}", f"{needed}= is missing")
    if found.get("mode", "min") not in MODES:
        raise UsageError(f"invalid {option} {text!r}", "mode is min or max")
    return [found]
