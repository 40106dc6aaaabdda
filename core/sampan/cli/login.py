"""sampan login."""

from __future__ import annotations

import sys

from sampan.cli.access_options import AUTHFILE, TLS_VERIFY, access_of
from sampan.cli.parse import FLAG, Option, Verb, parse
from sampan.errors import NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.registry.access import Credential
    from sampan.registry.config import RegistriesConf

VERB = Verb(
    "login",
    "Log in to a registry",
    "[REGISTRY]",
    [
        AUTHFILE,
        Option("--cert-dir", help="Directory of certificates and keys", metavar="PATH"),
        Option(
            "--explain", FLAG, "Show which credential an image's name would be pulled with, and why"
        ),
        Option("--format", help="With --explain: json", metavar="FORMAT"),
        Option("--get-login", FLAG, "Show the name that is logged in"),
        Option("--password -p", help="The password (others may see it: use --password-stdin)"),
        Option("--password-stdin", FLAG, "Read the password from standard input"),
        TLS_VERIFY,
        Option("--username -u", help="The name"),
        Option("--verbose -v", FLAG, "Show where the credential is kept"),
    ],
    maximum=1,
)


def main(words: list[str]) -> int:
    values, names = parse(VERB, words)
    from sampan.registry import config, credentials
    from sampan.registry.login import check

    conf = config.load()
    if values["explain"]:
        return _explain(values, names, conf)
    registry = key_of(names[0] if names else default_registry(conf))
    held = credentials.lookup(*split(registry), values["authfile"] or "")
    if values["get_login"]:
        if held is None:
            raise NotFoundError(f"not logged into {registry}", exit_status=125)
        print(held.user)
        return 0
    access = access_of(values)
    given = _given(values, held, registry)
    if given is held and held is not None:
        print(f"Authenticating with existing credentials for {registry}")
    known = check(registry, conf, access._replace(credential=given))
    if given is held:
        print(f"Existing credentials are valid. Already logged in to {registry}")
        return 0
    kept = credentials.save(registry, given, credentials.target(values["authfile"] or ""))
    if not known:
        print(f"{registry} does not answer as a registry: not checked", file=sys.stderr)
    if values["verbose"]:
        print(f"Used: {kept}")
    print("Login Succeeded!")
    return 0


def default_registry(conf: RegistriesConf) -> str:
    """As podman: the first that short names are looked for in."""
    return conf.search[0] if conf.search else "docker.io"


def key_of(text: str) -> str:
    """REGISTRY[/NAMESPACE], as keys of the files are written."""
    bare = text.partition("://")[2] or text
    bare = bare.rstrip("/")
    if bare.endswith(("/v1", "/v2")):
        bare = bare[:-3]
    host = bare.partition("/")[0]
    if not host or any(character.isspace() or character == "@" for character in bare):
        raise UsageError(
            f'cannot log in to "{text}"', "it is no registry", "HOST[:PORT][/NAMESPACE] is one"
        )
    return "docker.io" if bare in ("index.docker.io", "registry-1.docker.io") else bare


def split(key: str) -> tuple[str, str]:
    host, _, path = key.partition("/")
    return host, path


def _given(values: dict[str, Any], held: Credential | None, registry: str) -> Credential:
    """What the user gives, by flag, by standard input or, on a terminal alone, when asked."""
    from sampan.registry.access import Credential

    user, password = values["username"] or "", values["password"]
    if values["password_stdin"]:
        if password is not None:
            raise UsageError("--password and --password-stdin cannot be used together")
        if not user:
            raise UsageError("must provide --username with --password-stdin")
        password = sys.stdin.readline().rstrip("\n").rstrip("\r")
    if not user and password is None and held is not None:
        return held
    if (not user or password is None) and not sys.stdin.isatty():
        missing = "--username and --password-stdin" if not user else "--password-stdin"
        raise UsageError(
            f"cannot log in to {registry}", "there is no terminal to ask on", f"use {missing}"
        )
    if not user:
        user = input("Username: ")
    if password is None:
        import getpass

        password = getpass.getpass("Password: ")
    if not user or ":" in user:
        raise UsageError(f"cannot log in to {registry}", "a name is not empty and has no colon")
    return Credential(user, password)


def _explain(values: dict[str, Any], names: list[str], conf: RegistriesConf) -> int:
    if not names:
        raise UsageError("sampan login --explain", "it wants the name of an image")
    from sampan.registry.login import explain

    access = access_of(values)
    rows: list[dict[str, str]] = []
    for candidate in conf.candidates(names[0]):
        rows.append({"Step": "image", "Found": str(candidate)})
        rows += [
            {"Step": step.place, "Found": step.found} for step in explain(candidate, conf, access)
        ]
    if values["format"] == "json":
        import json

        print(json.dumps(rows))
        return 0
    from sampan.cli.format import render_rows

    print(render_rows(values["format"], rows, [("STEP", "Step"), ("FOUND", "Found")]))
    return 0
