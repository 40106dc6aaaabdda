"""The command line: global flags, then one module a verb, loaded only when it is typed.

`run` and `start` need a monitor; it is forked before anything else is imported.
"""

from __future__ import annotations

import os
import sys

from sampan import __version__
from sampan.errors import SampanError, UsageError
from sampan.linux.marks import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from sampan.engine.spawn import Spawned

VERBS = {  # name: (module, one line)
    "attach": ("attach", "Attach to the streams of a running container"),
    "build": ("build", "Build an image from a Dockerfile"),
    "builder": ("builder", "Manage the build cache"),
    "commit": ("commit", "Make an image of a container's changes"),
    "cp": ("cp", "Copy files between a container and the host"),
    "create": ("create", "Create a container without starting it"),
    "diff": ("diff", "Show what a container or image changes"),
    "events": ("events", "Show what happens to containers, images and volumes"),
    "exec": ("exec", "Run a further command in a running container"),
    "export": ("export", "Write a container's file system as a tar archive"),
    "generate": ("generate", "Write a systemd unit or a crontab line that starts containers"),
    "healthcheck": ("healthcheck", "Check the health of a container"),
    "history": ("history", "Show the history of an image"),
    "image": ("image", "Manage images"),
    "images": ("images", "List images"),
    "import": ("import_image", "Make an image of a tar archive"),
    "info": ("info", "Show what sampan found and chose on this machine"),
    "inspect": ("inspect", "Show containers and images in detail"),
    "kill": ("kill", "Send a signal to containers"),
    "load": ("load", "Load images from an archive or a directory"),
    "login": ("login", "Log in to a registry"),
    "logout": ("logout", "Log out of a registry"),
    "logs": ("logs", "Show what a container has written"),
    "manifest": ("manifest", "Manage lists of images for several platforms"),
    "pause": ("pause", "Stop all processes of containers for a while"),
    "plugin": ("plugin", "Show plugins"),
    "port": ("port", "Show the published ports of a container"),
    "ps": ("ps", "List containers"),
    "pull": ("pull", "Pull an image from a registry"),
    "push": ("push", "Push an image to a registry, a layout or an archive"),
    "registry": ("registry", "Serve images to other programs and machines"),
    "rename": ("rename", "Give a container another name"),
    "restart": ("restart", "Stop containers and start them again"),
    "rm": ("rm", "Remove containers"),
    "rmi": ("rmi", "Remove images"),
    "run": ("run", "Run a command in a new container"),
    "save": ("save", "Write images to an archive or a directory"),
    "search": ("search", "Search registries for images"),
    "secret": ("secret", "Manage secrets"),
    "start": ("start", "Start containers"),
    "stop": ("stop", "Stop containers"),
    "stats": ("stats", "Show what containers use of the machine"),
    "system": ("system", "Show what takes space, and remove what is not needed"),
    "tag": ("tag", "Give an image another name"),
    "top": ("top", "Show the processes of a container"),
    "unpause": ("unpause", "Let paused containers go on"),
    "unshare": ("unshare", "Run a command in the store's user namespace"),
    "untag": ("untag", "Take names from an image"),
    "update": ("update", "Change limits and restart policy of containers"),
    "version": ("version", "Show the version"),
    "network": ("network", "Manage networks"),
    "volume": ("volume", "Manage volumes"),
    "wait": ("wait", "Wait until containers end"),
}
CONTAINER = {  # sampan container NAME: module
    "attach": "attach",
    "checkpoint": "checkpoint",
    "commit": "commit",
    "cp": "cp",
    "create": "create",
    "diff": "diff",
    "exec": "exec",
    "exists": "exists",
    "export": "export",
    "inspect": "inspect",
    "kill": "kill",
    "list": "ps",
    "logs": "logs",
    "ls": "ps",
    "move": "move",
    "pause": "pause",
    "port": "port",
    "prune": "container_prune",
    "ps": "ps",
    "receive": "receive",
    "rename": "rename",
    "restart": "restart",
    "restore": "checkpoint",
    "rm": "rm",
    "run": "run",
    "start": "start",
    "stats": "stats",
    "stop": "stop",
    "top": "top",
    "unpause": "unpause",
    "update": "update",
    "wait": "wait",
}
ALIASES = {"buildx": "builder"}  # docker's word
HIDDEN = ("receive",)  # for `container move` of another machine, not for people
MONITORED = ("run", "start", "restart", "move", "receive")
ABSENT = ("pod",)  # nothing of the kind is there yet


def main() -> NoReturn:
    """Entry point: leaves by os._exit, which spares the interpreter's teardown."""
    _open_standard_streams()
    mark("interpreter and first imports")
    status = 125
    try:
        status = run(sys.argv[1:])
    except SampanError as error:
        _complain(error.report(), error.prefix)
        status = error.exit_status
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 125 if error.code else 0
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        status = 141
    except OSError as error:
        name = f" {os.fsdecode(error.filename)}:" if error.filename else ""
        _complain(f"{name} {error.strerror or error}".strip())
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = status or 141
    mark("told of the end")
    os._exit(status)


