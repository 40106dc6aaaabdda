"""sampan generate: what starts containers with the machine."""

from __future__ import annotations

import os
import sys

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse
from sampan.errors import UsageError
from sampan.model import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.engine import Engine

POLICIES = ("no", "on-success", "on-failure", "on-abnormal", "on-watchdog", "on-abort", "always")
SYSTEMD = Verb(
    "generate systemd",
    "Write a unit for systemd --user: of one container, or for all that start after a boot",
    "[CONTAINER]",
    [
        Option("--after", LIST, "Start after this unit", "UNIT"),
        Option("--files -f", FLAG, "Write a file here instead of standard output"),
        Option("--name -n", FLAG, "Use the container's name instead of its id"),
        Option("--restart-policy", help="When systemd restarts it", default="no", metavar="POLICY"),
        Option(
            "--time --stop-timeout -t", INTEGER, "Seconds before it is killed (default: its own)"
        ),
    ],
    maximum=1,
)
CRONTAB = Verb("generate crontab", "Write a line for crontab -e", "", [], maximum=0)


def main(words: list[str]) -> int:
    if words[:1] == ["systemd"]:
        return _systemd(words[1:])
    if words[:1] == ["crontab"]:
        parse(CRONTAB, words[1:])
        print(units.crontab(_program(make_engine())), end="")
        return 0
    if words[:1] in (["--help"], ["-h"]):
        print(
            "Write what starts containers with the machine\n\nUsage:\n"
            "  sampan generate systemd [options] [CONTAINER]\n  sampan generate crontab"
        )
        return 0
    raise UsageError(
        f"unrecognized command 'sampan generate {' '.join(words[:1])}'".rstrip(),
        "",
        "sampan generate systemd, or sampan generate crontab",
    )


def _program(engine: Engine) -> list[str]:
    """How a service manager calls sampan: with the store of now, whatever its environment will be."""
    words = [os.path.abspath(sys.argv[0])]
    for name in ("root", "run_dir", "storage_driver"):
        if engine.settings.sources[name].startswith(("flag", "environment SAMPAN")):
            words += [f"--{name.replace('_', '-')}", engine.settings.values[name]]
    return words


def _systemd(words: list[str]) -> int:
    values, arguments = parse(SYSTEMD, words)
    engine = make_engine()
    if values["restart_policy"] not in POLICIES:
        raise UsageError(
            f"{values['restart_policy']} is not a valid restart policy", "", ", ".join(POLICIES)
        )
    if not arguments:
        text, name = units.boot(_program(engine)), "sampan-boot"
    else:
        container = engine.containers.get(arguments[0])
        called = container.name if values["name"] else container.id
        grace = values["time"]
        text = units.container(
            _program(engine),
            called,
            pidfile=f"{engine.containers.run_directory(container.id)}/monitor.pid",
            stop_seconds=container.record["options"]["stop_timeout"] if grace is None else grace,
            policy=values["restart_policy"],
            after=values["after"],
        )
        name = f"container-{called}"
    if not values["files"]:
        print(text, end="")
        return 0
    path = os.path.abspath(f"{name}.service")
    from sampan.cli.run import write_file

    write_file(path, text)
    print(path)
    return 0
