"""secret: create, list, inspect and remove; and the copies that a new container gets."""

from __future__ import annotations

import os
import time

from sampan import files
from sampan.errors import CorruptError, SampanError, UsageError
from sampan.model import secret as model
from sampan.model.rfc3339 import stamp
from sampan.store.secrets import DRIVER, Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.engine import Engine
    from sampan.model.secret import Use


def create(
    engine: Engine, name: str, data: bytes, labels: Mapping[str, str], *, replace: bool = False
) -> str:
    """Keep a secret; returns its id."""
    model.check_name(name)
    if not 0 < len(data) <= model.MAX_SIZE:
        raise UsageError(
            f"cannot create secret {name}",
            f"secret data must be larger than 0 and at most {model.MAX_SIZE} bytes",
        )
    now = stamp(time.time_ns())
    made = Secret(os.urandom(13).hex()[:25], name, labels, now, now, data)
    engine.secrets.create(made, replace=replace)
    return made.id


def remove(engine: Engine, word: str) -> str:
    """Remove a secret; containers keep their copies. Returns its id, or the name of a damaged one."""
    try:
        secret = engine.secrets.find(word)
    except CorruptError:
        engine.secrets.remove(word)
        return word
    engine.secrets.remove(secret.name)
    return secret.id


def describe(secret: Secret, *, shown: bool = False) -> dict[str, Any]:
    """As podman's clients read it. shown: with the content."""
    document: dict[str, Any] = {
        "ID": secret.id,
        "CreatedAt": secret.created,
        "UpdatedAt": secret.updated,
        "Spec": {
            "Name": secret.name,
            "Driver": {"Name": DRIVER, "Options": {}},
            "Labels": secret.labels,
        },
    }
    if shown:
        document["SecretData"] = secret.data.decode(errors="backslashreplace")
    return document


def copies(engine: Engine, uses: list[Use]) -> dict[str, bytes]:
    """The files that a new container's directory gets: what its secrets are now; their ids are noted."""
    found: dict[str, bytes] = {}
    for number, use in enumerate(uses):
        secret = engine.secrets.find(use["name"])
        if use["type"] == "env" and b"\0" in secret.data:
            raise SampanError(
                f"cannot make a variable of secret {secret.name}",
                "it holds a NUL byte",
                "type=mount makes a file of it",
            )
        use["name"], use["id"] = secret.name, secret.id
        found[model.copy_name(number)] = secret.data
    return found


def variables(directory: int, uses: list[Use]) -> dict[str, str]:
    """The secrets that are variables, from a container's directory."""
    return {
        use["target"]: files.read(directory, model.copy_name(number)).decode(
            errors="surrogateescape"
        )
        for number, use in enumerate(uses)
        if use["type"] == "env"
    }