def _complain(text: str, prefix: str = "Error: ") -> None:
    try:
        sys.stdout.flush()
    except OSError:
        pass
    if not text.isprintable():  # it may quote a stranger: an image, a registry
        from sampan.cli.format import escape_lines

        text = escape_lines(text)
    os.write(2, f"{prefix}{text}\n".encode(errors="backslashreplace"))


def _open_standard_streams() -> None:
    """A closed 0, 1 or 2 would be taken by the next file that is opened."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDWR)


def run(words: list[str]) -> int:
    """Parse the global flags and run the verb; returns the exit status."""
    rest = _global_flags(words) if words and words[0].startswith("-") else words
    if not rest:
        from sampan.cli.help import overview

        print(overview())
        raise UsageError("missing command 'sampan COMMAND'")
    verb, rest = rest[0], rest[1:]
    if verb == "help":
        verb, rest = rest[0] if rest else "--help", [*rest[1:], "--help"]
        if verb == "--help":
            return run(["--help"])
    verb = ALIASES.get(verb, verb)
    if verb == "container":
        verb, rest = _container_verb(rest)
        module_name = CONTAINER[verb]
    elif verb in VERBS:
        module_name = VERBS[verb][0]
    elif verb in ABSENT:
        from sampan.cli import absent

        return absent.main(rest, verb)
    else:
        return _plugin_command(verb, rest)
    spawned = _spawn() if module_name in MONITORED and rest[:1] != ["--help"] else None
    __import__(f"sampan.cli.{module_name}")  # importlib would load more than it does
    module = sys.modules[f"sampan.cli.{module_name}"]
    if hasattr(module, "main"):
        more = (spawned,) if module_name in MONITORED else ()
        return int(module.main(rest, *more) or 0)
    return click_main(module.command, verb, rest)


def _spawn() -> Spawned:
    """The monitor, forked while this process is still small."""
    from sampan.cli import context
    from sampan.engine.spawn import spawn
    from sampan.linux import userns

    if userns.is_host_root():
        return spawn(context.engine().idmap)
    return spawn(userns.default_map(os.getuid(), os.getgid()))


def click_main(command: object, name: str, words: list[str]) -> int:
    """Run a click command as pflag-minded users expect: errors in one line, status 125."""
    import click

    assert isinstance(command, click.Command)
    try:
        result = command.main(words, prog_name=f"sampan {name}", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.ctx.get_help() if error.ctx else "")
        return 125
    except click.ClickException as error:
        raise UsageError(
            f"sampan {name}", error.format_message(), f"see 'sampan {name} --help'"
        ) from None
    except click.Abort:
        return 130
    return result if isinstance(result, int) else 0


def _global_flags(words: list[str]) -> list[str]:
    """Take the flags before the verb; returns what follows."""
    from sampan.cli import context

    flags = context.flags()
    rest = list(reversed(words))
    while rest and rest[-1].startswith("-"):
        word = rest.pop()
        if word in ("--help", "-h"):
            from sampan.cli.help import overview

            print(overview(remote=not flags.remote()))
            raise SystemExit(0)
        if word in ("--version", "-v"):
            print(f"sampan version {__version__}")
            raise SystemExit(0)
        if not flags.take(word, rest):
            name = word.partition("=")[0]
            raise UsageError("sampan", f"unknown flag: {name}", "see 'sampan --help'")
    if rest:
        flags.apply()
    return list(reversed(rest))


def _container_verb(words: list[str]) -> tuple[str, list[str]]:
    if not words or words[0] in ("--help", "-h"):
        from sampan.cli.help import container_overview

        print(container_overview())
        if not words:
            raise UsageError("missing command 'sampan container COMMAND'")
        raise SystemExit(0)
    if words[0] not in CONTAINER:
        raise UsageError(
            f"unrecognized command 'sampan container {words[0]}'",
            "",
            "see 'sampan container --help'",
        )
    return words[0], words[1:]


def _plugin_command(verb: str, words: list[str]) -> int:
    """A command of a plugin (group sampan.commands: NAME = MODULE:COMMAND)."""
    from sampan.cli import context
    from sampan.plugins import COMMANDS

    engine = context.engine()
    for entry in engine.plugins.entries(COMMANDS):
        if entry.name == verb:
            module = engine.plugins.load(entry)
            return click_main(
                getattr(module, entry.value.partition(":")[2] or "command"), verb, words
            )
    raise UsageError(f"unrecognized command 'sampan {verb}'", "", "see 'sampan --help'")
