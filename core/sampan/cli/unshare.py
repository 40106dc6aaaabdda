"""sampan unshare."""

from __future__ import annotations

import os

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import Verb, parse
from sampan.errors import NotFoundError

VERB = Verb(
    "unshare",
    "Run a command as root of the store's user namespace, where files of subordinate ids are yours",
    "[COMMAND [ARG...]]",
    [],
    interspersed=False,
)


def main(words: list[str]) -> int:
    """Does not return: the command, or the user's shell, takes the process over."""
    _, command = parse(VERB, words)
    command = command or [os.environ.get("SHELL") or "/bin/sh"]
    from sampan.linux import libc, mounts, userns

    engine = make_engine()
    userns.enter(engine.idmap)
    libc.unshare(libc.CLONE_NEWNS)
    mounts.change_propagation("/", mounts.MS_SLAVE)
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        raise NotFoundError(
            f"cannot run {command[0]}", "executable file not found in $PATH", exit_status=127
        ) from None
