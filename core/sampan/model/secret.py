"""Secrets as values: their names, the words of `--secret`, and where a container finds them.

A container has its own copy of a secret, from when it was created.  Its record says which, never what (JSON objects):

    name, id   of the secret
    type       mount: a file;  env: a variable
    target     a path, or a variable's name
    uid, gid, mode   of the file, as the container sees them
"""

from __future__ import annotations

import os

from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Use = dict[str, Any]

MAX_SIZE = 512_000  # bytes, as podman has it
MAX_NAME = 253
DIRECTORY = "/run/secrets"
PLACE = "secrets"  # in the bundle: a tmpfs with `run`, which is DIRECTORY, and `files`, by number
LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
MODE = 0o444
FLAGS = ["bind", "ro", "rprivate", "nosuid", "nodev", "noexec"]


def check_name(name: str) -> str:
    """The name, if it is one: [a-zA-Z0-9][a-zA-Z0-9_.-]*."""
    if not name or name[0] not in LETTERS or set(name) - LETTERS - set("_.-"):
        raise UsageError(f"invalid secret name {name!r}", "names match [a-zA-Z0-9][a-zA-Z0-9_.-]*")
    if len(name) > MAX_NAME:
        raise UsageError(
            f"invalid secret name {name[:20]!r}...", f"it has more than {MAX_NAME} letters"
        )
    return name


def parse(word: str) -> Use:
    """`NAME[,type=mount|env][,target=T][,uid=N][,gid=N][,mode=OCTAL]`."""
    first, *rest = word.split(",")
    pairs = [["source", first] if "=" not in first else first.split("=", 1)]
    pairs += [pair.split("=", 1) for pair in rest]
    given: dict[str, str] = {}
    for key, *value in pairs:
        key = "source" if key == "src" else key
        if key not in ("source", "type", "target", "uid", "gid", "mode") or not value:
            raise _invalid(word, f"{key!r} is no option", "type=, target=, uid=, gid=, mode=")
        given[key] = value[0]
    if not given.get("source"):
        raise _invalid(word, "it names no secret", "NAME[,type=mount|env][,target=TARGET]")
    kind = given.get("type", "mount")
    if kind not in ("mount", "env"):
        raise _invalid(word, f"the type is {kind!r}", "type=mount or type=env")
    if kind == "env" and {"uid", "gid", "mode"} & set(given):
        raise _invalid(word, "a variable has no owner and no mode", "leave out uid, gid and mode")
    target = given.get("target") or given["source"]
    return {
        "name": given["source"],
        "id": "",
        "type": kind,
        "target": _variable(word, target) if kind == "env" else _path(word, target),
        "uid": _number(word, given.get("uid", "0"), 10, 1 << 32),
        "gid": _number(word, given.get("gid", "0"), 10, 1 << 32),
        "mode": _number(word, given["mode"], 8, 0o1000) if "mode" in given else MODE,
    }


def _number(word: str, text: str, base: int, end: int) -> int:
    try:
        number = int(text, base) if text.isascii() and text.isdigit() else -1
    except ValueError:
        number = -1
    if not 0 <= number < end:
        raise _invalid(word, f"{text!r} is no such number", "uid=1000,gid=1000,mode=0400")
    return number


def _variable(word: str, name: str) -> str:
    if "=" in name or "\0" in name:
        raise _invalid(word, f"{name!r} is no name of a variable", "target=NAME")
    return name


def _path(word: str, target: str) -> str:
    path = os.path.normpath(os.path.join(DIRECTORY, target)).replace("//", "/", 1)
    if path in ("/", DIRECTORY) or target.endswith("/"):
        raise _invalid(word, f"{target!r} is no file", "target=NAME or target=/PATH")
    if path.startswith(f"{DIRECTORY}/") and os.path.dirname(path) != DIRECTORY:
        raise _invalid(word, f"{DIRECTORY} has no directories", "target=NAME or target=/PATH")
    return path


def _invalid(word: str, why: str, hint: str) -> UsageError:
    return UsageError(f"invalid --secret {word!r}", why, hint)


def is_listed(use: Use) -> bool:
    """Whether it is a file of /run/secrets."""
    return bool(use["type"] == "mount" and os.path.dirname(use["target"]) == DIRECTORY)


def oci(uses: list[Use]) -> list[dict[str, Any]]:
    """The OCI mounts: /run/secrets as a whole, so that no name is left in the image; other targets one by one."""
    rows = [(DIRECTORY, "run")] if any(map(is_listed, uses)) else []
    rows += [
        (use["target"], f"files/{number}")
        for number, use in enumerate(uses)
        if use["type"] == "mount" and not is_listed(use)
    ]
    return [
        {"destination": target, "type": "bind", "source": f"{PLACE}/{source}", "options": FLAGS}
        for target, source in rows
    ]


def copy_name(number: int) -> str:
    """The name of a container's copy, in its directory."""
    return f"secret.{number}"


def with_variables(environment: list[str], variables: dict[str, str]) -> list[str]:
    """The environment with the secrets that are variables, which come last."""
    values = dict(entry.split("=", 1) for entry in environment) | variables
    return [f"{name}={value}" for name, value in values.items()]
