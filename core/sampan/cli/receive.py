"""sampan container receive: what `container move` of another machine runs here by ssh."""

from __future__ import annotations

import os
import signal

from sampan.cli.context import engine as make_engine
from sampan.cli.parse import Verb, parse
from sampan.errors import SampanError, UsageError, to_report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from sampan.engine.spawn import Spawned
    from sampan.model.container import RunOptions

VERB = Verb(
    "container receive",
    "Receive a container that another machine moves here (it is run by ssh, see docs/moving.md)",
    "",
    [],
    maximum=0,
)


def main(words: list[str], spawned: Spawned) -> int:
    parse(VERB, words)
    if os.isatty(0) or os.isatty(1):
        raise UsageError(
            "sampan container receive",
            "it speaks with a program, not with people",
            "sampan container move runs it on the other machine",
        )
    from sampan.engine.move_arrival import receive
    from sampan.engine.move_wire import Wire

    wire = Wire(os.dup(0), os.dup(1), "the sender")
    os.dup2(2, 1)  # whatever else prints must not get between the messages
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        receive(make_engine(), wire, _options, spawned)
    except (SampanError, OSError, ValueError, LookupError, TypeError) as error:
        what, why, hint, status = to_report(error, "cannot receive the container")
        try:
            wire.send("error", report=[what, why, hint, status])
        except SampanError:
            raise error from None  # nobody hears it: standard error, then
        return 125
    return 0


def _options(words: list[str], command: list[str]) -> RunOptions:
    """As `create` makes them."""
    from sampan.cli import container_options
    from sampan.cli.create import VERB as CREATE

    values, arguments = parse(CREATE, [*words, "IMAGE", *command])
    return container_options.build(values, arguments[1:], make_engine().settings, detach=True)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)
