"""Where credentials are kept: files of containers-auth.json(5), Docker's file, and credential helpers.

They are looked for in the file that was named, else in sampan's own, podman's two and Docker's, the
first that has one wins; in each the most specific key of REGISTRY/PATH.  A file may name a helper for a
registry (credHelpers) or for all (credsStore), which is then asked.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from sampan import files as disk
from sampan.errors import CorruptError, SampanError
from sampan.model.image import is_object
from sampan.registry import helpers
from sampan.registry.access import Credential

FILE_LIMIT = 1 << 20
_DOCKER_KEYS = (
    "docker.io",
    "https://index.docker.io/v1/",
    "index.docker.io",
    "registry-1.docker.io",
)


class Looked(NamedTuple):
    """One step of a search, for `login --explain`. found: what was there, never the secret itself."""

    place: str
    found: str


def target(authfile: str = "") -> str:
    """Where `login` keeps a credential: the file that is named, else sampan's own if there is one, else the
    session's, which podman, skopeo and buildah read too and which ends with the session.
    """
    named = authfile or os.environ.get("REGISTRY_AUTH_FILE")
    if named:
        return named
    run = os.environ.get("XDG_RUNTIME_DIR")
    return session() if run and os.path.isdir(run) and not os.path.exists(own()) else own()


def session() -> str:
    run = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return f"{run}/containers/auth.json"


def own() -> str:
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return f"{config}/sampan/auth.json"


def files(authfile: str = "") -> list[str]:
    """Where credentials are looked for, in this order."""
    chosen = authfile or os.environ.get("REGISTRY_AUTH_FILE")
    if chosen:
        return [chosen]
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    docker = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    return [
        own(),
        session(),
        f"{config}/containers/auth.json",
        f"{docker}/config.json",
    ]


def lookup(
    registry: str, path: str, authfile: str = "", trace: list[Looked] | None = None
) -> Credential | None:
    """The credential for a repository: in each file the longest key of REGISTRY/PATH, then its helper."""
    told = [] if trace is None else trace
    for source in files(authfile):
        document = read(source)
        entries = _table(document, "auths")
        for key in keys(registry, path):
            entry = entries.get(key)
            found = _credential(entry, source) if is_object(entry) else None
            if found:
                told.append(Looked(source, f"{key}: {masked(found)}"))
                return found
        helper = helper_of(document, registry)
        if helper:
            found = helpers.get(helper, _server(registry))
            told.append(Looked(f"{source}, helper {helper}", masked(found) if found else "none"))
            if found:
                return found
            continue
        told.append(Looked(source, "no entry" if document else "no such file"))
    return None


def keys(registry: str, path: str) -> list[str]:
    """The keys under which a credential for the repository may be, the most specific first."""
    words = [registry, *(path.split("/") if path else ())]
    found = ["/".join(words[:count]) for count in range(len(words), 0, -1)]
    if registry == "docker.io":
        found.extend(_DOCKER_KEYS[1:])
    found.extend(f"{scheme}://{registry}" for scheme in ("https", "http"))
    return found


def save(key: str, credential: Credential, path: str) -> str:
    """Keep a credential in the file, or with the helper that it names; returns where it is now."""
    document = read(path)
    helper = helper_of(document, key.partition("/")[0])
    if helper:
        helpers.store(helper, _server(key), credential)
        return f"helper {helper}"
    if credential.identity_token:
        entry = {"auth": _basic(credential.user, ""), "identitytoken": credential.identity_token}
    else:
        entry = {"auth": _basic(credential.user, credential.password)}
    document["auths"] = {**_table(document, "auths"), key: entry}
    _write(path, document)
    return path


def erase(key: str, path: str) -> bool:
    """Forget the credential that this file, or the helper that it names, has for exactly this key."""
    document = read(path)
    entries = dict(_table(document, "auths"))
    names = _DOCKER_KEYS if key == "docker.io" else (key,)
    gone = [entries.pop(name) for name in names if name in entries]
    if gone:
        document["auths"] = entries
        _write(path, document)
    helper = helper_of(document, key.partition("/")[0])
    return (helper is not None and helpers.erase(helper, _server(key))) or bool(gone)


def erase_all(path: str) -> bool:
    """Forget every credential in the file."""
    document = read(path)
    had = bool(document.get("auths"))
    if had:
        _write(path, {**document, "auths": {}})
    return had


def read(path: str) -> dict[str, Any]:
    """The file's document; {} if it is not there. CorruptError."""
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except OSError as error:
        raise SampanError(f"cannot read {path}", error.strerror or "") from None
    try:
        document: Any = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"cannot read {path}", "bad JSON", "log in again") from error
    if not is_object(document):
        raise CorruptError(f"cannot read {path}", "it is not a JSON object", "log in again")
    return document


def helper_of(document: Mapping[str, Any], registry: str) -> str | None:
    """The helper that a file names for the registry."""
    one = _table(document, "credHelpers").get(registry) or document.get("credsStore")
    return one if isinstance(one, str) and one else None


def masked(credential: Credential) -> str:
    """Who it is, without a letter of the secret."""
    secret = "an identity token" if credential.identity_token else "a password"
    return f"user {credential.user or '(none)'}, {secret} (hidden)"


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    entries: Any = document.get(name)
    return entries if is_object(entries) else {}


def _server(registry: str) -> str:
    """How Docker calls a registry when it speaks to a helper."""
    return _DOCKER_KEYS[1] if registry == "docker.io" else registry


def _basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def _write(path: str, document: Mapping[str, Any]) -> None:
    """Whole, and for nobody else to read."""
    parent, name = os.path.split(os.path.realpath(path))
    try:
        os.makedirs(parent, 0o700, exist_ok=True)
        directory = disk.open_directory(parent)
        try:
            data = json.dumps(document, indent="\t").encode() + b"\n"
            disk.write_atomic(directory, name, data, mode=0o600)
        finally:
            os.close(directory)
    except OSError as error:
        raise SampanError(f"cannot write {path}", error.strerror or "") from None


def _credential(entry: Mapping[str, Any], source: str) -> Credential | None:
    token = entry.get("identitytoken")
    raw = entry.get("auth")
    user, password = entry.get("username"), entry.get("password")
    if isinstance(raw, str) and raw:
        try:
            user, _, password = base64.b64decode(raw, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            # `from None`: the context would carry the credential into a traceback
            raise CorruptError(f"cannot read {source}", "an entry's auth is not base64") from None
    if isinstance(token, str) and token:
        return Credential(str(user or ""), "", token, source)
    if isinstance(user, str) and isinstance(password, str) and user:
        return Credential(user, password.rstrip("\0"), "", source)
    return None
