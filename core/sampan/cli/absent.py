"""Commands on pods: there are none yet, and that is what the harmless ones say.

Scripts clean up with `pod rm --all`, `pod prune`: these have nothing to do.  What would
make something is refused.
"""

from __future__ import annotations

from sampan.cli.parse import FLAG, INTEGER, LIST, Option, Verb, parse
from sampan.errors import NotFoundError, UnsupportedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

KINDS = {"pod": "pods"}  # what sampan does not have
HEADING = "POD ID      NAME        STATUS      CREATED     INFRA ID    # OF CONTAINERS"
SHARED = [
    Option("--all -a", FLAG, "All"),
    Option("--filter -f", LIST, "Only what matches", "KEY=VALUE"),
    Option("--force", FLAG, "Do not ask; what is missing is no error"),
    Option("--format", help="table, json or a Go template", metavar="FORMAT"),
    Option("--ignore -i", FLAG, "What is missing is no error"),
    Option("--latest -l", FLAG, "The last one"),
    Option("--no-trunc", FLAG, "Do not shorten"),
    Option("--noheading -n", FLAG, "Show no headings"),
    Option("--quiet -q", FLAG, "Show names alone"),
    Option("--signal -s", help="The signal", default="KILL"),
    Option("--time -t", INTEGER, "Seconds to wait"),
]
VERBS = {  # verb: (arguments, one line)
    "exists": ("NAME", "Leave with 0 if it exists, 1 if not"),
    "inspect": ("NAME [NAME...]", "Show in detail"),
    "kill": ("NAME [NAME...]", "Send a signal"),
    "ls": ("", "List"),
    "prune": ("", "Remove what is not used"),
    "rm": ("NAME [NAME...]", "Remove"),
    "stop": ("NAME [NAME...]", "Stop"),
}
ALIASES = {"list": "ls", "ps": "ls"}


def main(words: list[str], kind: str) -> int:
    if not words or words[0] in ("--help", "-h"):
        print(_overview(kind))
        if not words:
            raise UsageError(f"missing command 'sampan {kind} COMMAND'")
        return 0
    verb = ALIASES.get(words[0], words[0])
    many = KINDS[kind]
    if verb not in VERBS:
        raise UnsupportedError(f"sampan {kind} {verb}", f"sampan has no {many} yet")
    arguments, summary = VERBS[verb]
    options = SHARED
    if verb in ("rm", "prune"):  # there -f is --force
        options = [option for option in SHARED if option.key not in ("filter", "force")] + [
            Option("--filter", LIST, "Only what matches", "KEY=VALUE"),
            Option("--force -f", FLAG, "Do not ask; what is missing is no error"),
        ]
    values, names = parse(
        Verb(f"{kind} {words[0]}", summary, arguments, options, maximum=None if arguments else 0),
        words[1:],
    )
    if verb == "kill":
        from sampan.model.options import signal_number

        signal_number(values["signal"])
    if verb == "ls":
        if not (values["quiet"] or values["noheading"] or values["format"]):
            print(HEADING)
        return 0
    if verb == "exists":
        return 1
    if verb == "prune" or values["all"] or (names and (values["force"] or values["ignore"])):
        return 0
    if not names:
        raise UsageError(
            f"sampan {kind} {verb}", f"you must provide at least one {kind} name or id"
        )
    raise NotFoundError(
        f"no {kind} with name or ID {names[0]} found", f"no such {kind}", exit_status=1
    )


def _overview(kind: str) -> str:
    rows = [f"  {name:10}{text}" for name, (_, text) in sorted(VERBS.items())]
    return "\n".join(
        [
            f"Manage {kind}s (sampan has no {KINDS[kind]} yet)",
            "",
            "Usage:",
            f"  sampan {kind} [command]",
            "",
            "Available Commands:",
            *rows,
        ]
    )
