"""The connection of `container move`: one ssh, and the other side's `container receive` at its end."""

from __future__ import annotations

import os
import shlex
import subprocess

from sampan.engine.move_wire import Wire
from sampan.errors import NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypedDict

    class SshOptions(TypedDict):
        options: list[str]
        port: int | None
        identity: str
        program: str


ALIVE = 15  # seconds; after three of them without an answer ssh gives up
GRACE = 10.0  # seconds that the other side has for taking back what it made


def check_host(word: str) -> str:
    """[USER@]HOST, if ssh can take it for nothing else."""
    user, at, host = word.rpartition("@")
    if (
        not host
        or (at and not user)
        or host.startswith("-")
        or user.startswith("-")
        or not word.isprintable()
        or " " in word
    ):
        raise UsageError(
            f"invalid host {word!r}", "neither part may be empty or begin with -", "[USER@]HOST"
        )
    return word


def command(host: str, chosen: SshOptions, *, terminal: bool) -> list[str]:
    """The words of ssh. Nothing but the program's name goes through the shell over there."""
    words = ["ssh", "-T", "-o", f"ServerAliveInterval={ALIVE}"]
    if not terminal:
        words += ["-o", "BatchMode=yes"]
    if chosen["port"] is not None:
        if not 0 < chosen["port"] < 65536:
            raise UsageError(f"--port {chosen['port']}", "the range is from 1 to 65535")
        words += ["-p", str(chosen["port"])]
    if chosen["identity"]:
        words += ["-i", os.path.abspath(chosen["identity"])]
    for option in chosen["options"]:
        words += ["-o", option]
    return [*words, "--", check_host(host), f"{shlex.quote(chosen['program'])} container receive"]


class Connection:
    """`with Connection(host, words) as wire`; leaving it waits until the other side is done."""

    def __init__(self, host: str, words: Sequence[str]) -> None:
        self.host, self._words = host, words

    def __enter__(self) -> Wire:
        try:
            self._process = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        except FileNotFoundError:
            raise NotFoundError(
                f"cannot reach {self.host}",
                "the program ssh is not installed",
                "install openssh-client",
            ) from None
        assert self._process.stdin is not None and self._process.stdout is not None
        return Wire(self._process.stdout.fileno(), self._process.stdin.fileno(), self.host)

    def __exit__(self, *exception: object) -> None:
        """End of input: whatever the other side has not been told to keep, it takes back."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()
        self._process.stdout.close()
