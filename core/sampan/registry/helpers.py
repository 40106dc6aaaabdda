"""Credential helpers: programs named docker-credential-NAME that keep secrets (docker/docker-credential-helpers).

A helper reads from its standard input and answers in JSON. It has 10 seconds, for one that asks its user
on a screen that nobody sees would never end.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

from sampan.errors import NotFoundError, SampanError
from sampan.model.image import is_object
from sampan.registry.access import Credential
from sampan.registry.errors import printable

SECONDS = 10.0
_TOKEN_USER = "<token>"  # the helpers' word for an identity token
_NOT_FOUND = "credentials not found"


def get(name: str, server: str) -> Credential | None:
    """What the helper has for the registry."""
    answer = _run(name, "get", server)
    if answer is None:
        return None
    try:
        document: Any = json.loads(answer)
    except ValueError:
        document = None
    user = document.get("Username") if is_object(document) else None
    secret = document.get("Secret") if is_object(document) else None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise SampanError(
            f"the credential helper {name} is of no use", "its answer has no Username and Secret"
        )
    if not secret:
        return None
    source = f"helper {name}"
    return (
        Credential("", "", secret, source)
        if user == _TOKEN_USER
        else Credential(user, secret, "", source)
    )


def store(name: str, server: str, credential: Credential) -> None:
    token = credential.identity_token
    document = {
        "ServerURL": server,
        "Username": _TOKEN_USER if token else credential.user,
        "Secret": token or credential.password,
    }
    _run(name, "store", json.dumps(document))


def erase(name: str, server: str) -> bool:
    """Whether there was something to forget."""
    return _run(name, "erase", server) is not None


def _run(name: str, verb: str, text: str) -> str | None:
    """The helper's output; None if it knows of no credential."""
    what = f"cannot ask the credential helper {printable(name)}"
    if not all(character.isalnum() or character in "-_." for character in name):
        raise SampanError(what, "its name has other characters than letters, digits, - _ .")
    program = shutil.which(f"docker-credential-{name}")
    if program is None:
        raise NotFoundError(
            what, f"no docker-credential-{name} is in PATH", "install it, or log in with --authfile"
        )
    try:
        done = subprocess.run(
            [program, verb], input=text.encode(), capture_output=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise SampanError(what, f"it did not answer to {verb} within {SECONDS:.0f} s") from None
    except OSError as error:
        raise SampanError(what, error.strerror or "") from None
    output = done.stdout.decode(errors="replace")
    if done.returncode == 0:
        return output
    told = output.strip() or done.stderr.decode(errors="replace").strip()
    if _NOT_FOUND in told.lower():
        return None
    # what it printed to `store` might hold the secret
    raise SampanError(
        what, printable(told) if verb != "store" else f"it ended with {done.returncode}"
    )
