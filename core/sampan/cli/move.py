"""sampan container move."""

from __future__ import annotations

import json
import signal

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse
from sampan.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from sampan.engine.move import MoveOptions, Plan
    from sampan.engine.move_ssh import SshOptions
    from sampan.engine.spawn import Spawned

VERB = Verb(
    "container move",
    "Move a container to another machine over ssh",
    "CONTAINER [USER@]HOST",
    [
        Option("--dry-run", FLAG, "Show what would be sent and what refuses it; move nothing"),
        Option("--format", help="With --dry-run: json", metavar="FORMAT"),
        Option("--identity -i", help="The key that ssh uses", metavar="FILE"),
        Option("--keep", FLAG, "Keep the container here, stopped"),
        Option("--keep-binds", FLAG, "Keep paths of the host: the other machine must have them"),
        Option("--port -p", INTEGER, "The port of the other machine's sshd"),
        Option("--quiet -q", FLAG, "Print only the container's new id"),
        Option("--remote-program", help="sampan on the other machine", default="sampan", metavar="PATH"),
        Option("--ssh-option", LIST, "An option for ssh -o", "NAME=VALUE"),
        Option("--volumes", FLAG, "Send the volumes of the container with their content"),
        Option("--volumes-into-existing", FLAG, "--volumes may write into volumes that are there"),
    ],
    minimum=2,
    maximum=2,
)  # fmt: skip


def main(words: list[str], spawned: Spawned) -> int:
    import os

    values, (word, host) = parse(VERB, words)
    from sampan.cli.progress import show
    from sampan.engine import move as moving
    from sampan.engine import move_ssh

    if values["format"] and (values["format"] != "json" or not values["dry_run"]):
        raise UsageError(f"--format {values['format']}", "", "--dry-run --format json")
    ssh: SshOptions = {
        "options": values["ssh_option"],
        "port": values["port"],
        "identity": values["identity"] or "",
        "program": values["remote_program"],
    }
    terminal = os.isatty(0) and os.isatty(2)
    connection = move_ssh.Connection(host, move_ssh.command(host, ssh, terminal=terminal))
    chosen: MoveOptions = {
        "volumes": values["volumes"] or values["volumes_into_existing"],
        "into_existing": values["volumes_into_existing"],
        "keep_binds": values["keep_binds"],
        "keep": values["keep"],
    }
    engine = make_engine()
    if values["dry_run"]:
        return _show(moving.plan(engine, word, connection, chosen), host, values["format"])
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with show(values["quiet"]) as progress:
        there = moving.move(engine, word, connection, chosen, spawned, progress)
    print(there)
    return 0


def _interrupt(number: int, frame: object) -> NoReturn:
    """The move is undone, as after ctrl-c."""
    raise SystemExit(128 + number)


def _show(plan: Plan, host: str, form: str | None) -> int:
    from sampan.cli.format import escape
    from sampan.model.sizes import decimal_text

    if form:
        document = {**plan._asdict(), "refused": [str(error) for error in plan.refused]}
        print(json.dumps(document, indent=4))
        return 125 if plan.refused else 0
    for error in plan.refused:
        print(f"refused: {escape(str(error))}")
    for layer in plan.layers:
        where = "to be sent" if layer["sent"] else f"{host} has it"
        print(f"layer {layer['digest'][7:19]}  {decimal_text(layer['size'])}  {where}")
    print(f"changes  {decimal_text(plan.changes)} before compression  to be sent")
    for volume in plan.volumes:
        print(f"volume {volume['name']}  {decimal_text(volume['size'])}  to be sent")
    return 125 if plan.refused else 0
