"""sampan version."""

from __future__ import annotations

import os
import sys

from sampan import __version__
from sampan.cli.parse import Option, Verb, parse

VERB = Verb(
    "version",
    "Show the version",
    "",
    [Option("--format -f", help="json or a Go template")],
    maximum=0,
)


def main(words: list[str]) -> int:
    values, _ = parse(VERB, words)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    client = {
        "Version": __version__,
        "APIVersion": __version__,
        "PythonVersion": sys.version.split()[0],
        "OsArch": f"linux/{machine}",
        "Os": "linux",
    }
    if values["format"]:
        from sampan.cli.format import render

        print(render(values["format"], {"Client": client, **client}))
        return 0
    print(f"Client:       sampan\nVersion:      {__version__}")
    print(f"Python:       {client['PythonVersion']}\nOS/Arch:      {client['OsArch']}")
    return 0
