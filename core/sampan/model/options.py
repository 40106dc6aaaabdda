"""What the user asked of a container: the words of the flags made into values, with Docker's meaning.

Pure: no file is opened here but those that a flag names (`--env-file`, `--label-file`).
"""

from __future__ import annotations

import os

from sampan.errors import SampanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ENVIRONMENT_LIMIT = 128 << 10  # MAX_ARG_STRLEN (execve(2)): one NAME=value with its NUL
SIGNALS = [
    "HUP",
    "INT",
    "QUIT",
    "ILL",
    "TRAP",
    "ABRT",
    "BUS",
    "FPE",
    "KILL",
    "USR1",
    "SEGV",
    "USR2",
    "PIPE",
    "ALRM",
    "TERM",
    "STKFLT",
    "CHLD",
    "CONT",
    "STOP",
    "TSTP",
    "TTIN",
    "TTOU",
    "URG",
    "XCPU",
    "XFSZ",
    "VTALRM",
    "PROF",
    "WINCH",
    "IO",
    "PWR",
    "SYS",
]


def signal_number(text: str) -> int:
    """15 for `15`, `TERM`, `SIGTERM`; real-time signals as RTMIN+n and RTMAX-n (signal(7))."""
    text = text.removeprefix("-")  # `kill -s -9`
    name = text.strip().upper().removeprefix("SIG")
    if not name.isascii():  # "²" is a digit, and no number
        name = ""
    if name.isdigit() and 1 <= int(name[:9]) <= 64:
        return int(name)
    if name in SIGNALS:
        return SIGNALS.index(name) + 1
    base, sign, offset = name.partition("+") if "+" in name else name.partition("-")
    steps = int(offset) if offset.isdigit() else (0 if not sign else -1)
    if base == "RTMIN" and sign in ("", "+") and 0 <= steps <= 30:
        return 34 + steps
    if base == "RTMAX" and sign in ("", "-") and 0 <= steps <= 30:
        return 64 - steps
    if name.isdigit() and int(name[:9]):
        raise UsageError("valid signals are 1 through 64")
    raise UsageError(f"invalid signal: {text}")


def signal_name(text: str) -> str:
    """SIGTERM for `15`, `TERM`, `SIGTERM`."""
    number = signal_number(text)
    return f"SIG{SIGNALS[number - 1]}" if number <= len(SIGNALS) else f"SIGRTMIN+{number - 34}"


def pairs(words: list[str], what: str) -> dict[str, str]:
    """{"a": "b"} of ["a=b"]; a word without = has an empty value."""
    result: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if not key:
            raise UsageError(f"invalid {what} {word!r}", "its name is empty", "NAME=VALUE")
        result[key] = value
    return result


def environment(words: list[str], env_files: list[str], host: Mapping[str, str]) -> dict[str, str]:
    """Variables of `--env-file` and then `-e`; a name alone takes the host's value, or nothing."""
    result: dict[str, str] = {}
    for path in env_files:
        for line in _lines(path):
            if line.strip() and not line.lstrip().startswith("#"):
                _variable(result, line.lstrip(), host, path)
    for word in words:
        _variable(result, word, host, "-e")
    return result


def _lines(path: str) -> list[str]:
    try:
        with open(path, "rb") as file:
            lines = file.read(16 << 20).split(b"\n")  # other separators belong to a value
    except OSError as error:
        raise SampanError(f"cannot read {path}", error.strerror or str(error)) from None
    return [os.fsdecode(line.removesuffix(b"\r")) for line in lines]


def _variable(result: dict[str, str], word: str, host: Mapping[str, str], where: str) -> None:
    name, equals, value = word.partition("=")
    if not name or "\0" in word or (where != "-e" and any(map(str.isspace, name))):
        raise UsageError(f"invalid environment variable {word!r} ({where})", "", "NAME=VALUE")
    if not equals:
        if name.endswith("*"):
            result.update({k: v for k, v in host.items() if k.startswith(name[:-1])})
            return
        if name not in host:
            return
        value = host[name]
    length = len(os.fsencode(name)) + len(os.fsencode(value)) + 2
    if length > ENVIRONMENT_LIMIT:
        raise UsageError(
            f"environment variable {name} is too long",
            f"{length} bytes, and the kernel takes {ENVIRONMENT_LIMIT} for one variable",
            "pass it as a file",
        )
    result[name] = value


def labels(words: list[str], label_files: list[str]) -> dict[str, str]:
    result: dict[str, str] = {}
    for path in label_files:
        lines = [line for line in _lines(path) if line.strip() and not line.startswith("#")]
        result.update(pairs(lines, "label"))
    result.update(pairs(words, "label"))
    return result


def ulimits(words: list[str]) -> list[dict[str, Any]]:
    """OCI rlimits of `nofile=1024:2048`; -1 is unlimited."""
    known = [
        "AS",
        "CORE",
        "CPU",
        "DATA",
        "FSIZE",
        "LOCKS",
        "MEMLOCK",
        "MSGQUEUE",
        "NICE",
        "NOFILE",
        "NPROC",
        "RSS",
        "RTPRIO",
        "RTTIME",
        "SIGPENDING",
        "STACK",
    ]
    result: list[dict[str, Any]] = []
    for word in words:
        name, _, values = word.partition("=")
        soft, _, hard = values.partition(":")
        kind = name.upper().removeprefix("RLIMIT_")
        try:
            numbers = [2**64 - 1 if int(text) == -1 else int(text) for text in (soft, hard or soft)]
        except ValueError:
            numbers = [-1]
        if kind not in known or min(numbers) < 0 or numbers[0] > numbers[1]:
            raise UsageError(
                f"invalid ulimit {word!r}", "", "NAME=SOFT[:HARD], such as nofile=1024:2048"
            )
        result.append({"type": f"RLIMIT_{kind}", "soft": numbers[0], "hard": numbers[1]})
    return result


_SYSCTL_PREFIXES = ("kernel.shm", "kernel.msg", "fs.mqueue.", "net.")
_SYSCTL_NAMES = ("kernel.sem", "kernel.hostname", "kernel.domainname")


def sysctls(words: list[str], *, private_network: bool) -> dict[str, str]:
    """Only keys that belong to a namespace of the container (sysctl of namespaces(7))."""
    result: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        namespaced = key in _SYSCTL_NAMES or key.startswith(_SYSCTL_PREFIXES)
        clean = key.replace(".", "").replace("_", "").replace("-", "").replace("/", "").isalnum()
        if not equals or not clean or ".." in key or "//" in key or "\n" in value:
            raise UsageError(f"invalid sysctl {word!r}", "", "KEY=VALUE")
        if not namespaced or ("/" in key and ".." in key):
            raise UsageError(
                f"sysctl {key!r} is refused", "it does not belong to a container's namespaces"
            )
        if key.startswith("net.") and not private_network:
            raise UsageError(f"sysctl {key!r} is refused", "the container has the host's network")
        result[key] = value
    return result


def extra_hosts(words: list[str]) -> list[tuple[str, str]]:
    """(address, name) of `NAME:IP`."""
    result: list[tuple[str, str]] = []
    for word in words:
        name, colon, address = word.partition(":")
        address = address.strip("[]")
        if not colon or not name or not address or any(c.isspace() for c in word):
            raise UsageError(f"invalid host {word!r}", "", "--add-host NAME:ADDRESS")
        result.append((address, name))
    return result
