"""Instructions that change an image's configuration (`--change`): a few of a Dockerfile's.

As podman reads them: `CMD ["a", "b"]`, `ENV NAME=value`, `LABEL=a=b`; the JSON form is taken word for
word, another command line is given to a shell.  Pure.
"""

from __future__ import annotations

import shlex

from sampan import jsontext
from sampan.errors import UsageError
from sampan.model import times
from sampan.model.options import signal_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Config = dict[str, Any]


def apply(config: Config, instructions: Sequence[str]) -> None:
    """Carry out the instructions on the configuration's inner object. UsageError."""
    for text in instructions:
        word, value = _split(text)
        action = ACTIONS.get(word)
        if action is None:
            known = " | ".join(ACTIONS)
            raise UsageError(
                f'invalid change "{text}"', f"invalid instruction {word}", f"known: {known}"
            )
        try:
            action(config, value)
        except ValueError as error:
            raise UsageError(f'invalid change "{text}"', str(error)) from None


def _split(text: str) -> tuple[str, str]:
    """The instruction and its value, which a space or = parts."""
    head, space, value = text.strip().partition(" ")
    if not space or "=" in head:
        head, equals, value = text.strip().partition("=")
        if not equals:
            raise UsageError(f'invalid change "{text}"', "must be formatted as KEY VALUE")
    return head.strip().upper(), value.strip()


def _words(value: str) -> list[str] | None:
    """The words of the JSON form; None if it is none."""
    if not value.startswith("["):
        return None
    try:
        words: Any = jsontext.loads(value)
    except ValueError:
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):  # pyright: ignore
        return None
    return words  # pyright: ignore


def _command(key: str) -> Callable[[Config, str], None]:
    def action(config: Config, value: str) -> None:
        words = _words(value)
        if words is None:
            words = ["/bin/sh", "-c", value] if value else []
        config[key] = words

    return action


def _pairs(value: str) -> list[tuple[str, str]]:
    """NAME=value (several, quoted as in a shell), or NAME value."""
    words = shlex.split(value)
    if not words:
        raise ValueError("it names nothing")
    if "=" not in words[0]:
        name, space, rest = value.partition(" ")
        if not space:
            raise ValueError("NAME=VALUE is wanted")
        return [(name, rest.strip())]
    found = [(name, text) for name, _, text in (word.partition("=") for word in words)]
    if not all(name for name, _ in found):
        raise ValueError("a name is empty")
    return found


def _environment(config: Config, value: str) -> None:
    entries: list[str] = list(config.get("Env") or ())
    for name, text in _pairs(value):
        entries = [entry for entry in entries if entry.partition("=")[0] != name]
        entries.append(f"{name}={text}")
    config["Env"] = entries


def _label(config: Config, value: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **dict(_pairs(value))}


def _expose(config: Config, value: str) -> None:
    ports: dict[str, Any] = dict(config.get("ExposedPorts") or {})
    for word in value.split():
        number, _, protocol = word.partition("/")
        first, dash, last = number.partition("-")
        numbers = [first, last] if dash else [first]
        if not all(n.isascii() and n.isdigit() and 0 < int(n[:9]) < 65536 for n in numbers):
            raise ValueError(f"{word} is no port")
        if (protocol or "tcp").lower() not in ("tcp", "udp", "sctp"):
            raise ValueError(f"{protocol} is no protocol of ports")
        for port in range(int(numbers[0]), int(numbers[-1]) + 1):
            ports[f"{port}/{(protocol or 'tcp').lower()}"] = {}
    if not value.split():
        raise ValueError("it names no port")
    config["ExposedPorts"] = ports


def _volume(config: Config, value: str) -> None:
    words = _words(value) or value.split()
    if not words or not all(words):
        raise ValueError("it names no path")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{word: {} for word in words}}


def _onbuild(config: Config, value: str) -> None:
    if not value:
        raise ValueError("it has no instruction")
    config["OnBuild"] = [*(config.get("OnBuild") or ()), value]


def _signal(config: Config, value: str) -> None:
    signal_number(value)
    config["StopSignal"] = value


def _text(key: str) -> Callable[[Config, str], None]:
    def action(config: Config, value: str) -> None:
        config[key] = value

    return action


def _workdir(config: Config, value: str) -> None:
    import posixpath

    config["WorkingDir"] = posixpath.join(config.get("WorkingDir") or "/", value)


def _healthcheck(config: Config, value: str) -> None:
    """`NONE`, or `[--interval=D] [--timeout=D] [--start-period=D] [--start-interval=D] [--retries=N] CMD COMMAND`."""
    check: dict[str, Any] = {}
    while value.startswith("--"):
        option, _, value = value.partition(" ")
        name, _, amount = option[2:].partition("=")
        if name == "retries":
            if not (amount.isascii() and amount.isdigit() and int(amount)):
                raise ValueError(f"{option} is no number above 0")
            check["Retries"] = int(amount)
        elif name in _DURATIONS and (seconds := times.duration(amount)) >= 0.001:
            check[_DURATIONS[name]] = int(seconds * 1e9)
        else:
            raise ValueError(f"{option} is unknown, or no duration such as 30s")
        value = value.lstrip()
    kind, _, command = value.partition(" ")
    if kind.upper() == "NONE" and not command:
        config["Healthcheck"] = {"Test": ["NONE"]}
    elif kind.upper() == "CMD" and command.strip():
        words = _words(command.strip())
        test = ["CMD", *words] if words else ["CMD-SHELL", command.strip()]
        config["Healthcheck"] = {"Test": test, **check}
    else:
        raise ValueError("CMD COMMAND, or NONE, is wanted")


_DURATIONS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
ACTIONS: dict[str, Callable[[Config, str], None]] = {
    "CMD": _command("Cmd"),
    "ENTRYPOINT": _command("Entrypoint"),
    "ENV": _environment,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _onbuild,
    "STOPSIGNAL": _signal,
    "USER": _text("User"),
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
